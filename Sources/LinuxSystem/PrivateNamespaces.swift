import CLinux
import FileModel
import Glibc

/// Gives this process mounts of its own. It must have one thread: the kernel lets no other make a user namespace.
public enum PrivateNamespaces {
    /// Enters a mount namespace whose changes nobody outside sees, while what is mounted outside still arrives.
    /// Where that needs it, a user namespace comes first, in which the user and the group are themselves and there
    /// are no others.
    public static func enter() throws(SystemFailure) {
        // Root, and the root of a container, need no user namespace and keep every right.
        if unshare(Int32(BERTH_CLONE_NEWNS)) != 0 {
            let (user, group) = (geteuid(), getegid())
            guard unshare(Int32(BERTH_CLONE_NEWUSER) | Int32(BERTH_CLONE_NEWNS)) == 0 else {
                throw refused("cannot be made", .current)
            }
            // Before the group map: the kernel asks for it of whoever is not root outside.
            try write("deny", to: "setgroups")
            try write("\(user) \(user) 1", to: "uid_map")
            try write("\(group) \(group) 1", to: "gid_map")
        }
        guard mount(nil, "/", nil, UInt(MS_REC) | UInt(MS_SLAVE), nil) == 0 else {
            throw refused("give no right to mount", .current)
        }
    }

    private static func write(_ text: String, to name: String) throws(SystemFailure) {
        do {
            let file = try FileDescriptor.open("/proc/self/\(name)", O_WRONLY)
            try file.write(Array(text.utf8))
        } catch {
            throw refused("cannot be set up (\(name))", error)
        }
    }

    private static func refused(_ doing: String, _ errno: Errno) -> SystemFailure {
        func number(_ path: String) -> Int? {
            let bytes = (try? AtomicFile.read("/proc/sys/\(path)")) ?? nil
            return bytes.flatMap { Int(String(decoding: $0, as: UTF8.self).split(separator: "\n").first ?? "") }
        }
        return refusal(
            doing, errno, limit: number("user/max_user_namespaces"),
            unprivileged: number("kernel/unprivileged_userns_clone"),
            restricted: number("kernel/apparmor_restrict_unprivileged_userns"))
    }

    /// Which switch of the system it was, as far as that can be seen.
    static func refusal(
        _ doing: String, _ errno: Errno, limit: Int?, unprivileged: Int?, restricted: Int?
    ) -> SystemFailure {
        let setting: String? =
            if limit == 0 {
                "user.max_user_namespaces is 0"
            } else if unprivileged == 0 {
                "kernel.unprivileged_userns_clone is 0"
            } else if restricted == 1 {
                "AppArmor lets only programs with a profile (kernel.apparmor_restrict_unprivileged_userns is 1)"
            } else {
                nil
            }
        return SystemFailure(
            "user namespaces", "\(doing): \(errno)" + (setting.map { " (\($0))" } ?? ""), errno: errno,
            status: .unavailable)
    }
}
