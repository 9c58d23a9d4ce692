import CLinux
import FileModel
import Glibc
import LinuxSystem
import TestSupport

/// A real mount of a fresh volume, made by the user that runs the tests (root in CI), for system calls of this process.
final class MountedVolume {
    let site: UserSite
    let path: String

    init(options: String = "") throws {
        site = try UserSite(ordinary: false)
        path = site.mountpoint
        try site.shell.run("berth volume create v \(options) && berth mount v m")
    }

    deinit {
        _ = try? site.shell.attempt("berth umount m || berth umount --lazy m; berth stop --all --force")
    }

    func sub(_ name: String) -> String { "\(path)/\(name)" }

    /// Opens a file that the caller closes by dropping it.
    func open(_ name: String, _ flags: Int32, _ mode: mode_t = 0o644) throws -> LinuxSystem.FileDescriptor {
        try LinuxSystem.FileDescriptor.open(sub(name), flags, mode: mode)
    }

    func write(_ name: String, _ text: String) throws {
        try open(name, O_WRONLY | O_CREAT | O_TRUNC).write(Array(text.utf8))
    }

    func read(_ name: String) throws -> String {
        String(decoding: try open(name, O_RDONLY).readAll(limit: 64 << 20), as: UTF8.self)
    }

    func stat(_ name: String) throws -> Glibc.stat {
        var status = Glibc.stat()
        guard lstat(sub(name), &status) == 0 else { throw Errno.current }
        return status
    }
}

/// The errno of a call that must fail; nil where it did not.
func refused(_ result: some BinaryInteger) -> Int32? { result == -1 ? errno : nil }
