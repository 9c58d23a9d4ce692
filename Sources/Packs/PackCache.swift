import CLinux
import FileModel
import Glibc
import LinuxSystem
import Metrics
import ObjectStorage
import Synchronization

/// What a cache may take of its disk.
public struct CacheLimits: Equatable, Sendable {
    /// Bytes of copies at most.
    public var bytes: Int
    /// Bytes of the file system that stay free, whoever fills it.
    public var free: Int
    /// Bytes at most of copies that nobody asked for: neither pinned nor warmed up. Nil: no bound but `bytes`.
    public var unasked: Int?

    public init(bytes: Int, free: Int, unasked: Int? = nil) {
        self.bytes = bytes
        self.free = free
        self.unasked = unasked
    }
}

/// The per-user cache of one volume: raw copies of packs in the store, bounded in bytes.
///
/// Invariants
/// - Nothing here is the only copy of anything: the directory may be deleted at any time.
/// - `bytes` of all entries add up to `total`, those of entries that were asked for to `askedTotal`; past the limits the least recently used packs go, and never a pinned one.
/// - The order of use is in the files' times, to a minute: the next process takes it up without reading data.
/// - What is fetched in the background has threads of its own: a read never waits for their queue.
// SAFETY: every mutable member is guarded by `monitor`.
final class PackCache: @unchecked Sendable {
    struct Entry {
        var pack: CachedPack?
        var bytes: Int
        var lastUse: UInt64
        /// The second when the file's time was set last.
        var noted: Int
    }

    /// Open files at most. Each cached pack in use holds one.
    private static let openLimit = 2048
    /// How often a file's time follows its use.
    private static let noteSeconds = 60

    let store: any ObjectStore
    let meter: PackMeter
    let seal: CopySeal
    let report: @Sendable (String) -> Void
    let memory = ProvedFrames()
    let buffers = FetchBuffers()
    let hits = Atomic<Int>(0)
    let misses = Atomic<Int>(0)
    private let background = FetchQueue()
    let monitor = Monitor()
    /// Names of copies are opened in it, so that nobody who swaps a directory above leads us elsewhere; and a new one of the
    /// same path is known as such.
    var directory: HeldDirectory
    var limits: CacheLimits
    var entries: [PackID: Entry] = [:]
    /// What is never dropped, and its raw bytes.
    var pins: [PackID: Int] = [:]
    /// What somebody has warmed up, where that makes a difference (`limits.unasked`).
    var asked: Set<PackID> = []
    var total = 0
    /// Of those, the bytes of entries that the bound for what nobody asked for is not about.
    var askedTotal = 0
    private var openCount = 0
    var clock: UInt64 = 0
    var grownSinceLook = 0
    var trouble = Trouble()
    private var segmentEvicted: @Sendable (PackID) -> Void = { _ in }

