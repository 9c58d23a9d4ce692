import FileModel
import Glibc

/// An exclusive lock on a file that is made for it and may be removed by its holder.
public struct FileLock: ~Copyable {
    private let descriptor: FileDescriptor
    private let path: String

    /// Takes the lock, and waits for it until the deadline. Nil when somebody else kept it.
    public static func take(_ path: String, until deadline: Deadline) throws(SystemFailure) -> FileLock? {
        while true {
            let descriptor = try explaining(path, "the lock cannot be opened") { () throws(Errno) in
                try FileDescriptor.open(path, O_RDWR | O_CREAT | O_NOFOLLOW)
            }
            while flock(descriptor.rawValue, LOCK_EX | LOCK_NB) != 0 {
                guard errno == EWOULDBLOCK || errno == EINTR else {
                    throw SystemFailure(path, "cannot be locked", .current)
                }
                if deadline.hasPassed { return nil }
                usleep(2_000)
            }
            // Its last holder may have removed the file while we waited for it.
            if isSame(descriptor, path) { return FileLock(descriptor: descriptor, path: path) }
        }
    }

    /// Runs a body under the lock. Somebody else's that lasts longer than `limit` is an error.
    public static func holding<Result>(
        _ path: String, within limit: Duration, _ body: () throws(SystemFailure) -> Result
    ) throws(SystemFailure) -> Result {
        guard let lock = try take(path, until: Deadline(after: limit)) else {
            throw SystemFailure(
                path, "is locked by another command", fix: "try again", errno: Errno(EAGAIN), status: .temporaryFailure)
        }
        let result: Result
        do {
            result = try body()
        } catch {
            lock.release()
            throw error
        }
        lock.release()
        return result
    }

    /// Lets go. So does the end of the value's life.
    public consuming func release() {}

    /// Removes the file and lets go.
    public consuming func remove() {
        unlink(path)
    }

    private init(descriptor: consuming FileDescriptor, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    private static func isSame(_ descriptor: borrowing FileDescriptor, _ path: String) -> Bool {
        var held = stat()
        var named = stat()
        return fstat(descriptor.rawValue, &held) == 0 && lstat(path, &named) == 0 && held.st_ino == named.st_ino
            && held.st_dev == named.st_dev
    }
}
