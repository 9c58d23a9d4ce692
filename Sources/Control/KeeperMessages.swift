/// What a volume's server asks of its keeper, the process that started it and holds what must outlive it: descriptors,
/// each with a name and a note that only servers read.
///
/// Wire format: frames as of `ServerRequest`, over a socket pair. When a server starts, the keeper sends all it holds,
/// one `kept` each with its descriptor, then `done`. From then on the server asks and the keeper answers `done`.
public enum KeeperRequest: Codable, Sendable, Equatable {
    /// Hold the descriptor that comes with this frame; one of the same name is let go.
    case keep(name: String, note: [UInt8])
    /// Let go of a descriptor.
    case drop(name: String)
}

public enum KeeperReply: Codable, Sendable, Equatable {
    case kept(name: String, note: [UInt8])
    case done
}

public enum Handover {
    /// Of everything that one server leaves to the next: names and notes, layouts of memory, what is agreed with the
    /// kernel. Raise it when any of these changes; a server takes nothing over from one with another number.
    public static let format = 2
    /// The exit status of a server that is to be replaced. None of `sysexits.h`.
    public static let restartStatus: Int32 = 100
    /// Names of sessions begin so. While there is one the keeper starts a server that died again.
    public static let sessionPrefix = "session:"
}