    /// Takes up what earlier processes left in `directory`.
    init(
        directory: String, limits: CacheLimits, store: any ObjectStore, meter: PackMeter = PackMeter(),
        seal: CopySeal = .unkeyed, report: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(Errno) {
        self.directory = try Self.hold(directory)
        self.limits = limits
        self.store = store
        self.meter = meter
        self.seal = seal
        self.report = report
        try open(self.directory)
        makeRoom(keeping: nil)
    }

    deinit { background.stop() }

    /// Takes up what lies in a directory, which is made where it is not there, and forgets what was in the one before.
    /// Pins stay.
    func open(_ path: String) throws(Errno) { try open(Self.hold(path)) }

    private static func hold(_ path: String) throws(Errno) -> HeldDirectory {
        do {
            return try SecureDirectory.hold(path)
        } catch {
            throw error.errno ?? .io
        }
    }

    private func open(_ place: HeldDirectory) throws(Errno) {
        let found: [CacheDirectory.Copy]
        let pinned: [PackID: Int]
        let warmed: Set<PackID>
        do {
            found = try CacheDirectory.copies(in: place)
            pinned = try CacheDirectory.pins(in: place)
            warmed = try CacheDirectory.warmed(in: place)
        } catch {
            throw error.errno ?? .io
        }
        monitor.lock()
        let old = entries
        directory = place
        entries.removeAll()
        openCount = 0
        total = 0
        for copy in found {
            clock += 1
            entries[copy.id] = Entry(
                pack: nil, bytes: copy.bytes, lastUse: clock, noted: Int(copy.lastUse / 1_000_000_000))
            total += copy.bytes
        }
        pins.merge(pinned) { own, _ in own }
        asked.formUnion(warmed.filter { entries[$0] != nil })
        countAsked()
        let all = pins
        monitor.unlock()
        withExtendedLifetime(old) {}
        guard all != pinned else { return }
        do {
            try CacheDirectory.write(pins: all, in: place)
        } catch {
            report("pins are kept in memory only: \(error.message)")
        }
    }

    /// Where copies are now.
    var place: HeldDirectory { monitor.withLock { directory } }

    func read(
        _ id: PackID, at offset: Int, into buffer: UnsafeMutableRawBufferPointer, _ beforeWaiting: () -> Void
    ) throws(PackReadFailure) -> ReadSign {
        if memory.read(id, at: offset, into: buffer) {
            hits.add(1, ordering: .relaxed)
            count(buffer.count, at: offset, fetchedBytes: 0)
            use(id)
            return .nothing
        }
        do throws(PackReadFailure) {
            return try readHere(id, at: offset, into: buffer, beforeWaiting)
        } catch {
            // A full disk, or a directory that somebody removed, costs time and no data.
            guard case .cache(let cause) = error else { throw error }
            beforeWaiting()
            if mend(cause), let sign = try? readHere(id, at: offset, into: buffer, beforeWaiting) { return sign }
            try readPastCache(id, at: offset, into: buffer)
            count(buffer.count, at: offset, fetchedBytes: .max / 2)
            return .nothing
        }
    }

    private func readHere(
        _ id: PackID, at offset: Int, into buffer: UnsafeMutableRawBufferPointer, _ beforeWaiting: () -> Void
    ) throws(PackReadFailure) -> ReadSign {
        let pack = try pack(id)
        let fetched = try pack.read(at: offset, into: buffer, from: store, memory, beforeWaiting)
        count(buffer.count, at: offset, fetchedBytes: fetched.bytes)
        if fetched.bytes > 0 {
            misses.add(1, ordering: .relaxed)
            grow(id, pack, by: fetched.bytes)
        } else {
            hits.add(1, ordering: .relaxed)
        }
        if fetched.lostFrames > 0 {
            report("pack \(id): \(fetched.lostFrames) frames of its copy were damaged, and were fetched again")
        }
        // Not where the store is beside the cache, which is small then: the rest would push out what is read now, and is
        // had again for little.
        if fetched.wantsRest, monitor.withLock({ limits.unasked == nil }) { prefetch(id) }
        return fetched.sign
    }

    /// Has all of a pack here, for somebody who can wait. Answers the raw bytes that came from the store.
    func complete(_ id: PackID) throws(PackReadFailure) -> Int {
        do throws(PackReadFailure) {
            return try completeHere(id)
        } catch {
            guard case .cache(let cause) = error, mend(cause) else { throw error }
            return try completeHere(id)
        }
    }

    private func completeHere(_ id: PackID) throws(PackReadFailure) -> Int {
        let pack = try pack(id)
        let fetched = try pack.complete(from: store.inBackground)
        if fetched > 0 { grow(id, pack, by: fetched) }
        return fetched
    }

    func isComplete(_ id: PackID) -> Bool {
        // Opening makes the file: a pack that is not here stays so.
        guard monitor.withLock({ entries[id] != nil }), let pack = try? pack(id) else { return false }
        return pack.proveAll()
    }

    /// Every pack that a copy, or a part of one, is here of.
    var ids: [PackID] { monitor.withLock { Array(entries.keys) } }

    /// Has all of a pack here soon, in several requests at once.
    func prefetch(_ id: PackID) {
        // A failure is nobody's: who reads what is missing finds it again.
        background.add(
            id,
            FetchJob { [weak self] in
                guard let self, let pack = try? self.pack(id) else { return [] }
                let runs = (try? pack.missingRuns(from: self.store.inBackground)) ?? []
                return runs.map { run in
                    FetchJob { [weak self] in
                        guard let self else { return [] }
                        let fetched = (try? pack.bring(run, from: self.store.inBackground)) ?? 0
                        if fetched > 0 { self.grow(id, pack, by: fetched) }
                        return []
                    }
                }
            })
    }

    /// Makes a staged pack's raw file, at `rawPath`, the cache's copy. `tail` is the end of the object made of it.
    func adopt(_ id: PackID, rawPath: String, tail: ObjectTail?) {
        restore()
        let (place, name) = (self.place, "\(id)")
        // On another file system it is copied; where that fails it is dropped, as the store has it.
        do throws(Errno) {
            do throws(Errno) {
                try place.take(rawPath, as: name)
            } catch {
                guard error == .crossDevice else { throw error }
                try copy(rawPath, to: name, in: place)
            }
        } catch {
            unlink(rawPath)
            _ = mend(error)
            return
        }
        unlink(rawPath)
        guard let descriptor = try? place.openOwn(name, O_RDWR) else { return }
        let pack = CachedPack(adopting: descriptor.take(), of: id, tail: tail, seal: seal, buffers: buffers)
        pack.noteUse()
        monitor.lock()
        clock += 1
        let old = forget(id)
        let bytes = pack.allocatedBytes
        entries[id] = Entry(pack: pack, bytes: 0, lastUse: clock, noted: Self.now())
        openCount += 1
        monitor.unlock()
        withExtendedLifetime(old) {}
        grow(id, pack, by: bytes)
    }

    private func copy(_ source: String, to name: String, in place: HeldDirectory) throws(Errno) {
        let input = RawFile(owning: try FileDescriptor.open(source, O_RDONLY | O_NOFOLLOW).take())
        place.clear(name)
        let output = RawFile(owning: try place.open(name, O_WRONLY | O_CREAT | O_EXCL).take())
        let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { chunk.deallocate() }
        do {
            let size = input.size
            for start in stride(from: 0, to: size, by: chunk.count) {
                let part = UnsafeMutableRawBufferPointer(rebasing: chunk[..<min(chunk.count, size - start)])
                try input.readFully(at: start, into: part)
                try output.writeFully(at: start, UnsafeRawBufferPointer(part))
            }
        } catch {
            place.unlink(name)
            throw error as? Errno ?? .io
        }
    }

    /// A pack that the store has no more.
    func remove(_ id: PackID) {
        _ = drop(id)
        _ = unpin([id])
    }

    /// Drops a copy. Answers the bytes it took.
    func drop(_ id: PackID) -> Int {
        monitor.lock()
        let old = forget(id)
        directory.unlink("\(id)")
        monitor.unlock()
        return old?.bytes ?? 0
    }

    // MARK: Files of others under the same limit

    /// Segments of foreign data that are here.
    func segments() -> [PackID] { monitor.withLock { entries.keys.filter(\.isCacheSegment) } }

    /// `body` is told of each segment that is taken away, under this cache's monitor.
    func whenEvicted(_ body: @escaping @Sendable (PackID) -> Void) { monitor.withLock { segmentEvicted = body } }

    /// A segment grew, or is new.
    func note(_ id: PackID, grownBy bytes: Int) {
        monitor.lock()
        clock += 1
        let before = entries[id]?.bytes ?? 0
        entries[id] = Entry(pack: nil, bytes: max(0, before + bytes), lastUse: clock, noted: Self.now())
        add(max(0, before + bytes) - before, to: id)
        let old = evict(keeping: id, giving: 0)
        monitor.unlock()
        withExtendedLifetime(old) {}
    }

    // MARK: Entries

    func pack(_ id: PackID) throws(PackReadFailure) -> CachedPack {
        let now = Self.now()
        monitor.lock()
        clock += 1
        var found = entries[id]?.pack
        if found == nil {
            if entries[id] == nil, trouble.isSuspended(now) {
                monitor.unlock()
                throw .cache(.noSpace)
            }
            do {
                let pack = try openPack(id)
                entries[id] = Entry(pack: pack, bytes: entries[id]?.bytes ?? 0, lastUse: clock, noted: 0)
                openCount += 1
                if openCount > Self.openLimit { closeOldest(keeping: id) }
                found = pack
            } catch {
                monitor.unlock()
                throw .cache(error)
            }
        }
        guard let pack = found else { preconditionFailure("opened above") }
        entries[id]?.lastUse = clock
        // Also where the clock was set back.
        let mustNote = abs(now - (entries[id]?.noted ?? now)) >= Self.noteSeconds
        if mustNote { entries[id]?.noted = now }
        monitor.unlock()
        if mustNote { pack.noteUse() }
        return pack
    }

    /// Under the monitor. What is not a file that only we can have made is dropped, and comes again from the store.
    private func openPack(_ id: PackID) throws(Errno) -> CachedPack {
        let name = "\(id)"
        do {
            return try CachedPack(id, in: directory, seal: seal, buffers: buffers)
        } catch {
            guard case .notOurs(let words) = error else { throw Self.errno(error) }
            directory.clear(name)
            report("pack \(id): its copy \(words); it is dropped, and fetched again")
        }
        do {
            return try CachedPack(id, in: directory, seal: seal, buffers: buffers)
        } catch {
            throw Self.errno(error)
        }
    }

    private static func errno(_ intruder: HeldDirectory.Intruder) -> Errno {
        if case .failed(let errno) = intruder { errno } else { .accessDenied }
    }

    private func count(_ bytes: Int, at offset: Int, fetchedBytes: Int) {
        meter.countRead(
            frames: PackFormat.frames(at: offset, count: bytes), fetchedBytes: fetchedBytes,
            frameBytes: PackFormat.frameBytes)
    }

    /// A segment was used, or a pack whose bytes were in memory.
    func use(_ id: PackID) {
        monitor.lock()
        clock += 1
        entries[id]?.lastUse = clock
        monitor.unlock()
    }

    func grow(_ id: PackID, _ pack: CachedPack, by bytes: Int) {
        meter.countFetched(bytes)
        monitor.lock()
        // One that was dropped meanwhile takes nothing, and a new one of the same id is another file.
        guard let entry = entries[id], entry.pack == nil || entry.pack === pack else { return monitor.unlock() }
        trouble.recent.isOver()
        entries[id]?.bytes += bytes
        add(bytes, to: id)
        grownSinceLook += bytes
        let mustLook = grownSinceLook >= Self.lookBytes
        let old = evict(keeping: id, giving: 0)
        monitor.unlock()
        withExtendedLifetime(old) {}
        if mustLook { makeRoom(keeping: id) }
    }

    /// Under the monitor. The caller lets go of the answer after it: closing a removed file frees its blocks.
    func forget(_ id: PackID) -> Entry? {
        guard let entry = entries.removeValue(forKey: id) else { return nil }
        add(-entry.bytes, to: id)
        if entry.pack != nil { openCount -= 1 }
        if id.isCacheSegment { segmentEvicted(id) }
        return entry
    }

    /// Under the monitor.
    private func closeOldest(keeping kept: PackID) {
        let open = entries.filter { $0.value.pack != nil && $0.key != kept }
        for (id, _) in open.sorted(by: { $0.value.lastUse < $1.value.lastUse }).prefix(Self.openLimit / 4) {
            entries[id]?.pack = nil
            openCount -= 1
        }
    }

    /// Seconds since 1970, to a few milliseconds.
    static func now() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME_COARSE, &time)
        return time.tv_sec
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
