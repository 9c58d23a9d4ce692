import CLinux
import FileModel
import Glibc

/// Opens files so that who can write to a directory on the way cannot lead elsewhere: what is looked at is what is opened.
public enum GuardedOpen {
    /// As many links as the kernel follows.
    private static let linkLimit = 40
    /// O_PATH: a place, not its content. It needs no right to read.
    public static let place = Int32(BERTH_O_PATH)

    /// Opens what is at a path below an open directory; an empty path is that directory. No link is followed, the last part
    /// neither. Answers EINVAL for a path with "..", "." or an empty part, ELOOP or ENOTDIR where a link is in the way.
    public static func below(_ directory: Int32, _ path: [UInt8], _ flags: Int32) throws(Errno) -> FileDescriptor {
        guard !path.isEmpty else { return try part(directory, [0x2E], flags) }
        guard isPlain(path) else { throw .invalidArgument }
        let resolve = Int32(BERTH_RESOLVE_BENEATH | BERTH_RESOLVE_NO_SYMLINKS | BERTH_RESOLVE_NO_MAGICLINKS)
        if let found = try resolving(directory, path, flags, resolve) { return found }
        return try walk(directory, path, flags)
    }

    /// Opens an absolute path that has no link in it, in one system call where the kernel can. Answers as `below`.
    public static func withoutLinks(_ path: [UInt8], _ flags: Int32) throws(Errno) -> FileDescriptor {
        guard path.first == 0x2F, isPlain(path.dropFirst()) else { throw .invalidArgument }
        let resolve = Int32(BERTH_RESOLVE_NO_SYMLINKS | BERTH_RESOLVE_NO_MAGICLINKS)
        if let found = try resolving(AT_FDCWD, path, flags, resolve) { return found }
        let root = try FileDescriptor.open("/", place | O_DIRECTORY)
        return try walk(root.rawValue, Array(path.dropFirst()), flags)
    }

    /// Opens a path that a person named. Links that belong to that person or to root are followed, as they are theirs to
    /// make; another's answers ELOOP. The looks and the opening are of the same directories.
    public static func followingOwnLinks(_ path: String, _ flags: Int32) throws(Errno) -> FileDescriptor {
        guard !path.isEmpty else { throw .noEntry }
        var here = try start(path.utf8.first == 0x2F)
        var pending = Array(parts(path.utf8).reversed())
        var links = 0
        while let name = pending.popLast() {
            if name == [0x2E] { continue }
            let found = try look(here.rawValue, name)
            let status = try Self.status(found.rawValue)
            if status.st_mode & S_IFMT == S_IFLNK {
                links += 1
                guard links <= linkLimit, status.st_uid == 0 || status.st_uid == geteuid() else { throw Errno(ELOOP) }
                let target = try Self.target(found.rawValue)
                if target.first == 0x2F { here = try start(true) }
                pending += parts(target).reversed()
            } else if pending.isEmpty {
                return try part(here.rawValue, name, flags | O_NOFOLLOW)
            } else {
                here = found
            }
        }
        return try part(here.rawValue, [0x2E], flags)
    }

    /// A directory first: an automounter mounts it then, and for O_PATH alone it does not.
    private static func look(_ directory: Int32, _ name: [UInt8]) throws(Errno) -> FileDescriptor {
        do throws(Errno) {
            return try part(directory, name, place | O_DIRECTORY | O_NOFOLLOW)
        } catch {
            guard error == .notDirectory || error == Errno(ELOOP) else { throw error }
            return try part(directory, name, place | O_NOFOLLOW)
        }
    }

    /// Where a link leads that was opened with O_PATH.
    public static func target(_ link: Int32) throws(Errno) -> [UInt8] {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlinkat(link, "", &buffer, buffer.count)
        guard count > 0, count < buffer.count else { throw count < 0 ? .current : .nameTooLong }
        return buffer[..<count].map { UInt8(bitPattern: $0) }
    }

    public static func status(_ descriptor: Int32) throws(Errno) -> Glibc.stat {
        var status = Glibc.stat()
        guard fstat(descriptor, &status) == 0 else { throw .current }
        return status
    }

    // MARK: Parts

    /// Nil where the kernel, or a filter above us, knows no openat2.
    private static func resolving(
        _ directory: Int32, _ path: [UInt8], _ flags: Int32, _ resolve: Int32
    ) throws(Errno) -> FileDescriptor? {
        while true {
            let number = path.withCString {
                berth_openat2(directory, $0, flags | O_NOFOLLOW | O_CLOEXEC, UInt64(resolve))
            }
            if number >= 0 { return FileDescriptor(owning: number) }
            switch Errno.current {
            case .interrupted, Errno(EAGAIN): continue
            case .notImplemented, .notPermitted: return nil
            case let error: throw error
            }
        }
    }

    /// One part after the other, each below the last.
    static func walk(_ directory: Int32, _ path: [UInt8], _ flags: Int32) throws(Errno) -> FileDescriptor {
        let names = parts(path)
        guard let last = names.last else { return try part(directory, [0x2E], flags) }
        guard names.count > 1 else { return try part(directory, last, flags | O_NOFOLLOW) }
        let passing = place | O_DIRECTORY | O_NOFOLLOW
        var here = try part(directory, names[0], passing)
        for name in names.dropFirst().dropLast() { here = try part(here.rawValue, name, passing) }
        return try part(here.rawValue, last, flags | O_NOFOLLOW)
    }

    private static func part(_ directory: Int32, _ name: [UInt8], _ flags: Int32) throws(Errno) -> FileDescriptor {
        while true {
            let number = name.withCString { openat(directory, $0, flags | O_CLOEXEC) }
            if number >= 0 { return FileDescriptor(owning: number) }
            guard errno == EINTR else { throw .current }
        }
    }

    private static func start(_ isAbsolute: Bool) throws(Errno) -> FileDescriptor {
        try FileDescriptor.open(isAbsolute ? "/" : ".", place | O_DIRECTORY)
    }

    private static func parts(_ path: some Collection<UInt8>) -> [[UInt8]] {
        Array(path).split(separator: 0x2F).map { Array($0) }
    }

    /// No "..", no ".", no empty part, no NUL. Looked at before each read, and so without taking memory.
    private static func isPlain(_ path: some Collection<UInt8>) -> Bool {
        var (length, dots) = (0, 0)
        for byte in path {
            if byte == 0x2F {
                guard length > 0, length > 2 || dots < length else { return false }
                (length, dots) = (0, 0)
            } else {
                guard byte != 0 else { return false }
                length += 1
                if byte == 0x2E { dots += 1 }
            }
        }
        return length > 0 && (length > 2 || dots < length)
    }
}
