import CLinux
import FileModel
import Glibc

/// Directories as a whole.
public enum FileTree {
    /// The names in a directory but "." and ".."; none where it does not exist.
    public static func names(in directory: String) throws(SystemFailure) -> [String] {
        do throws(Errno) {
            return try names(in: FileDescriptor.open(directory, O_RDONLY | O_DIRECTORY | O_NONBLOCK))
        } catch {
            if error == .noEntry { return [] }
            throw SystemFailure(directory, "cannot be listed", error)
        }
    }

    /// The same of an open directory, which is closed.
    static func names(in directory: consuming FileDescriptor) throws(Errno) -> [String] {
        let number = directory.take()
        guard let stream = fdopendir(number) else {
            let error = Errno.current
            close(number)
            throw error
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
                String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    /// Removes a directory and all below it; links are removed, not followed. What cannot be removed stays.
    public static func remove(_ path: String) {
        if unlink(path) == 0 || errno == ENOENT { return }
        guard let directory = try? FileDescriptor.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else { return }
        removeContents(of: directory.rawValue)
        rmdir(path)
    }

    /// Removes what is in an open directory. By descriptor: a directory that somebody swaps for a link meanwhile leads nowhere.
    static func removeContents(of directory: Int32) {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
        let list = berth_open_at(directory, ".", flags, 0)
        guard list >= 0 else { return }
        for name in (try? names(in: FileDescriptor(owning: list))) ?? [] {
            if berth_unlink_at(directory, name, 0) == 0 { continue }
            let child = berth_open_at(directory, name, flags, 0)
            if child >= 0 {
                removeContents(of: child)
                close(child)
            }
            _ = berth_unlink_at(directory, name, AT_REMOVEDIR)
        }
    }
}
