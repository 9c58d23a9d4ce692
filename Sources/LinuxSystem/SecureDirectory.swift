import CLinux
import FileModel
import Glibc

/// Directories that only this user can enter.
public enum SecureDirectory {
    /// Makes `path` (and the parents that are missing) with mode 0700, or checks that it is a directory of
    /// ours and closes it to others. Refuses what another user planted, and says who owns it.
    public static func make(_ path: String) throws(SystemFailure) {
        guard path.hasPrefix("/") else {
            throw SystemFailure(path, "is not an absolute path", status: .usage)
        }
        if mkdir(path, 0o700) != 0 {
            if errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex {
                try make(String(path[..<slash]), secure: false)
                guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw cannotMake(path) }
            } else if errno != EEXIST {
                // A file system mounted read-only answers EROFS even where the directory is there.
                let failure = cannotMake(path)
                guard access(path, F_OK) == 0 else { throw failure }
            }
        }
        try check(path)
    }

    /// True where `path` is a directory of ours that others cannot enter.
    public static func isSecure(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR && status.st_uid == geteuid()
            && status.st_mode & 0o077 == 0
    }

    private static func make(_ path: String, secure: Bool) throws(SystemFailure) {
        var status = stat()
        if stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR { return }
        try make(path)
    }

    private static func check(_ path: String) throws(SystemFailure) {
        var link = stat()
        guard lstat(path, &link) == 0 else { throw SystemFailure(path, "cannot be examined", .current) }
        // A person may keep a directory elsewhere behind a link of their own; nobody else may do it for them.
        if link.st_mode & S_IFMT == S_IFLNK, link.st_uid != geteuid(), link.st_uid != 0 {
            throw foreign(path, owner: link.st_uid, what: "is a symbolic link made by")
        }
        let descriptor = try explaining(path, "cannot be opened as a directory") { () throws(Errno) in
            try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
        }
        var status = stat()
        guard fstat(descriptor.rawValue, &status) == 0 else {
            throw SystemFailure(path, "cannot be examined", .current)
        }
        guard status.st_uid == geteuid() else { throw foreign(path, owner: status.st_uid, what: "belongs to") }
        guard status.st_mode & 0o077 == 0 || fchmod(descriptor.rawValue, 0o700) == 0 else {
            throw SystemFailure(path, "cannot be closed to other users", .current, fix: "run: chmod 700 \(path)")
        }
    }

    private static func cannotMake(_ path: String) -> SystemFailure {
        SystemFailure(path, "the directory cannot be made", .current, status: .cannotCreate)
    }

    private static func foreign(_ path: String, owner: UInt32, what: String) -> SystemFailure {
        let name = Account.named(id: owner)?.name ?? "?"
        return SystemFailure(
            path, "\(what) user \(name) (uid \(owner)), not to you (uid \(geteuid()))",
            fix: "remove it, or set BERTH_RUNTIME_DIR or the XDG variables to directories of yours",
            errno: .accessDenied, status: .noPermission)
    }
}
