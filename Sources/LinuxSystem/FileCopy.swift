import CLinux
import FileModel
import Glibc

/// Copies of whole files.
public enum FileCopy {
    /// Makes the file open as `target` share all blocks of the one open as `source`. Answers EOPNOTSUPP or the like where
    /// the file system cannot.
    public static func shareBlocks(of source: Int32, with target: Int32) throws(Errno) {
        guard berth_clone_file(target, source) == 0 else { throw .current }
    }

    /// Makes `target`, durable, what `source` is; it shares blocks where the file system can. Nothing is left where that
    /// fails.
    public static func copy(_ source: String, to target: String) throws(Errno) {
        let from = try FileDescriptor.open(source, O_RDONLY | O_NOFOLLOW)
        let to = try FileDescriptor.open(target, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
        do throws(Errno) {
            if berth_clone_file(to.rawValue, from.rawValue) != 0 {
                var status = stat()
                guard fstat(from.rawValue, &status) == 0 else { throw Errno.current }
                var left = Int(status.st_size)
                while left > 0 {
                    let count = copy_file_range(from.rawValue, nil, to.rawValue, nil, left, 0)
                    if count < 0 && errno == EINTR { continue }
                    guard count > 0 else { throw count == 0 ? .io : Errno.current }
                    left -= count
                }
            }
            guard fsync(to.rawValue) == 0 else { throw Errno.current }
        } catch {
            unlink(target)
            throw error
        }
    }
}
