import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import Synchronization
import TestSupport
import Testing

@testable import Packs

/// A store that counts what it is asked, can be slow, and can send a wrong byte.
final class CountingStore: ObjectStore {
    let inner = MemoryStore()
    let requests = Atomic<Int>(0)
    /// Replies still to be spoilt.
    let spoilt = Atomic<Int>(0)
    let delayMicroseconds = Atomic<Int>(0)
    let isAway = Atomic<Bool>(false)

    private func count() throws(ObjectStoreError) {
        requests.add(1, ordering: .relaxed)
        if isAway.load(ordering: .relaxed) { throw .failed(.io, "away") }
        let delay = delayMicroseconds.load(ordering: .relaxed)
        if delay > 0 { usleep(UInt32(delay)) }
    }

    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        try count()
        try inner.put(name, bytes)
    }

    func get(_ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(ObjectStoreError)
    {
        try count()
        try inner.get(name, at: offset, into: buffer)
        if spoilt.load(ordering: .relaxed) > 0 {
            spoilt.subtract(1, ordering: .relaxed)
            buffer[buffer.count / 2] ^= 0x10
        }
    }

    func tail(_ name: ObjectName, count wanted: Int) throws(ObjectStoreError) -> ObjectTail {
        try count()
        return try inner.tail(name, count: wanted)
    }

    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 {
        try count()
        return try inner.size(name)
    }

    func delete(_ name: ObjectName) throws(ObjectStoreError) { try inner.delete(name) }
    func list() throws(ObjectStoreError) -> [ObjectName] { try inner.list() }
    func capacity() -> (total: UInt64, free: UInt64)? { nil }

    func take() -> Int { requests.exchange(0, ordering: .relaxed) }
}

/// What a cache reported.
final class Said: Sendable {
    private let lines = Mutex<[String]>([])

    func add(_ line: String) { lines.withLock { $0.append(line) } }
    func take() -> [String] {
        lines.withLock { lines in
            defer { lines = [] }; return lines
        }
    }
}

@Suite("the cache of packs")
struct CacheTests {
    let directory = TemporaryDirectory()
    let store = CountingStore()
    let raw: [UInt8]
    let said = Said()
    static let rawLength = 8 << 20

    /// Half of it compresses.
    static let content: [UInt8] = {
        var generator = SeededGenerator(seed: 7)
        return (0..<rawLength).map { $0 % 2 == 0 ? 0 : UInt8.random(in: 0...255, using: &generator) }
    }()

    init() { raw = Self.content }

    func id(_ number: UInt32) -> PackID { PackID(epoch: 1, sequence: number) }

    func fill(_ packs: UInt32 = 1) {
        for number in 1...packs {
            let object = raw.withUnsafeBytes { PackEncoder(compression: .zstd).encode(id(number), $0, runs: []) }
            store.inner.objects.withLock { $0[ObjectName(pack: id(number))] = object }
        }
    }

    func open(limit: Int = 1 << 30, free: Int = 0) throws -> PackCache {
        let said = said
        return try PackCache(
            directory: "\(directory.path)/c", limits: CacheLimits(bytes: limit, free: free), store: store,
            report: { said.add($0) })
    }

    func read(_ cache: PackCache, _ number: UInt32, _ offset: Int, _ count: Int) throws {
        var bytes = [UInt8](repeating: 1, count: count)
        try bytes.withUnsafeMutableBytes { _ = try cache.read(id(number), at: offset, into: $0) {} }
        guard bytes.elementsEqual(raw[offset..<offset + count]) else { throw TestFailure("other bytes at \(offset)") }
    }

