import FileModel
import Glibc
import LinuxSystem

/// The directory that an export is written to, and a place in it: a server's own hands where it may make files anywhere,
/// else its client, who was told by the user where to, and opens each file for it (`ExportTreeLink`).
///
/// Every name is one part of a path, made in the directory that was entered last; links are never followed.
public protocol ExportTree: AnyObject {
    /// Nil where there is none.
    func status(_ name: FileName) throws(Errno) -> ExportTreeEntry?
    /// Makes a directory, closed to others, where there is none, and goes into it. ENOTDIR or ELOOP where something else is
    /// in its place.
    func enter(_ name: FileName) throws(Errno) -> EnteredDirectory
    /// Goes back to the directory above.
    func leave() throws(Errno)
    /// Makes a file, closed to others. What is there already stays, and is answered.
    func create(_ name: FileName) throws(Errno) -> ExportTreeFile
    func remove(_ name: FileName) throws(Errno)
    /// What is at a path below the top; nil where nothing is.
    func status(at path: [FileName]) throws(Errno) -> ExportTreeEntry?
    /// Gives what is at a path below the top another name.
    func link(_ path: [FileName], as name: FileName) throws(Errno)
    func symbolicLink(_ name: FileName, target: [UInt8], times: [timespec]) throws(Errno)
    /// Makes a fifo, closed to others; its descriptor where it can be opened.
    func fifo(_ name: FileName) throws(Errno) -> FileDescriptor?
}

/// What a name is.
public struct ExportTreeEntry: Equatable, Sendable {
    public var mode: UInt32
    public var size: UInt64
    public var seconds: Int64
    public var nanoseconds: Int64
    public var device: UInt64
    public var inode: UInt64
    /// It belongs to the user who exports.
    public var isOwn: Bool

    public init(_ status: stat) {
        isOwn = status.st_uid == geteuid()
        mode = status.st_mode
        size = UInt64(status.st_size)
        seconds = Int64(status.st_mtim.tv_sec)
        nanoseconds = Int64(status.st_mtim.tv_nsec)
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }

    init(
        mode: UInt32, size: UInt64, seconds: Int64, nanoseconds: Int64, device: UInt64, inode: UInt64, isOwn: Bool
    ) {
        self.isOwn = isOwn
        self.mode = mode
        self.size = size
        self.seconds = seconds
        self.nanoseconds = nanoseconds
        self.device = device
        self.inode = inode
    }

    /// One of S_IFMT.
    public var kind: UInt32 { mode & S_IFMT }
}

public struct EnteredDirectory: ~Copyable {
    public let isNew: Bool
    private let descriptor: FileDescriptor

    init(isNew: Bool, descriptor: consuming FileDescriptor) {
        self.isNew = isNew
        self.descriptor = descriptor
    }

    public consuming func takeDescriptor() -> FileDescriptor { descriptor }
}

public enum ExportTreeFile: ~Copyable {
    case made(FileDescriptor)
    case exists(ExportTreeEntry)
}

/// The tree below an open directory, in this process's own hands.
public final class LocalExportTree: ExportTree {
    private let top: FileDescriptor
    /// The directories that were entered, from the top's child down.
    private var entered: [Int32] = []

    public init(_ top: consuming FileDescriptor) {
        self.top = top
    }

    deinit { for directory in entered { close(directory) } }

    private var here: Int32 { entered.last ?? top.rawValue }
    private static let asDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC

    public func status(_ name: FileName) throws(Errno) -> ExportTreeEntry? { try Self.status(name, in: here) }

    public func enter(_ name: FileName) throws(Errno) -> EnteredDirectory {
        let isNew = name.bytes.withCString { mkdirat(here, $0, 0o700) } == 0
        guard isNew || errno == EEXIST else { throw .current }
        let directory = try Self.open(name, in: here, Self.asDirectory)
        let copy = try FileDescriptor.copy(of: directory.rawValue)
        entered.append(directory.take())
        return EnteredDirectory(isNew: isNew, descriptor: copy)
    }

    public func leave() throws(Errno) {
        guard let directory = entered.popLast() else { throw .invalidArgument }
        close(directory)
    }

    public func create(_ name: FileName) throws(Errno) -> ExportTreeFile {
        do throws(Errno) {
            return .made(try Self.open(name, in: here, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC))
        } catch {
            guard error == .alreadyExists, let entry = try status(name) else { throw error }
            return .exists(entry)
        }
    }

    public func remove(_ name: FileName) throws(Errno) {
        guard name.bytes.withCString({ unlinkat(here, $0, 0) }) == 0 else { throw .current }
    }

    public func status(at path: [FileName]) throws(Errno) -> ExportTreeEntry? {
        guard let last = path.last, let parent = try parent(of: path) else { return nil }
        return try Self.status(last, in: parent.rawValue)
    }

    public func link(_ path: [FileName], as name: FileName) throws(Errno) {
        guard let last = path.last, let parent = try parent(of: path) else { throw .noEntry }
        let result = last.bytes.withCString { from in
            name.bytes.withCString { linkat(parent.rawValue, from, here, $0, 0) }
        }
        guard result == 0 else { throw .current }
    }

    public func symbolicLink(_ name: FileName, target: [UInt8], times: [timespec]) throws(Errno) {
        let result = target.withCString { target in name.bytes.withCString { symlinkat(target, here, $0) } }
        guard result == 0 else { throw .current }
        var times = times
        if times.count == 2 { _ = name.bytes.withCString { utimensat(here, $0, &times, AT_SYMLINK_NOFOLLOW) } }
    }

    public func fifo(_ name: FileName) throws(Errno) -> FileDescriptor? {
        guard name.bytes.withCString({ mkfifoat(here, $0, 0o600) }) == 0 else { throw .current }
        guard let file = try? Self.open(name, in: here, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC) else {
            return nil
        }
        // Somebody may have put another file in its place, which must not be handed out.
        var status = stat()
        guard fstat(file.rawValue, &status) == 0, status.st_mode & S_IFMT == S_IFIFO, status.st_uid == geteuid(),
            status.st_nlink == 1
        else { return nil }
        return file
    }

    // MARK: Parts

    private static func open(_ name: FileName, in directory: Int32, _ flags: Int32) throws(Errno) -> FileDescriptor {
        let number = name.bytes.withCString { openat(directory, $0, flags, 0o600) }
        guard number >= 0 else { throw .current }
        return FileDescriptor(owning: number)
    }

    private static func status(_ name: FileName, in directory: Int32) throws(Errno) -> ExportTreeEntry? {
        var status = stat()
        guard name.bytes.withCString({ fstatat(directory, $0, &status, AT_SYMLINK_NOFOLLOW) }) == 0 else {
            let error = Errno.current
            guard error == .noEntry || error == .notDirectory else { throw error }
            return nil
        }
        return ExportTreeEntry(status)
    }

    /// The directory of a path: a link in a directory's place leads nowhere. Nil where it is none.
    private func parent(of path: [FileName]) throws(Errno) -> FileDescriptor? {
        let directory = Array(path.dropLast().map(\.bytes).joined(separator: [0x2F]))
        return try? GuardedOpen.below(top.rawValue, directory, GuardedOpen.place | O_DIRECTORY)
    }
}
