import CLinux
import FileModel
import Glibc
import LinuxSystem
import Metrics

/// Objects as files of a directory: a local disk or a folder of a parallel file system.
///
/// Invariants
/// - An object's file has its final name only once all its bytes are durable.
/// - Nothing outside `root` is touched: names cannot leave it and links inside are not followed.
public struct DirectoryStore: ObjectStore {
    public let root: String
    private let meter: StoreMeter

    private static let temporaryPrefix = ".put-"

    /// `root` is absolute; it is made, 0700, when it is not there.
    public init(root: String, meter: StoreMeter = StoreMeter()) throws(ObjectStoreError) {
        self.root = root
        self.meter = meter
        guard root.hasPrefix("/") else {
            throw .failed(.invalidArgument, "store \(root): not an absolute path; write file:///absolute/path")
        }
        try Self.makeDirectory(root)
        do throws(Errno) {
            try AtomicFile.synchronizeDirectory(Self.parent(of: root))
        } catch {
            // A directory above that may be entered and not read: whoever made the store there looked after it.
            guard error == .accessDenied else {
                throw .failed(error, "store \(root): its name cannot be made durable: \(error); check the disk")
            }
        }
    }

    /// One that was opened before, and may be away now: then each use says so.
    public init(knownRoot root: String, meter: StoreMeter) {
        self.root = root
        self.meter = meter
    }

    private static func parent(of path: String) -> String {
        let parts = path.words(at: "/").dropLast()
        return "/" + parts.joined(separator: "/")
    }

