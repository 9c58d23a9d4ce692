import FileModel
import LinuxSystem
import ObjectStorage
import Packs
import Synchronization
import TestSupport
import Testing

/// A store far away: every put takes a while, and it sees how many there are at once.
final class DistantStore: ObjectStore {
    struct Seen {
        var now = 0
        var most = 0
        var mostWhileAway = 0
        var bytesNow = 0
        var mostBytes = 0
        var order: [ObjectName] = []
    }

    let inner = MemoryStore()
    let seen = Mutex(Seen())
    let isAway = Atomic<Bool>(false)
    let milliseconds = Atomic<Int>(100)
    let parallelPuts = 6

    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        let isAway = isAway.load(ordering: .relaxed)
        seen.withLock {
            $0.order.append(name)
            $0.now += 1
            $0.bytesNow += bytes.count
            $0.most = max($0.most, $0.now)
            $0.mostBytes = max($0.mostBytes, $0.bytesNow)
            if isAway { $0.mostWhileAway = max($0.mostWhileAway, $0.now) }
        }
        pause(milliseconds.load(ordering: .relaxed))
        seen.withLock {
            $0.now -= 1
            $0.bytesNow -= bytes.count
        }
        if isAway { throw .failed(.io, "away") }
        try inner.put(name, bytes)
    }

    func get(_ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(ObjectStoreError)
    {
        try inner.get(name, at: offset, into: buffer)
    }

    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 { try inner.size(name) }
    func delete(_ name: ObjectName) throws(ObjectStoreError) { try inner.delete(name) }
    func list() throws(ObjectStoreError) -> [ObjectName] { try inner.list() }
    func capacity() -> (total: UInt64, free: UInt64)? { nil }

    private func pause(_ milliseconds: Int) {
        let monitor = Monitor()
        monitor.withLock { _ = monitor.wait(seconds: Double(milliseconds) / 1000) }
    }
}

@Suite("packs on their way")
struct PipelineTests {
    private let directory = TemporaryDirectory()
    private let store = DistantStore()

    private final class Ledger: PackLedger {
        func packRecord(_ id: PackID) throws(Errno) -> PackRecord? {
            var record = PackRecord(id: id, state: .staged)
            record.liveBytes = 1
            return record
        }
        func packStored(_ id: PackID, rawLength: UInt64, storedLength: UInt64) throws(Errno) {}
        func packRemoved(_ id: PackID) throws(Errno) {}
    }

    private func open() throws -> PackStore {
        let packs = try PackStore(
            PackStoreConfiguration(
                stagingDirectory: "\(directory.path)/staging", cacheDirectory: "\(directory.path)/cache",
                cacheLimit: 1 << 30, compression: .none, epoch: 1), store: store)
        try packs.start(Ledger(), report: { _ in })
        return packs
    }

    /// A file of its own pack, which the next past 64 of them sends on its way. Answers the pack.
    @discardableResult
    private func write(_ packs: PackStore, file: Int, _ count: Int = 4096) throws -> PackID {
        let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: file), count: count)
        return try bytes.withUnsafeBytes {
            try packs.append(
                $0, of: InodeID(rawValue: UInt64(file + 2)), at: PackStore.streamThresholdBytes, beforeWaiting: {}
            ) { pack, _ throws(Errno) in pack }
        }
    }

    @Test("several are sent at once, oldest first, and no more than the store takes gladly")
    func parallel() throws {
        let packs = try open()
        var ids: [PackID] = []
        for file in 0..<24 { ids.append(try write(packs, file: file)) }
        let start = ContinuousClock.now
        #expect(packs.flush(seconds: 20) == nil)
        let took = start.duration(to: .now)
        let seen = store.seen.withLock { $0 }
        #expect(seen.most == 6)
        #expect(took < .seconds(2.2), "24 puts of 100 ms one by one take 2.4 s: \(took)")
        #expect(Set(seen.order) == Set(ids.map { ObjectName(pack: $0) }) && seen.order.count == 24)
        #expect(packs.close(seconds: 5) == nil)
    }

    @Test("objects in memory are bounded, however slow the store and however many packs wait")
    func bounded() throws {
        store.milliseconds.store(400, ordering: .relaxed)
        let packs = try open()
        for file in 0..<12 { try write(packs, file: file, 15 << 20) }
        #expect(packs.flush(seconds: 60) == nil)
        let seen = store.seen.withLock { $0 }
        #expect(seen.most >= 3 && seen.mostBytes <= 136 << 20, "\(seen.most) puts, \(seen.mostBytes) bytes")
        #expect(packs.close(seconds: 5) == nil)
    }

    @Test("a store that is away is tried with one pack at a time, and takes all when it is back")
    func away() throws {
        store.isAway.store(true, ordering: .relaxed)
        store.milliseconds.store(20, ordering: .relaxed)
        let packs = try open()
        for file in 0..<20 { try write(packs, file: file) }
        #expect(packs.flush(seconds: 1.5)?.contains("away") == true)
        store.seen.withLock { $0.mostWhileAway = 0 }
        #expect(packs.flush(seconds: 2)?.contains("away") == true)
        let tries = store.seen.withLock { $0 }
        #expect(tries.mostWhileAway <= 1 && tries.order.count < 40, "\(tries)")
        #expect(packs.stagedTotal().packs == 20)
        store.isAway.store(false, ordering: .relaxed)
        #expect(packs.flush(seconds: 40) == nil && packs.stagedTotal().packs == 0)
        #expect(packs.close(seconds: 5) == nil)
    }

    @Test("a pack that is waited for goes before others")
    func urgent() throws {
        store.milliseconds.store(300, ordering: .relaxed)
        let packs = try open()
        var ids: [PackID] = []
        for file in 0..<40 { ids.append(try write(packs, file: file)) }
        let start = ContinuousClock.now
        #expect(packs.store([ids[39]], seconds: 20) == nil)
        #expect(start.duration(to: .now) < .seconds(1.5))
        #expect(!packs.isStaged(ids[39]) && packs.isStaged(ids[0]), "others rest as they would")
        #expect(packs.close(seconds: 20) == nil)
    }

    @Test("writers wait for room, and are let through when the end begins")
    func letGo() throws {
        store.isAway.store(true, ordering: .relaxed)
        let packs = try open()
        let written = Atomic<Int>(0)
        let waits = Atomic<Bool>(false)
        let writer = WorkerThread(name: "writer") {
            for file in 0..<140 {
                let bytes = [UInt8](repeating: 1, count: 100)
                _ = try? bytes.withUnsafeBytes {
                    try packs.append(
                        $0, of: InodeID(rawValue: UInt64(file + 2)), at: PackStore.streamThresholdBytes,
                        beforeWaiting: { waits.store(true, ordering: .releasing) }
                    ) { _, _ throws(Errno) in }
                }
                written.add(1, ordering: .relaxed)
            }
        }
        try eventually("the writer waits") { waits.load(ordering: .acquiring) }
        let before = written.load(ordering: .relaxed)
        #expect(before > 64 && before < 140)
        packs.letGo()
        writer.join()
        #expect(written.load(ordering: .relaxed) == 140)
        #expect(packs.close(seconds: 0.5) != nil)
        #expect(try FileTree.names(in: "\(directory.path)/staging").count { $0.hasSuffix(".raw") } == 140)
    }
}
