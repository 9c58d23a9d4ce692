import CLinux
import FileModel
import Glibc
import LinuxSystem

/// What a process may open, make and remove from now on, by path (landlock(7)). Files that are open already, or that
/// somebody passes it, stay as they are; so do `stat`, `access` and `readlink` of any path.
public enum Landlock {
    /// What may be done with a file, or below a directory.
    public enum Access: Sendable, Equatable {
        case read
        /// Read, write, make, rename and remove. No device, no socket.
        case write
        /// Tell which names there are.
        case list
        /// Remove files, nothing else.
        case remove
    }

    public struct Grant: Sendable, Equatable {
        public var path: String
        public var access: Access

        public init(_ path: String, _ access: Access) {
            self.path = path
            self.access = access
        }
    }

    /// The kernel's version of Landlock; 0 where it has none, or where it is switched off.
    public static var version: Int { KernelFeatures.landlockVersion }

    /// Enters the domain for this thread and all that it starts, for good: signals to, and the memory of, processes
    /// outside are closed, too. Answers the version; 0 where the kernel has none, and nothing is closed. What is granted
    /// and not there is passed over.
    ///
    /// Call it before a second thread starts. The directories stay open for the life of the process: an automounter that
    /// took one away and brought it back would bring another than was granted.
    public static func enter(_ grants: [Grant]) throws(SandboxFailure) -> Int {
        let version = version
        guard version > 0 else { return 0 }
        guard ProcessPrivileges.threadCount == 1 else {
            throw SandboxFailure(domain: "\(ProcessPrivileges.threadCount) threads run, and it binds one", Errno(EBUSY))
        }
        let handled = Rights.handled(version)
        let number = berth_landlock_create(handled, version >= 4 ? bindNetwork : 0, version >= 6 ? allScopes : 0)
        guard number >= 0 else { throw SandboxFailure(domain: "a ruleset cannot be made", .current) }
        let ruleset = FileDescriptor(owning: number)
        for grant in grants { try allow(grant, handled, ruleset) }
        ProcessPrivileges.forgoNewPrivileges()
        guard berth_landlock_enter(ruleset.rawValue) == 0 else { throw SandboxFailure(domain: "entering", .current) }
        return version
    }

    private static func allow(
        _ grant: Grant, _ handled: UInt64, _ ruleset: borrowing FileDescriptor
    ) throws(SandboxFailure) {
        let place = open(grant.path, Int32(BERTH_O_PATH) | O_CLOEXEC)
        // What is not there, or not open to us, needs no grant.
        guard place >= 0 else { return }
        var status = stat()
        guard fstat(place, &status) == 0 else { throw SandboxFailure(domain: grant.path, .current) }
        let isDirectory = status.st_mode & S_IFMT == S_IFDIR
        let rights = Rights.of(grant.access) & handled & (isDirectory ? .max : Rights.file)
        guard rights != 0 else {
            close(place)
            return
        }
        guard berth_landlock_allow(ruleset.rawValue, place, rights) == 0 else {
            throw SandboxFailure(domain: grant.path, .current)
        }
        if !isDirectory { close(place) }
    }

    /// LANDLOCK_ACCESS_NET_BIND_TCP: nothing of ours listens on the network.
    private static let bindNetwork: UInt64 = 1
    /// Abstract unix sockets, and signals.
    private static let allScopes: UInt64 = 3

    /// LANDLOCK_ACCESS_FS_* of <linux/landlock.h>.
    private enum Rights {
        static let writeFile: UInt64 = 1 << 1
        static let readFile: UInt64 = 1 << 2
        static let readDirectory: UInt64 = 1 << 3
        static let removeDirectory: UInt64 = 1 << 4
        static let removeFile: UInt64 = 1 << 5
        static let makeDirectory: UInt64 = 1 << 7
        static let makeFile: UInt64 = 1 << 8
        /// Rename and link from one directory to another. Since version 2; before it that is always refused.
        static let refer: UInt64 = 1 << 13
        /// Since version 3.
        static let truncate: UInt64 = 1 << 14

        /// Those that a plain file can have (with execute and ioctl of devices, which nothing is granted).
        static let file = writeFile | readFile | truncate

        /// All that the version knows, so that what is not granted is refused: 13 in the first, REFER, TRUNCATE, and
        /// since 5 IOCTL_DEV.
        static func handled(_ version: Int) -> UInt64 {
            let count =
                switch version {
                case 1: 13
                case 2: 14
                case 3, 4: 15
                default: 16
                }
            return (1 << UInt64(count)) - 1
        }

        static func of(_ access: Access) -> UInt64 {
            switch access {
            case .read: readFile | readDirectory
            case .list: readDirectory
            case .remove: removeFile
            case .write:
                readFile | readDirectory | writeFile | truncate | makeFile | makeDirectory | removeFile
                    | removeDirectory | refer
            }
        }
    }
}
