import CLinux
import FileModel
import Glibc

/// An open directory. What is done by name is done in that very directory, whatever becomes of its path meanwhile, and no
/// symbolic link is followed.
public final class HeldDirectory: Sendable {
    /// As it was asked for, for people.
    public let path: String
    /// Opened with O_PATH: good for system calls that take a directory and a name.
    let descriptor: FileDescriptor

    init(path: String, descriptor: consuming FileDescriptor) {
        self.path = path
        self.descriptor = descriptor
    }

    /// The number, for system calls that take a directory and a name; it stays owned here.
    public var rawValue: Int32 { descriptor.rawValue }

    public func status() throws(Errno) -> stat {
        var status = stat()
        guard fstat(descriptor.rawValue, &status) == 0 else { throw .current }
        return status
    }

    /// What a name in it is, itself and not what it leads to; nil where it is not there or cannot be examined.
    public func status(of name: String) -> stat? {
        var status = stat()
        return fstatat(descriptor.rawValue, name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status : nil
    }

    /// Opens a name in it, close-on-exec. A symbolic link answers ELOOP.
    public func open(_ name: String, _ flags: Int32, mode: mode_t = 0o600) throws(Errno) -> FileDescriptor {
        while true {
            let number = berth_open_at(descriptor.rawValue, name, flags | O_CLOEXEC | O_NOFOLLOW, mode)
            if number >= 0 { return FileDescriptor(owning: number) }
            if errno != EINTR { throw .current }
        }
    }

    /// What stands where a file of ours should be.
    public enum Intruder: Error, Equatable, Sendable {
        case failed(Errno)
        /// Not a regular file, of another user, open to others, or with a second name: in words.
        case notOurs(String)
    }

    /// Opens a file that only we can have made: a regular file of ours, closed to others, under one name. With O_CREAT it is
    /// made where the name is free. A pipe or device there is not waited for.
    public func openOwn(_ name: String, _ flags: Int32) throws(Intruder) -> FileDescriptor {
        let descriptor: FileDescriptor
        do throws(Errno) {
            descriptor = try open(name, flags | O_NONBLOCK)
        } catch {
            throw switch error {
            case Errno(ELOOP): .notOurs("is a symbolic link")
            case .isDirectory: .notOurs("is a directory")
            // A socket, or a device without a driver.
            case .noSuchAddress: .notOurs("is no regular file")
            default: .failed(error)
            }
        }
        var status = stat()
        guard fstat(descriptor.rawValue, &status) == 0 else { throw .failed(.current) }
        if let words = Self.strangeness(status) { throw .notOurs(words) }
        return descriptor
    }

    /// Why a file is not one that only we can have made, in words; nil where it is.
    public static func strangeness(_ status: stat) -> String? {
        if status.st_mode & S_IFMT != S_IFREG { return "is no regular file" }
        if status.st_uid != geteuid() { return "belongs to uid \(status.st_uid)" }
        if status.st_mode & 0o077 != 0 {
            return "is open to others (mode \(String(status.st_mode & 0o7777, radix: 8)))"
        }
        return status.st_nlink == 1 ? nil : "has \(status.st_nlink) names"
    }

    /// Removes a name that is no directory. False where it cannot be.
    @discardableResult
    public func unlink(_ name: String) -> Bool { berth_unlink_at(descriptor.rawValue, name, 0) == 0 }

    /// Removes whatever has a name in it.
    public func clear(_ name: String) {
        if unlink(name) { return }
        if let child = try? open(name, O_RDONLY | O_DIRECTORY) { FileTree.removeContents(of: child.rawValue) }
        _ = berth_unlink_at(descriptor.rawValue, name, AT_REMOVEDIR)
    }

    /// Gives a name new content, as `AtomicFile.replace` does. What stands there is replaced, and never followed.
    public func replace(_ name: String, _ bytes: [UInt8]) throws(Errno) {
        let temporary = "\(name).\(getpid()).\(UInt32.random(in: .min ... .max)).tmp"
        do throws(Errno) {
            let file = try open(temporary, O_WRONLY | O_CREAT | O_EXCL)
            guard fchmod(file.rawValue, 0o600) == 0 else { throw Errno.current }
            try file.write(bytes)
            guard fsync(file.rawValue) == 0,
                berth_rename_at(descriptor.rawValue, temporary, descriptor.rawValue, name) == 0
            else { throw Errno.current }
            try synchronize()
        } catch {
            unlink(temporary)
            throw error
        }
    }

    /// Moves a file from anywhere to a name in it, in the place of what is there.
    public func take(_ path: String, as name: String) throws(Errno) {
        guard berth_rename_at(AT_FDCWD, path, descriptor.rawValue, name) == 0 else { throw .current }
    }

    /// The names in it but "." and "..".
    public func names() throws(Errno) -> [String] { try FileTree.names(in: open(".", O_RDONLY | O_DIRECTORY)) }

    /// Makes its names durable.
    public func synchronize() throws(Errno) {
        let readable = try open(".", O_RDONLY | O_DIRECTORY)
        guard fsync(readable.rawValue) == 0 else { throw .current }
    }

    /// Removes what is in it; links are removed, not followed. What cannot be removed stays.
    public func removeContents() { FileTree.removeContents(of: descriptor.rawValue) }
}
