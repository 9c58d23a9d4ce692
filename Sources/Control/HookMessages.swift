import FileModel
import LinuxSystem

/// What `berth-hook` says to the process that started it, over the socket pair it was given.
public enum HookEvent: Codable, Sendable, Equatable {
    /// A new mount; its `/dev/fuse` descriptor comes with this frame. The hook waits for `HookOrder`. The device is as in
    /// `SessionOrigin`.
    case mounted(device: String?)
    /// A living mount of the volume was there already; this is its session.
    case alreadyMounted(session: String)
    /// The path shows the session that was ordered.
    case verified
    /// Nothing is mounted there any more. `sessionGoesOn` where the namespace shows it at another place still.
    case unmounted(sessionGoesOn: Bool)
    case failed(code: Int32, message: String)
}

/// What the hook is told after `mounted`.
public enum HookOrder: Codable, Sendable, Equatable {
    /// Look for what proves this session at the mount point.
    case verify(session: String, secret: String?)
    /// The session is not being served: undo the mount.
    case giveUp
}

/// What the hook is to do. Its command line has one word each, in this order:
/// `berth-hook VERB VOLUME MOUNTPOINT SIBLING`, with the channel, the user namespace and the mount namespace
/// as descriptors 3, 4 and 5.
public struct HookTask: Sendable, Equatable {
    public enum Verb: String, Sendable {
        case mount
        /// Whatever uses it.
        case unmount
        /// Answers EBUSY where something uses it.
        case release
    }

    /// Descriptors the hook is given.
    public enum Descriptor {
        public static let channel: Int32 = 3
        public static let userNamespace: Int32 = 4
        public static let mountNamespace: Int32 = 5
    }

    public var verb: Verb
    public var volume: String
    public var mountpoint: String
    /// The other place where the engine's containers find the volume: what is mounted there is one session with
    /// this one, so that file locks of all containers meet.
    public var sibling: String

    public init(verb: Verb, volume: String, mountpoint: String, sibling: String) {
        self.verb = verb
        self.volume = volume
        self.mountpoint = mountpoint
        self.sibling = sibling
    }

    public var arguments: [String] { [verb.rawValue, volume, mountpoint, sibling] }

    /// Reads a command line; nil where it is none of ours.
    public init?(arguments: [String]) {
        guard arguments.count == 4, let verb = Verb(rawValue: arguments[0]), arguments[2].startsWithBytes(of: "/"),
            arguments[3].startsWithBytes(of: "/")
        else { return nil }
        self.init(verb: verb, volume: arguments[1], mountpoint: arguments[2], sibling: arguments[3])
    }
}
