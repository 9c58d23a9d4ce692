import FileModel
import Glibc
import LinuxSystem
import MetadataCopies
import ObjectStorage
import Packs
import Synchronization
import TestSupport
import Testing

/// A store whose errand ends after so many requests.
private struct CountingStore: ObjectStore {
    let inner: DirectoryStore
    let left: Counter
    var errand: StoreErrand?

    final class Counter: Sendable { let value = Atomic<Int>(.max) }

    func on(_ errand: StoreErrand) -> any ObjectStore { CountingStore(inner: inner, left: left, errand: errand) }

    /// Half of the time the request is done and its answer is lost.
    private func count<Result>(_ body: () throws(ObjectStoreError) -> Result) throws(ObjectStoreError) -> Result {
        let now = left.value.wrappingSubtract(1, ordering: .relaxed).newValue
        if now <= 0 { errand?.finish() }
        if now == 0 { _ = try body() }
        if errand?.isOver == true { throw .failed(.io, "the errand is over") }
        return try body()
    }

    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        try count { () throws(ObjectStoreError) in try inner.put(name, bytes) }
    }
    func get(
        _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {
        try count { () throws(ObjectStoreError) in try inner.get(name, at: offset, into: buffer) }
    }
    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 {
        try count { () throws(ObjectStoreError) in try inner.size(name) }
    }
    func delete(_ name: ObjectName) throws(ObjectStoreError) {
        try count { () throws(ObjectStoreError) in try inner.delete(name) }
    }
    func list() throws(ObjectStoreError) -> [ObjectName] {
        try count { () throws(ObjectStoreError) in try inner.list() }
    }
    func capacity() -> (total: UInt64, free: UInt64)? { nil }
}

@Suite("copies that their time cuts")
struct CopyErrandTests {
    private let directory = TemporaryDirectory()

    @Test("wherever a copy is cut, the one before or the new one comes back whole, and the next copy goes well")
    func cutAnywhere() throws {
        let path = "\(directory.path)/database"
        let store = CountingStore(inner: try DirectoryStore(root: "\(directory.path)/copies"), left: .init())
        var generator = SeededGenerator(seed: 11)
        var content = (0..<9_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        var writer = CopyWriter(store: store, record: [1], generation: 0)
        try AtomicFile.replace(path, content)
        try writer.copy(path, at: Timestamp(nanoseconds: 0))
        var outcomes: Set<Bool> = []
        for round in 1...24 {
            let before = content
            // A chunk here and there, so that there are parts and old objects.
            for _ in 0..<8 { content[Int.random(in: 0..<content.count, using: &generator)] &+= 1 }
            try AtomicFile.replace(path, content)
            // A new process, which reads what it finds, or one that goes on.
            if round % 3 == 0 { writer = CopyWriter(store: store, record: [1], generation: 0) }
            store.left.value.store(Int.random(in: 1...14, using: &generator), ordering: .relaxed)
            let isCopied = (try? writer.copy(path, at: Timestamp(nanoseconds: Int64(round)), on: StoreErrand())) != nil
            outcomes.insert(isCopied)
            store.left.value.store(.max, ordering: .relaxed)
            let found = try restored(store)
            #expect(found == content || (!isCopied && found == before), "round \(round)")
            if round % 2 == 0 {
                try writer.copy(path, at: Timestamp(nanoseconds: Int64(round)))
                #expect(try restored(store) == content, "round \(round)")
            } else if found != content {
                content = before
            }
        }
        #expect(outcomes == [true, false])
    }

    @Test("a copy whose errand is over does not begin, and says so")
    func noTime() throws {
        let path = "\(directory.path)/database"
        try AtomicFile.replace(path, [1, 2, 3])
        let store = try DirectoryStore(root: "\(directory.path)/copies")
        let writer = CopyWriter(store: store, record: [], generation: 0)
        let errand = StoreErrand()
        errand.finish(after: 0)
        #expect(throws: CopyFailure.noTime) { try writer.copy(path, at: Timestamp(nanoseconds: 1), on: errand) }
        #expect(try store.list().isEmpty)
        try writer.copy(path, at: Timestamp(nanoseconds: 2))
        #expect(try CopyReader(store: store).restore(to: "\(directory.path)/back") { _ in }.time.nanoseconds == 2)
    }

    @Test("a copy of a newer program is never passed over for an older one")
    func newerProgram() throws {
        let path = "\(directory.path)/database"
        try AtomicFile.replace(path, [1, 2, 3])
        let store = try DirectoryStore(root: "\(directory.path)/copies")
        let writer = CopyWriter(store: store, record: [], generation: 0)
        for time in 1...2 { try writer.copy(path, at: Timestamp(nanoseconds: Int64(time))) }
        let manifest = "\(directory.path)/copies/metadata/0000000000000002.manifest"
        var bytes = try #require(try AtomicFile.read(manifest))
        bytes[8] = 2
        let sum = bytes.dropLast(8).withUnsafeBytes { PackFormat.checksum(UnsafeRawBufferPointer($0)) }
        bytes.replaceSubrange((bytes.count - 8)..., with: withUnsafeBytes(of: sum.littleEndian) { Array($0) })
        try AtomicFile.replace(manifest, bytes)
        var skipped: [String] = []
        #expect(throws: CopyFailure.damage(.newerVersion(2))) {
            _ = try CopyReader(store: store).restore(to: "\(directory.path)/back") { skipped.append($0) }
        }
        #expect(skipped == [])
    }

    private func restored(_ store: any ObjectStore) throws -> [UInt8]? {
        let path = "\(directory.path)/back"
        unlink(path)
        _ = try CopyReader(store: store).restore(to: path) { _ in }
        return try AtomicFile.read(path, limit: 64 << 20)
    }
}
