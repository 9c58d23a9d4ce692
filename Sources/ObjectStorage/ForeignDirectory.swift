import CLinux
import FileModel
import Glibc
import LinuxSystem
import Synchronization

/// Files of a directory that somebody else writes.
///
/// Invariants
/// - Everything is opened by descriptor below the root, and no link is followed: who swaps a directory for a link meanwhile
///   shows nothing from outside.
/// - A file is the one that was imported as long as its device and inode, size and time of modification are; they are
///   looked at before and after each read.
///
/// The root is opened anew for each listing, and for a read nothing but the file: a descriptor that is kept would hold the
/// source's file system mounted, and miss that it was mounted anew.
public final class ForeignDirectory: ForeignStore {
    /// Entries handed over at once.
    private static let pageEntries = 1000

    private let root: String
    /// Of the root as it was last seen; 0: not yet.
    private let rootDevice = Atomic<UInt64>(0)
    private var url: String { "file://" + root }

    /// `root` is absolute.
    public init(root: String) {
        self.root = root.count > 1 && root.hasSuffix("/") ? String(root.dropLast()) : root
    }

    public func read(
        _ object: ForeignObject, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {
        // A fifo in the file's place must not hold us up.
        let file = try open(object.key, O_RDONLY | O_NONBLOCK)
        guard isSame(file.rawValue, object) else { throw .changed(url, object.key) }
        var done = 0
        while done < buffer.count {
            let count = pread(
                file.rawValue, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset) + off_t(done))
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure(object.key, "cannot be read", .current) }
            guard count > 0 else { throw .changed(url, object.key) }
            done += count
        }
        guard isSame(file.rawValue, object) else { throw .changed(url, object.key) }
    }

    public func prove(_ object: ForeignObject, _ url: String) throws(ObjectStoreError) {
        let file = try open(object.key, GuardedOpen.place)
        guard isSame(file.rawValue, object) else { throw .changed(url, object.key) }
    }

    public func find(_ key: [UInt8]) throws(ObjectStoreError) -> ForeignEntry? {
        do throws(Errno) {
            let root = try openRoot()
            let found = try GuardedOpen.below(root.rawValue, key, GuardedOpen.place)
            let status = try GuardedOpen.status(found.rawValue)
            return entry(key, status, try device(root)) { try? GuardedOpen.target(found.rawValue) }
        } catch {
            guard error == .noEntry || error == .notDirectory else { throw failure(key, "cannot be examined", error) }
            return nil
        }
    }

    public func list(below prefix: [UInt8], _ take: ([ForeignEntry]) -> Bool) throws(ObjectStoreError) {
        let root = try listedRoot()
        let device = rootDevice.load(ordering: .relaxed)
        var directories = [prefix]
        var links: [FileNumber: [UInt8]] = [:]
        var page: [ForeignEntry] = []
        while let directory = directories.popLast() {
            let found: [ForeignEntry]
            do throws(Errno) {
                found = try children(of: directory, root.rawValue, device, &links)
            } catch {
                guard directory != prefix, Self.isReplaced(error) else {
                    throw failure(directory, "cannot be listed", error)
                }
                // Gone since it was listed: nothing was in it. A link in its place is somebody's attempt, or their haste.
                if error != .noEntry { page.append(Self.replaced(directory)) }
                continue
            }
            // The last is taken first: in order of names.
            for entry in found.reversed() where entry.content == .directory { directories.append(entry.key) }
            page += found
            guard page.count >= Self.pageEntries else { continue }
            guard take(page) else { return }
            page.removeAll(keepingCapacity: true)
        }
        if !page.isEmpty { _ = take(page) }
    }

    // MARK: Listings

    private struct FileNumber: Hashable {
        var device: UInt64
        var inode: UInt64
    }

    private func children(
        of directory: [UInt8], _ root: Int32, _ rootDevice: UInt64, _ links: inout [FileNumber: [UInt8]]
    ) throws(Errno) -> [ForeignEntry] {
        let opened = try GuardedOpen.below(root, directory, O_RDONLY | O_DIRECTORY)
        let number = opened.take()
        guard let stream = fdopendir(number) else {
            let error = Errno.current
            close(number)
            throw error
        }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        errno = 0
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != [0x2E] && name != [0x2E, 0x2E] { names.append(name) }
            errno = 0
        }
        guard errno == 0 else { throw .current }
        var found: [ForeignEntry] = []
        found.reserveCapacity(names.count)
        for name in names.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            let key = directory.isEmpty ? name : directory + [0x2F] + name
            var status = Glibc.stat()
            let result = name.withCString { fstatat(dirfd(stream), $0, &status, AT_SYMLINK_NOFOLLOW) }
            // Gone since it was listed: it is not there.
            guard result == 0 else { continue }
            var entry = entry(key, status, rootDevice) { Self.target(name, in: dirfd(stream)) }
            if case .object = entry.content, status.st_nlink > 1 {
                let number = FileNumber(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
                if let first = links[number] { entry.content = .hardLink(to: first) } else { links[number] = key }
            }
            found.append(entry)
        }
        return found
    }

    private static func isReplaced(_ error: Errno) -> Bool {
        error == .noEntry || error == .notDirectory || error == Errno(ELOOP)
    }

    private static func replaced(_ key: [UInt8]) -> ForeignEntry {
        ForeignEntry(
            key: key, content: .other("it was a directory when it was listed, and is no more"), permissions: 0,
            modified: Timestamp(seconds: 0, nanoseconds: 0))
    }

    private func entry(
        _ key: [UInt8], _ status: Glibc.stat, _ rootDevice: UInt64, target: () -> [UInt8]?
    ) -> ForeignEntry {
        let content: ForeignEntry.Content =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .object(size: UInt64(status.st_size), tag: FileTag(status, below: rootDevice).description)
            case S_IFDIR: .directory
            case S_IFLNK: target().map { .symbolicLink(target: $0) } ?? .other("its target cannot be read")
            default: .other("it is no file, directory or link")
            }
        return ForeignEntry(
            key: key, content: content, permissions: status.st_mode & 0o7777, modified: Self.modified(status))
    }

    private static func target(_ name: [UInt8], in directory: Int32) -> [UInt8]? {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = name.withCString { readlinkat(directory, $0, &buffer, buffer.count) }
        return count > 0 && count < buffer.count ? buffer[..<count].map { UInt8(bitPattern: $0) } : nil
    }

    // MARK: Opening

    /// A link on the way to the root is followed if it is root's or ours: sites move file systems, and leave links.
    private func openRoot() throws(Errno) -> FileDescriptor {
        try GuardedOpen.followingOwnLinks(root, GuardedOpen.place | O_DIRECTORY)
    }

    private func listedRoot() throws(ObjectStoreError) -> FileDescriptor {
        do throws(Errno) {
            let root = try openRoot()
            _ = try device(root)
            return root
        } catch {
            throw failure([], "cannot be listed", error)
        }
    }

    private func open(_ key: [UInt8], _ flags: Int32) throws(ObjectStoreError) -> FileDescriptor {
        do throws(Errno) {
            do throws(Errno) {
                // One call, as most sources have no link on the way.
                return try GuardedOpen.withoutLinks(path(key), flags)
            } catch {
                guard error == Errno(ELOOP) else { throw error }
                let root = try openRoot()
                return try GuardedOpen.below(root.rawValue, key, flags)
            }
        } catch {
            switch error {
            case .noEntry, .notDirectory: throw .vanished(url, key)
            case Errno(ELOOP), .invalidArgument: throw .changed(url, key)
            default: throw failure(key, "cannot be opened", error)
            }
        }
    }

    private func device(_ root: borrowing FileDescriptor) throws(Errno) -> UInt64 {
        let device = UInt64(try GuardedOpen.status(root.rawValue).st_dev)
        rootDevice.store(device, ordering: .relaxed)
        return device
    }

    private func isSame(_ file: Int32, _ object: ForeignObject) -> Bool {
        guard let status = try? GuardedOpen.status(file), status.st_mode & S_IFMT == S_IFREG,
            UInt64(status.st_size) == object.size, Self.modified(status) == object.modified,
            let tag = FileTag(object.tag)
        else { return false }
        if tag.fits(status, below: rootDevice.load(ordering: .relaxed)) { return true }
        // The first look, or the root was mounted anew since.
        guard let root = try? openRoot(), let device = try? device(root) else { return false }
        return tag.fits(status, below: device)
    }

    private static func modified(_ status: Glibc.stat) -> Timestamp {
        Timestamp(seconds: Int64(status.st_mtim.tv_sec), nanoseconds: Int64(status.st_mtim.tv_nsec))
    }

    private func path(_ key: [UInt8]) -> [UInt8] {
        // Of the whole file system.
        (root == "/" ? [] : Array(root.utf8)) + (key.isEmpty ? [] : [0x2F] + key)
    }

    private func failure(_ key: [UInt8], _ what: String, _ error: Errno) -> ObjectStoreError {
        .failed(error, "object \(ObjectStoreError.name(url, key)) \(what): \(error); make it readable for you")
    }
}
