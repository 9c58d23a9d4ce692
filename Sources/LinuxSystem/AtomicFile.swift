import CLinux
import FileModel
import Glibc

/// Whole-file reads, and writes that happen entirely or not at all.
public enum AtomicFile {
    /// Gives `path` new content: a temporary file in the same directory, synced, renamed over it, and the
    /// directory synced. A reader sees the old bytes or the new. A symbolic link is followed, not replaced.
    public static func replace(_ path: String, _ bytes: [UInt8], mode: mode_t = 0o600) throws(SystemFailure) {
        let target = resolved(path)
        let parts = target.parts(at: "/")
        let directory = parts.count > 1 ? String(target.droppingBytes(last: (parts.last?.utf8.count ?? 0) + 1)) : "."
        let temporary = "\(target).\(getpid()).\(UInt32.random(in: .min ... .max)).tmp"
        do throws(Errno) {
            try write(temporary, bytes, mode)
            guard rename(temporary, target) == 0 else { throw Errno.current }
            try synchronizeDirectory(directory.isEmpty ? "/" : directory)
        } catch {
            unlink(temporary)
            throw SystemFailure(path, "cannot be written", error, status: .cannotCreate)
        }
    }

    /// Makes the names in a directory durable.
    public static func synchronizeDirectory(_ path: String) throws(Errno) {
        let directory = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
        guard fsync(directory.rawValue) == 0 else { throw .current }
    }

    /// The content of a file of at most `limit` bytes, or nil where there is no such file.
    public static func read(_ path: String, limit: Int = 1 << 20) throws(SystemFailure) -> [UInt8]? {
        do {
            return try FileDescriptor.open(path, O_RDONLY).readAll(limit: limit)
        } catch  where error == .noEntry {
            return nil
        } catch  where error == .fileTooLarge {
            throw SystemFailure(path, "has more than \(limit) bytes", errno: error, status: .dataError)
        } catch {
            throw SystemFailure(path, "cannot be read", error, status: .noInput)
        }
    }

    private static func write(_ path: String, _ bytes: [UInt8], _ mode: mode_t) throws(Errno) {
        let file = try FileDescriptor.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: mode)
        // The mode asked for, whatever the umask says.
        guard fchmod(file.rawValue, mode) == 0 else { throw .current }
        try file.write(bytes)
        guard fsync(file.rawValue) == 0 else { throw .current }
    }

    private static func resolved(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }
}
