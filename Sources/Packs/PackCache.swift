import CLinux
import FileModel
import Glibc
import LinuxSystem
import ObjectStorage

/// The per-user cache of one volume: raw copies of packs in the store, bounded in bytes.
///
/// Invariants
/// - Nothing here is the only copy of anything: the directory may be deleted at any time.
/// - `bytes` of all entries add up to `total`; past `limit` the least recently used packs go.
/// - What is fetched in the background has threads of its own: a read never waits for their queue.
// SAFETY: every mutable member is guarded by `monitor`.
final class PackCache: @unchecked Sendable {
    private struct Entry {
        var pack: CachedPack?
        var bytes: Int
        var lastUse: UInt64
    }

    /// Open files at most. Each cached pack in use holds one.
    private static let openLimit = 2048

    private let directory: String
    private let limit: Int
    private let store: any ObjectStore
    private let background = FetchQueue()
    private let monitor = Monitor()
    private var entries: [PackID: Entry] = [:]
    private var total = 0
    private var openCount = 0
    private var clock: UInt64 = 0
    private var segmentEvicted: @Sendable (PackID) -> Void = { _ in }

    /// Takes up what earlier processes left in `directory`. `limit` is in bytes.
    init(directory: String, limit: Int, store: any ObjectStore) throws(Errno) {
        self.directory = directory
        self.limit = limit
        self.store = store
        guard mkdir(directory, 0o700) == 0 || errno == EEXIST else { throw .current }
        for name in try listDirectory(directory) {
            guard let id = PackID(name) else { continue }
            var status = Glibc.stat()
            guard lstat(path(of: id), &status) == 0 else { continue }
            entries[id] = Entry(pack: nil, bytes: Int(status.st_blocks) * 512, lastUse: 0)
            total += Int(status.st_blocks) * 512
        }
    }

    deinit { background.stop() }

    func path(of id: PackID) -> String { directory + "/\(id)" }

    func read(
        _ id: PackID, at offset: Int, into buffer: UnsafeMutableRawBufferPointer, _ beforeWaiting: () -> Void
    ) throws(PackReadFailure) {
        do throws(PackReadFailure) {
            let pack = try pack(id)
            let fetched = try pack.read(at: offset, into: buffer, from: store, beforeWaiting)
            if fetched.bytes > 0 { grow(id, by: fetched.bytes) }
            if fetched.wantsRest { completeInBackground(id) }
        } catch {
            // A full disk, or a directory that somebody removed, costs time and no data.
            guard case .cache = error else { throw error }
            beforeWaiting()
            mkdir(directory, 0o700)
            try CachedPack.readPastCache(id, at: offset, into: buffer, from: store)
        }
    }

    /// Has all of a pack here. Answers the raw bytes that came from the store.
    func complete(_ id: PackID) throws(PackReadFailure) -> Int {
        let fetched = try pack(id).complete(from: store)
        if fetched > 0 { grow(id, by: fetched) }
        return fetched
    }

    func isComplete(_ id: PackID) -> Bool {
        // Opening makes the file: a pack that is not here stays so.
        guard monitor.withLock({ entries[id] != nil }), let pack = try? pack(id) else { return false }
        return pack.proveAll()
    }

    /// Every pack that a copy, or a part of one, is here of.
    var ids: [PackID] { monitor.withLock { Array(entries.keys) } }

    func drop(_ id: PackID) -> Int {
        let bytes = monitor.withLock { entries[id]?.bytes ?? 0 }
        remove(id)
        return bytes
    }

    private func completeInBackground(_ id: PackID) {
        // A failure is nobody's: who reads what is missing finds it again.
        background.add(id) { [weak self] in _ = try? self?.complete(id) }
    }

    /// Makes a staged pack's raw file, at `rawPath`, the cache's copy. `tail` is the end of the object made of it.
    func adopt(_ id: PackID, rawPath: String, tail: ObjectTail?) {
        // On another file system it is copied; where that fails it is dropped, as the store has it.
        let isHere = rename(rawPath, path(of: id)) == 0 || (errno == EXDEV && copy(rawPath, to: path(of: id)))
        unlink(rawPath)
        guard isHere else { return }
        let descriptor = open(path(of: id), O_RDWR | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return }
        let pack = CachedPack(adopting: descriptor, of: id, tail: tail)
        monitor.lock()
        clock += 1
        forget(id)
        entries[id] = Entry(pack: pack, bytes: pack.allocatedBytes, lastUse: clock)
        total += pack.allocatedBytes
        openCount += 1
        evict(keeping: id)
        monitor.unlock()
    }

