import CLinux
import FileModel
import Glibc

/// A file that a person asked for, in any directory, which gets its name once it is whole.
///
/// Invariants
/// - What is written is a new file of ours, under a name that nobody can know before, and closed to others until the end.
/// - It is named in the directory that was opened at the start, whatever is done to that directory's path meanwhile.
/// - An end before `finish` leaves nothing; a process that is killed leaves a file that only we can read.
public struct OutputFile: ~Copyable {
    private let path: String
    private let name: String
    private let temporary: String
    private let directory: FileDescriptor
    private let file: FileDescriptor

    /// The descriptor to write to.
    public var number: Int32 { file.rawValue }

    /// Links on the way to the directory are followed if they are root's or ours. A file that has the name stays until
    /// `finish`.
    public init(_ path: String) throws(SystemFailure) {
        let slash = path.lastSlash
        let parent = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let name = slash.map { String(path[path.utf8.index(after: $0)...]) } ?? path
        guard !name.isEmpty, name != ".", name != ".." else {
            throw SystemFailure(path, "names no file", status: .usage)
        }
        let opened = try explaining(
            parent, "cannot be opened", fix: "make the directory; a link in it must be yours", status: .cannotCreate
        ) { () throws(Errno) in try Self.openDirectory(parent) }
        let (high, low) = (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max))
        let temporary = ".berth-\(String(high, radix: 16))-\(String(low, radix: 16)).part"
        let number = openat(
            opened.rawValue, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard number >= 0 else { throw SystemFailure(path, "cannot be made", .current, status: .cannotCreate) }
        self.init(path, name, temporary, opened, FileDescriptor(owning: number))
    }

    private init(
        _ path: String, _ name: String, _ temporary: String, _ directory: consuming FileDescriptor,
        _ file: consuming FileDescriptor
    ) {
        self.path = path
        self.name = name
        self.temporary = temporary
        self.directory = directory
        self.file = file
    }

    /// Gives the file its mode and, once it is on the disk, its name. What had that name is gone then; a link is replaced,
    /// not followed.
    public consuming func finish(mode: mode_t) throws(SystemFailure) {
        guard fchmod(file.rawValue, mode) == 0 else {
            throw SystemFailure(path, "cannot be given its mode", .current, status: .cannotCreate)
        }
        guard fsync(file.rawValue) == 0 || errno == EINVAL || errno == EROFS else {
            throw SystemFailure(path, "cannot be made durable", .current)
        }
        guard renameat(directory.rawValue, temporary, directory.rawValue, name) == 0 else {
            throw SystemFailure(
                path, "cannot be made", .current, fix: "use a name, or a directory, that is not another user's",
                status: .cannotCreate)
        }
        fsync(directory.rawValue)
    }

    deinit {
        // After `finish` nothing has this name.
        unlinkat(directory.rawValue, temporary, 0)
    }

    /// One that may be written to and not read is good enough, but for `fsync`.
    private static func openDirectory(_ path: String) throws(Errno) -> FileDescriptor {
        do throws(Errno) {
            return try GuardedOpen.followingOwnLinks(path, O_RDONLY | O_DIRECTORY)
        } catch {
            guard error == .accessDenied else { throw error }
            return try GuardedOpen.followingOwnLinks(path, GuardedOpen.place | O_DIRECTORY)
        }
    }

    /// Opens a file that is there to go on with it: one of ours, with no other name, not by a link. Answers ENOENT where there
    /// is none, EACCES for another's.
    public static func reopen(_ path: String, _ flags: Int32) throws(Errno) -> FileDescriptor {
        // A fifo must not hold us up.
        let file = try FileDescriptor.open(path, flags | O_NOFOLLOW | O_NONBLOCK)
        let status = try GuardedOpen.status(file.rawValue)
        guard status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid(), status.st_nlink == 1 else {
            throw .accessDenied
        }
        return file
    }
}

/// What a process takes away from the modes of files that it makes.
public enum Umask {
    /// The kernel tells it only by setting it: for a moment new files are closed to others.
    public static func read() -> UInt32 {
        let mask = umask(0o077)
        umask(mask)
        return UInt32(mask)
    }
}