    @Test("a first read brings the tables and the frames it needs in one request each, a second one the rest")
    func requests() throws {
        fill()
        let cache = try open()
        try read(cache, 1, 1_000_000, 300_000)
        #expect(store.take() == 2, "tables, and six frames at once")
        try read(cache, 1, 1_000_000, 300_000)
        #expect(store.take() == 0)
        try read(cache, 1, 5_000_000, 10)
        try eventually("the rest is here") { (try? cache.complete(id(1))) == 0 }
        let rest = store.take()
        #expect(rest <= 5, "\(rest) requests for the rest")
        for offset in stride(from: 0, to: Self.rawLength - 70_000, by: 517_003) { try read(cache, 1, offset, 70_000) }
        #expect(store.take() == 0)
    }

    @Test("many readers of one pack ask for each frame once")
    func singleFlight() async throws {
        fill()
        store.delayMicroseconds.store(5_000, ordering: .relaxed)
        let cache = try open()
        let (id, raw) = (id(1), raw)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<16 {
                group.addTask {
                    var bytes = [UInt8](repeating: 1, count: 200_000)
                    try bytes.withUnsafeMutableBytes { _ = try cache.read(id, at: 65_536, into: $0) {} }
                    guard bytes.elementsEqual(raw[65_536..<265_536]) else { throw TestFailure("other bytes") }
                }
            }
            try await group.waitForAll()
        }
        // Tables by whoever came first (two may learn them at once where runs differ), and the run; then the rest.
        #expect(store.take() <= 6)
    }

    @Test("what is here is read by the next process without the store, and proved")
    func survives() throws {
        fill(2)
        var cache = try open()
        _ = try cache.complete(id(1))
        // A pack of our own, taken over from staging.
        let object = store.inner.objects.withLock { $0[ObjectName(pack: id(2))] ?? [] }
        try AtomicFile.replace("\(directory.path)/raw", raw)
        cache.adopt(
            id(2), rawPath: "\(directory.path)/raw", tail: object.withUnsafeBytes { try? PackIndex.tail(of: $0) })
        #expect(access("\(directory.path)/raw", F_OK) != 0)
        store.isAway.store(true, ordering: .relaxed)
        cache = try open()
        _ = store.take()
        for pack in [1, 2] as [UInt32] {
            try read(cache, pack, 0, Self.rawLength)
        }
        #expect(store.take() == 0)
        // A flipped byte is never served: the frame is asked for, and the store is away.
        try Shell.root.run("printf x | dd of='\(directory.path)/c/\(id(1))' bs=1 seek=4000000 conv=notrunc status=none")
        cache = try open()
        #expect(throws: PackReadFailure.self) { try read(cache, 1, 3_990_000, 20_000) }
        store.isAway.store(false, ordering: .relaxed)
        try read(cache, 1, 3_990_000, 20_000)
    }

    @Test("a frame that came damaged is fetched again alone; one that stays damaged is an error")
    func damaged() throws {
        fill()
        store.spoilt.store(1, ordering: .relaxed)
        let cache = try open()
        try read(cache, 1, 0, 400_000)
        #expect(store.take() == 3, "tables, the run, and one frame again")
        store.spoilt.store(1000, ordering: .relaxed)
        #expect(throws: PackReadFailure.self) { try read(cache, 1, 2_000_000, 10) }
        store.spoilt.store(0, ordering: .relaxed)
        try read(cache, 1, 2_000_000, 10)
    }

    @Test("the least recently used packs go when the cache is full, and come again")
    func bounded() throws {
        fill(6)
        let cache = try open(limit: 40 << 20)
        for number in 1...6 as ClosedRange<UInt32> {
            _ = try cache.complete(id(number))
            try read(cache, 1, 0, 100)
        }
        let used = try Shell.root.run("du -s -B1 '\(directory.path)/c' | cut -f1")
        #expect(Int(used) ?? .max < 45 << 20)
        _ = store.take()
        try read(cache, 1, 500_000, 100)
        try read(cache, 6, 500_000, 100)
        #expect(store.take() == 0, "the one in use and the newest are here")
        try read(cache, 2, 500_000, 100)
        #expect(store.take() == 2)
    }
}
