import CLinux
import FileModel
import Glibc

/// What a process of the host has and one in a container has not: descriptors of the host's root directory and of its user
/// namespace. Whoever passes both is outside of every container, without anything of `/proc` being read about it, which a
/// sandboxed server could not, and which another process may have taken the place of.
public struct HostView: Equatable, Sendable {
    private struct Mark: Equatable {
        var device: UInt64
        var inode: UInt64

        init?(_ status: Glibc.stat?) {
            guard let status else { return nil }
            device = UInt64(status.st_dev)
            inode = UInt64(status.st_ino)
        }
    }

    private static let rootPath = "/"
    private static let namespacePath = "/proc/self/ns/user"

    private let root: Mark
    private let userNamespace: Mark

    /// Which of the two a descriptor is.
    public enum Part: Sendable {
        case root
        case userNamespace
    }

    /// This process's own; nil where `/proc` is not mounted.
    public static func own() -> HostView? {
        guard let root = Mark(status(rootPath)), let namespace = Mark(status(namespacePath)) else { return nil }
        return HostView(root: root, userNamespace: namespace)
    }

    /// Descriptors that show where this process is, to be passed on. Neither can be read or written through.
    public static func descriptors() throws(SystemFailure) -> FileDescriptor.Pair {
        let root = try explaining(rootPath, "cannot be opened") { () throws(Errno) in
            try FileDescriptor.open(rootPath, Int32(BERTH_O_PATH) | O_DIRECTORY)
        }
        let namespace = try explaining(namespacePath, "cannot be opened") { () throws(Errno) in
            try FileDescriptor.open(namespacePath, O_RDONLY)
        }
        return FileDescriptor.Pair(first: root, second: namespace)
    }

    /// What of this view a descriptor is; nil for anything else.
    public func part(_ descriptor: borrowing FileDescriptor) -> Part? {
        var status = Glibc.stat()
        guard fstat(descriptor.rawValue, &status) == 0, let mark = Mark(status) else { return nil }
        if mark == root { return .root }
        return mark == userNamespace ? .userNamespace : nil
    }

    /// Whether a process has this root directory; false where that cannot be told.
    public func isRoot(ofProcess processID: Int32) -> Bool { Mark(Self.status("/proc/\(processID)/root/")) == root }

    private static func status(_ path: String) -> Glibc.stat? {
        var status = Glibc.stat()
        return stat(path, &status) == 0 ? status : nil
    }
}
