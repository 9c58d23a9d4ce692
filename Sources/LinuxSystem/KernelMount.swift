import CLinux
import FileModel
import Glibc

/// mount(2) and umount2(2) of FUSE file systems, for a process with the right to (real root, or the root
/// of a user namespace in that namespace's mount namespace).
public enum KernelMount {
    /// Opens `/dev/fuse` for a new session.
    public static func openDevice() throws(SystemFailure) -> FileDescriptor {
        do {
            return try FileDescriptor.open("/dev/fuse", O_RDWR)
        } catch {
            let fix =
                error == .noEntry
                ? "ask the administrator to load the fuse module (modprobe fuse)"
                : "ask the administrator to allow it (chmod 0666 /dev/fuse)"
            throw SystemFailure("/dev/fuse", "cannot be opened", error, fix: fix, status: .unavailable)
        }
    }

    /// Mounts the session of an open `/dev/fuse` at a directory. The ids are those of the mounting user in the
    /// process's own user namespace.
    public static func mount(
        _ device: borrowing FileDescriptor, name: String, at directory: String, flags: UInt, readOnly: Bool,
        userID: UInt32 = 0, groupID: UInt32 = 0
    ) throws(SystemFailure) {
        let data =
            "fd=\(device.rawValue),rootmode=40000,user_id=\(userID),group_id=\(groupID),allow_other,default_permissions"
        let flags = flags | (readOnly ? UInt(MS_RDONLY) : 0)
        guard Glibc.mount("berth:\(name)", directory, "fuse.berth", flags, data) == 0 else {
            throw SystemFailure(directory, "the volume cannot be mounted there", .current, status: .unavailable)
        }
    }

    /// Shows a mount at a second place: one file system, one session.
    public static func bind(_ source: String, at directory: String) throws(SystemFailure) {
        guard Glibc.mount(source, directory, nil, UInt(MS_BIND), nil) == 0 else {
            throw SystemFailure(directory, "the volume cannot be mounted there", .current, status: .unavailable)
        }
    }

    /// Mounts a new file system in memory that holds a few directories.
    public static func mountMemory(at directory: String, source: String) throws(SystemFailure) {
        let flags = untrusted | UInt(MS_NOEXEC)
        guard Glibc.mount(source, directory, "tmpfs", flags, "size=4k,nr_inodes=8,mode=0700") == 0 else {
            throw SystemFailure(directory, "nothing can be mounted there", .current, status: .unavailable)
        }
    }

    public static func unmount(_ directory: String, lazy: Bool) throws(Errno) {
        guard umount2(directory, lazy ? Int32(MNT_DETACH) : 0) == 0 else { throw .current }
    }

    /// Flags of a mount where the user is not the machine's root.
    public static let untrusted = UInt(MS_NOSUID) | UInt(MS_NODEV)

    /// True for the machine's own root: uid 0, and not merely in a user namespace.
    public static func isRealRoot() -> Bool {
        guard geteuid() == 0, let bytes = (try? AtomicFile.read("/proc/self/uid_map")) ?? nil else { return false }
        let words = String(decoding: bytes, as: UTF8.self).split { $0 == " " || $0 == "\n" }
        return words == ["0", "0", "4294967295"]
    }
}
