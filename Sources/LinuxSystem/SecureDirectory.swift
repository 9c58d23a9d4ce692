import FileModel
import Glibc

/// Directories that only this user can enter.
public enum SecureDirectory {
    /// Makes `path` (and the parents that are missing) with mode 0700, or checks that it is a directory of
    /// ours and closes it to others. Refuses what another user planted, or could replace (`TrustedPath`), and says who owns it.
    public static func make(_ path: String) throws(SystemFailure) { _ = try hold(path) }

    /// As `make`, and holds the directory.
    public static func hold(_ path: String) throws(SystemFailure) -> HeldDirectory {
        let held = try TrustedPath.open(path, .refused, .made)
        let status = try explaining(path, "cannot be examined") { () throws(Errno) in try held.status() }
        guard status.st_uid == geteuid() else {
            throw DirectoryJudgement.foreign(path, on: path, owner: status.st_uid, what: "belongs to")
        }
        guard status.st_mode & 0o077 != 0 else { return held }
        let fix = "run: chmod 700 \(path)"
        try explaining(path, "cannot be closed to other users", fix: fix) { () throws(Errno) in
            let readable = try held.open(".", O_RDONLY | O_DIRECTORY)
            guard fchmod(readable.rawValue, 0o700) == 0 else { throw .current }
        }
        return held
    }

    /// True where `path` is a directory of ours that others can neither enter nor replace.
    public static func isSecure(_ path: String) -> Bool {
        guard let held = try? TrustedPath.open(path), let status = try? held.status() else { return false }
        return status.st_uid == geteuid() && status.st_mode & 0o077 == 0
    }
}