    public func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        try measure(.put) { () throws(ObjectStoreError) in try write(name, bytes) }
        meter.countSent(bytes.count)
    }

    private func write(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        let path = path(of: name)
        let directory = String(path[..<(path.lastSlash ?? path.endIndex)])
        try makeParents(of: name)
        // The process id keeps two nodes' writers of one store apart; O_EXCL does the rest.
        let temporary =
            directory + "/\(Self.temporaryPrefix)\(getpid())-" + String(UInt64.random(in: 0 ... .max), radix: 16)
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw failure(name, "cannot be made") }
        defer {
            close(file)
            unlink(temporary)
        }
        var written = 0
        while written < bytes.count {
            let count = Glibc.write(file, bytes.baseAddress.map { $0 + written }, bytes.count - written)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw failure(name, "cannot be written") }
            written += count
        }
        guard fsync(file) == 0 else { throw failure(name, "cannot be written") }
        // link, not rename: it refuses to replace an object.
        if link(temporary, path) != 0 {
            guard errno == EEXIST else { throw failure(name, "cannot be named") }
            guard try isSame(name, bytes) else { throw .exists }
        }
        do {
            try synchronizeNames(of: name)
        } catch {
            throw failure(name, "cannot be made durable", error)
        }
    }

    public func get(
        _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {
        try measure(.get) { () throws(ObjectStoreError) in try read(name, at: offset, into: buffer) }
        meter.countReceived(buffer.count)
    }

    private func read(
        _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {
        let file = open(path(of: name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard file >= 0 else { throw failure(name, "cannot be opened") }
        defer { close(file) }
        var done = 0
        while done < buffer.count {
            let count = pread(
                file, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset) + off_t(done))
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure(name, "cannot be read") }
            guard count > 0 else { throw .short }
            done += count
        }
    }

    public func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 {
        try measure(.head) { () throws(ObjectStoreError) in
            var status = Glibc.stat()
            guard lstat(path(of: name), &status) == 0 else { throw failure(name, "cannot be examined") }
            return UInt64(status.st_size)
        }
    }

    public func delete(_ name: ObjectName) throws(ObjectStoreError) {
        try measure(.delete) { () throws(ObjectStoreError) in
            guard unlink(path(of: name)) == 0 || errno == ENOENT else { throw failure(name, "cannot be removed") }
        }
    }

    public func list() throws(ObjectStoreError) -> [ObjectName] {
        try measure(.list) { () throws(ObjectStoreError) in
            var names: [ObjectName] = []
            try collect("", { name, _ in names.append(name) })
            return names
        }
    }

    private func measure<Result>(
        _ verb: StoreVerb, _ body: () throws(ObjectStoreError) -> Result
    ) throws(ObjectStoreError) -> Result {
        // What a store says of an object is no failure of the store.
        try meter.measure(verb, isError: { if case .failed = $0 { true } else { false } }, body)
    }

    public func objects() throws(ObjectStoreError) -> [ObjectInfo] {
        var found: [ObjectInfo] = []
        try collect(
            "",
            { name, path in
                var status = Glibc.stat()
                // Deleted meanwhile: it is none.
                guard lstat(path, &status) == 0 else { return }
                found.append(
                    ObjectInfo(name: name, size: UInt64(status.st_size), modified: Int64(status.st_mtim.tv_sec)))
            })
        return found
    }

    public func sweep(olderThan seconds: Int64) throws(ObjectStoreError) -> Int {
        let limit = Int64(time(nil)) - seconds
        var removed = 0
        try collect(
            "", { _, _ in },
            others: { path in
                var status = Glibc.stat()
                guard lstat(path, &status) == 0, Int64(status.st_mtim.tv_sec) < limit, unlink(path) == 0 else { return }
                removed += 1
            })
        return removed
    }

    public func capacity() -> (total: UInt64, free: UInt64)? {
        DiskRoom(of: root).map { ($0.total, $0.free) }
    }

    // MARK: Paths

    private func path(of name: ObjectName) -> String { root + "/" + name.description }

    private func makeParents(of name: ObjectName) throws(ObjectStoreError) {
        var directory = root
        for part in name.description.words(at: "/").dropLast() {
            directory += "/" + part
            try Self.makeDirectory(directory)
        }
    }

    /// The name of an object, and those of the directories above it: whoever made them may have died before they were
    /// durable. One that is unchanged costs next to nothing.
    private func synchronizeNames(of name: ObjectName) throws(Errno) {
        var directory = path(of: name)
        while directory.utf8.count > root.utf8.count, let slash = directory.lastSlash {
            directory = String(directory[..<slash])
            try AtomicFile.synchronizeDirectory(directory)
        }
    }

    private static func makeDirectory(_ path: String) throws(ObjectStoreError) {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else {
            let error = Errno.current
            throw .failed(error, "store \(path): \(error); make the directory or correct store=")
        }
    }

    /// Hands on each object's name and path, and the paths of puts that have not ended.
    private func collect(
        _ prefix: String, _ take: (ObjectName, String) -> Void, others: (String) -> Void = { _ in }
    ) throws(ObjectStoreError) {
        let path = prefix.isEmpty ? root : root + "/" + prefix
        guard let directory = opendir(path) else { throw .failed(.current, "store \(path): \(Errno.current)") }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let type = entry.pointee.d_type
            let text = withUnsafeBytes(of: &entry.pointee.d_name) { buffer in
                String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let name = ObjectName(prefix.isEmpty ? text : prefix + "/" + text) else {
                if text.hasPrefix(Self.temporaryPrefix) { others("\(path)/\(text)") }
                continue
            }
            if type == UInt8(DT_DIR) {
                try collect(name.description, take, others: others)
            } else {
                take(name, "\(path)/\(text)")
            }
        }
    }

    private func isSame(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) -> Bool {
        guard try size(name) == UInt64(bytes.count) else { return false }
        let found = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
        defer { found.deallocate() }
        try get(name, at: 0, into: found)
        return found.elementsEqual(bytes)
    }

    private func failure(_ name: ObjectName, _ what: String, _ error: Errno = .current) -> ObjectStoreError {
        if error == .noEntry { return .missing }
        return .failed(error, "object \(root)/\(name) \(what): \(error); check the store's room and permissions")
    }
}