    private func copy(_ source: String, to target: String) -> Bool {
        let from = open(source, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard from >= 0 else { return false }
        let input = RawFile(owning: from)
        let to = open(target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard to >= 0 else { return false }
        let output = RawFile(owning: to)
        let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { chunk.deallocate() }
        do {
            let size = input.size
            for start in stride(from: 0, to: size, by: chunk.count) {
                let part = UnsafeMutableRawBufferPointer(rebasing: chunk[..<min(chunk.count, size - start)])
                try input.readFully(at: start, into: part)
                try output.writeFully(at: start, UnsafeRawBufferPointer(part))
            }
            return true
        } catch {
            unlink(target)
            return false
        }
    }

    func remove(_ id: PackID) {
        monitor.lock()
        forget(id)
        monitor.unlock()
        unlink(path(of: id))
    }

    // MARK: Files of others under the same limit

    /// Segments of foreign data that are here.
    func segments() -> [PackID] { monitor.withLock { entries.keys.filter(\.isCacheSegment) } }

    /// `body` is told of each segment that is taken away, under this cache's monitor.
    func whenEvicted(_ body: @escaping @Sendable (PackID) -> Void) { monitor.withLock { segmentEvicted = body } }

    /// A segment was used.
    func use(_ id: PackID) {
        monitor.lock()
        clock += 1
        entries[id]?.lastUse = clock
        monitor.unlock()
    }

    /// A segment grew, or is new.
    func note(_ id: PackID, grownBy bytes: Int) {
        monitor.lock()
        defer { monitor.unlock() }
        clock += 1
        let before = entries[id]?.bytes ?? 0
        entries[id] = Entry(pack: nil, bytes: max(0, before + bytes), lastUse: clock)
        total += max(0, before + bytes) - before
        evict(keeping: id)
    }

    // MARK: Under the monitor

    private func pack(_ id: PackID) throws(PackReadFailure) -> CachedPack {
        monitor.lock()
        defer { monitor.unlock() }
        clock += 1
        if let pack = entries[id]?.pack {
            entries[id]?.lastUse = clock
            return pack
        }
        do {
            let pack = try CachedPack(id, path: path(of: id))
            entries[id] = Entry(pack: pack, bytes: entries[id]?.bytes ?? 0, lastUse: clock)
            openCount += 1
            if openCount > Self.openLimit { closeOldest(keeping: id) }
            return pack
        } catch {
            throw .cache(error)
        }
    }

    private func grow(_ id: PackID, by bytes: Int) {
        monitor.lock()
        defer { monitor.unlock() }
        guard entries[id] != nil else { return }
        entries[id]?.bytes += bytes
        total += bytes
        evict(keeping: id)
    }

    private func forget(_ id: PackID) {
        guard let entry = entries.removeValue(forKey: id) else { return }
        total -= entry.bytes
        if entry.pack != nil { openCount -= 1 }
        if id.isCacheSegment { segmentEvicted(id) }
    }

    /// Drops least recently used packs until the rest fits. A reader that holds one keeps its open file.
    private func evict(keeping kept: PackID) {
        guard total > limit else { return }
        // To nine tenths, so that a full cache does not sort its entries for every frame.
        let goal = limit / 10 * 9
        for (id, _) in entries.sorted(by: { $0.value.lastUse < $1.value.lastUse }) where id != kept {
            guard total > goal else { return }
            forget(id)
            unlink(path(of: id))
        }
    }

    private func closeOldest(keeping kept: PackID) {
        let open = entries.filter { $0.value.pack != nil && $0.key != kept }
        for (id, _) in open.sorted(by: { $0.value.lastUse < $1.value.lastUse }).prefix(Self.openLimit / 4) {
            entries[id]?.pack = nil
            openCount -= 1
        }
    }
}

/// The names in a directory, without "." and "..".
func listDirectory(_ path: String) throws(Errno) -> [String] {
    guard let directory = opendir(path) else { throw .current }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { buffer in
            String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self)
        }
        if name != "." && name != ".." { names.append(name) }
    }
    return names
}
