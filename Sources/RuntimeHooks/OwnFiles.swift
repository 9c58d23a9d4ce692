import FileModel
import Glibc
import LinuxSystem

/// A directory that belongs to this user and that nobody else may write, held open, and its files of the same kind.
struct OwnFiles: ~Copyable {
    let directory: FileDescriptor
    let path: String

    /// Nil where there is no such directory. Its own name is not followed where it is a link.
    static func open(_ path: String) throws(SystemFailure) -> OwnFiles? {
        guard let directory = try descriptor(path) else { return nil }
        try check(directory, path)
        return OwnFiles(directory: directory, path: path)
    }

    private static func descriptor(_ path: String) throws(SystemFailure) -> FileDescriptor? {
        do {
            return try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        } catch  where error == .noEntry {
            return nil
        } catch {
            throw SystemFailure(path, "cannot be opened", error, status: .noInput)
        }
    }

    borrowing func names() throws(SystemFailure) -> [String] {
        try FileTree.names(in: "/proc/self/fd/\(directory.rawValue)")
    }

    /// A file's content; nil where there is none of this name.
    borrowing func read(_ name: String, limit: Int) throws(SystemFailure) -> [UInt8]? {
        let number = openat(directory.rawValue, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard number >= 0 else {
            if errno == ENOENT { return nil }
            throw SystemFailure("\(path)/\(name)", "cannot be opened", .current, status: .noInput)
        }
        let file = FileDescriptor(owning: number)
        try Self.check(file, "\(path)/\(name)")
        do throws(Errno) {
            return try file.readAll(limit: limit)
        } catch {
            throw SystemFailure("\(path)/\(name)", "cannot be read", error, status: .noInput)
        }
    }

    private static func check(_ file: borrowing FileDescriptor, _ path: String) throws(SystemFailure) {
        var status = stat()
        guard fstat(file.rawValue, &status) == 0 else { throw SystemFailure(path, "cannot be examined", .current) }
        guard status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else {
            throw SystemFailure(path, "belongs to another user, or others may write it", status: .noPermission)
        }
    }
}

/// Objects in a list, found without reading what they hold.
enum JSONObjects {
    /// The places of those objects of a list `[{...},{...}]` that hold this string, which needs no escape. Empty where the
    /// text is no such list; whether an object is right is for the caller to find.
    static func ranges(in bytes: [UInt8], holding string: [UInt8]) -> [Range<Int>] {
        bytes.withUnsafeBytes { text in
            var result: [Range<Int>] = []
            var (depth, start, index) = (0, 0, 0)
            var isFound = false
            while index < text.count {
                switch text[index] {
                case UInt8(ascii: "\""):
                    guard let end = endOfString(text, from: index + 1) else { return result }
                    let content = UnsafeRawBufferPointer(rebasing: text[(index + 1)..<end])
                    if content.count == string.count, content.elementsEqual(string) { isFound = true }
                    index = end
                case UInt8(ascii: "{"), UInt8(ascii: "["):
                    if depth == 1 { (start, isFound) = (index, false) }
                    depth += 1
                case UInt8(ascii: "}"), UInt8(ascii: "]"):
                    depth -= 1
                    if depth == 1, isFound { result.append(start..<(index + 1)) }
                default: break
                }
                index += 1
            }
            return result
        }
    }

    /// The next quote that no backslash protects.
    private static func endOfString(_ text: UnsafeRawBufferPointer, from start: Int) -> Int? {
        var index = start
        while index < text.count, let base = text.baseAddress,
            let found = memchr(base + index, Int32(UInt8(ascii: "\"")), text.count - index)
        {
            let quote = UnsafeRawPointer(found) - base
            var backslashes = 0
            while quote - backslashes > start, text[quote - backslashes - 1] == UInt8(ascii: "\\") { backslashes += 1 }
            if backslashes.isMultiple(of: 2) { return quote }
            index = quote + 1
        }
        return nil
    }
}
