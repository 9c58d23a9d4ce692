import CLinux
import FileModel
import Glibc
import LinuxSystem

/// Files of a directory that somebody else writes.
///
/// A file is the one that was imported as long as its inode number, size and time of modification are; they are looked
/// at before and after each read.
public struct ForeignDirectory: ForeignStore {
    /// Entries handed over at once.
    private static let pageEntries = 1000

    private let root: String
    private var url: String { "file://" + root }

    /// `root` is absolute.
    public init(root: String) {
        self.root = root.count > 1 && root.hasSuffix("/") ? String(root.dropLast()) : root
    }

    public func read(
        _ object: ForeignObject, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {
        // A fifo in the file's place must not hold us up.
        let file = path(object.key).withCString { open($0, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) }
        guard file >= 0 else {
            switch Errno.current {
            case .noEntry, .notDirectory: throw .vanished(url, object.key)
            case Errno(ELOOP): throw .changed(url, object.key)
            case let error: throw failure(object.key, "cannot be opened", error)
            }
        }
        defer { close(file) }
        guard isSame(file, object) else { throw .changed(url, object.key) }
        var done = 0
        while done < buffer.count {
            let count = pread(
                file, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset) + off_t(done))
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure(object.key, "cannot be read", .current) }
            guard count > 0 else { throw .changed(url, object.key) }
            done += count
        }
        guard isSame(file, object) else { throw .changed(url, object.key) }
    }

    public func find(_ key: [UInt8]) throws(ObjectStoreError) -> ForeignEntry? {
        var status = Glibc.stat()
        let path = path(key)
        guard path.withCString({ lstat($0, &status) }) == 0 else {
            let error = Errno.current
            guard error == .noEntry || error == .notDirectory else { throw failure(key, "cannot be examined", error) }
            return nil
        }
        return entry(key, status, path)
    }

    public func list(below prefix: [UInt8], _ take: ([ForeignEntry]) -> Bool) throws(ObjectStoreError) {
        var directories = [prefix]
        var links: [FileNumber: [UInt8]] = [:]
        var page: [ForeignEntry] = []
        while let directory = directories.popLast() {
            let found = try children(of: directory, &links)
            // The last is taken first: in order of names.
            for entry in found.reversed() where entry.content == .directory { directories.append(entry.key) }
            page += found
            guard page.count >= Self.pageEntries else { continue }
            guard take(page) else { return }
            page.removeAll(keepingCapacity: true)
        }
        if !page.isEmpty { _ = take(page) }
    }

    // MARK: Parts

    private struct FileNumber: Hashable {
        var device: UInt64
        var inode: UInt64
    }

    private func children(
        of directory: [UInt8], _ links: inout [FileNumber: [UInt8]]
    ) throws(ObjectStoreError) -> [ForeignEntry] {
        let stream = path(directory).withCString { opendir($0) }
        guard let stream else { throw failure(directory, "cannot be listed", .current) }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        errno = 0
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != [0x2E] && name != [0x2E, 0x2E] { names.append(name) }
            errno = 0
        }
        guard errno == 0 else { throw failure(directory, "cannot be listed", .current) }
        var found: [ForeignEntry] = []
        found.reserveCapacity(names.count)
        for name in names.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            let key = directory.isEmpty ? name : directory + [0x2F] + name
            var status = Glibc.stat()
            let result = name.withCString { fstatat(dirfd(stream), $0, &status, AT_SYMLINK_NOFOLLOW) }
            // Gone since it was listed: it is not there.
            guard result == 0 else { continue }
            var entry = entry(key, status, path(key))
            if case .object = entry.content, status.st_nlink > 1 {
                let number = FileNumber(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
                if let first = links[number] { entry.content = .hardLink(to: first) } else { links[number] = key }
            }
            found.append(entry)
        }
        return found
    }

    private func entry(_ key: [UInt8], _ status: Glibc.stat, _ path: [UInt8]) -> ForeignEntry {
        let content: ForeignEntry.Content =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .object(size: UInt64(status.st_size), tag: Self.tag(status))
            case S_IFDIR: .directory
            case S_IFLNK: Self.target(path).map { .symbolicLink(target: $0) } ?? .other("its target cannot be read")
            default: .other("it is no file, directory or link")
            }
        return ForeignEntry(
            key: key, content: content, permissions: status.st_mode & 0o7777, modified: Self.modified(status))
    }

    private static func target(_ path: [UInt8]) -> [UInt8]? {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = path.withCString { readlink($0, &buffer, buffer.count) }
        return count > 0 && count < buffer.count ? buffer[..<count].map { UInt8(bitPattern: $0) } : nil
    }

    private func isSame(_ file: Int32, _ object: ForeignObject) -> Bool {
        var status = Glibc.stat()
        return fstat(file, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
            && UInt64(status.st_size) == object.size && Self.tag(status) == object.tag
            && Self.modified(status) == object.modified
    }

    private static func tag(_ status: Glibc.stat) -> String { "\(status.st_ino)" }

    private static func modified(_ status: Glibc.stat) -> Timestamp {
        Timestamp(seconds: Int64(status.st_mtim.tv_sec), nanoseconds: Int64(status.st_mtim.tv_nsec))
    }

    private func path(_ key: [UInt8]) -> [UInt8] { Array(root.utf8) + (key.isEmpty ? [] : [0x2F] + key) }

    private func failure(_ key: [UInt8], _ what: String, _ error: Errno) -> ObjectStoreError {
        .failed(error, "object \(ObjectStoreError.name(url, key)) \(what): \(error); make it readable for you")
    }
}
