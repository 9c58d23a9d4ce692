import Glibc

/// The name service's users and groups, and the rights of threads: what a volume asks of its machine. A directory service
/// in the network may take seconds to answer, or never do.
public enum NameService {
    public enum Answer<Value: Sendable>: Sendable {
        case found(Value)
        case absent
        /// The service did not answer, or failed.
        case unknown
    }

    /// Groups of all users of a site have members' lists of megabytes.
    private static let sizes = [1 << 14, 1 << 20, 1 << 24]

    public static func userName(_ id: UInt32) -> Answer<String> {
        user({ getpwuid_r(id, $0, $1, $2, $3) }) { String(validatingCString: $0.pw_name) }
    }

    public static func userID(_ name: String) -> Answer<UInt32> {
        user({ getpwnam_r(name, $0, $1, $2, $3) }) { $0.pw_uid }
    }

    public static func groupName(_ id: UInt32) -> Answer<String> {
        group({ getgrgid_r(id, $0, $1, $2, $3) }) { String(validatingCString: $0.gr_name) }
    }

    public static func groupID(_ name: String) -> Answer<UInt32> {
        group({ getgrnam_r(name, $0, $1, $2, $3) }) { $0.gr_gid }
    }

    private typealias Look<Entry> = (
        UnsafeMutablePointer<Entry>, UnsafeMutablePointer<CChar>, Int,
        UnsafeMutablePointer<UnsafeMutablePointer<Entry>?>
    ) -> Int32

    private static func user<Value>(_ look: Look<passwd>, _ read: (passwd) -> Value?) -> Answer<Value> {
        answer(passwd(), look, read)
    }

    private static func group<Value>(_ look: Look<Glibc.group>, _ read: (Glibc.group) -> Value?) -> Answer<Value> {
        answer(Glibc.group(), look, read)
    }

    private static func answer<Entry, Value>(
        _ empty: Entry, _ look: Look<Entry>, _ read: (Entry) -> Value?
    ) -> Answer<Value> {
        for size in sizes {
            var entry = empty
            let space = UnsafeMutablePointer<CChar>.allocate(capacity: size)
            defer { space.deallocate() }
            var found: UnsafeMutablePointer<Entry>?
            let code = look(&entry, space, size, &found)
            // A name that is no UTF-8 is none here: mended it might be another's.
            if let found, code == 0 { return read(found.pointee).map { .found($0) } ?? .absent }
            switch code {
            case ERANGE: continue
            // getpwnam(3): what services say of somebody whom they do not know.
            case 0, ENOENT, ESRCH, EBADF, EPERM: return .absent
            default: return .unknown
            }
        }
        return .unknown
    }
}

/// The ids that Linux checks a thread's access to files with, as the reader's user namespace shows them.
public struct ThreadRights: Equatable, Sendable {
    public var userID: UInt32
    public var groupID: UInt32
    public var groups: [UInt32]

    /// Of a thread by its number here; nil where `/proc` does not tell.
    public init?(ofThread thread: Int32) {
        guard thread > 0, let bytes = (try? AtomicFile.read("/proc/\(thread)/status", limit: 1 << 20)) ?? nil else {
            return nil
        }
        self.init(status: String(decoding: bytes, as: UTF8.self))
    }

    /// From the text of `/proc/TID/status` (proc_pid_status(5)): the last number of `Uid` and `Gid` is for files.
    public init?(status: String) {
        func numbers(_ key: String) -> [UInt32]? {
            for line in status.words(at: "\n") where line.startsWithBytes(of: key) {
                return line.droppingBytes(first: key.utf8.count).split { $0 == "\t" || $0 == " " }
                    .compactMap { UInt32($0) }
            }
            return nil
        }
        guard let users = numbers("Uid:"), let own = numbers("Gid:"), users.count == 4, own.count == 4,
            let groups = numbers("Groups:")
        else { return nil }
        (userID, groupID) = (users[3], own[3])
        self.groups = groups
    }
}
