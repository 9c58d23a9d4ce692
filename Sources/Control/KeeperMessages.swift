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
    /// Listen again at one of the volume's own sockets, whose file is gone. Answered with `kept` and the new socket, which
    /// is kept under the name of the old one; `done` where that cannot be.
    case listen(path: String)
    /// Make the volume's cache directory where it may lie now. Answered with `kept`, the path as note, or `done`.
    case makeCache
    /// The user's settings, and the records of the other volumes: `kept` with JSON, or `done`.
    case surroundings
    /// Start a process that answers `NameQuestion`; the one before ends. Answered with `kept` and the socket to it, or `done`.
    case names
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
    /// Names of listening sockets: this, and their path.
    public static let socketPrefix = "socket:"
    /// Kept without a descriptor by a keeper that knows the requests which a server in a Landlock domain needs. A keeper
    /// outlives upgrades: an older one would hang up at a request it does not know.
    public static let errandsMark = "keeper:errands"
    /// The same of `names`.
    public static let namesMark = "keeper:names"
}
