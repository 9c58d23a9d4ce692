import FileModel
import LinuxSystem
import ObjectStorage
import Packs
import Synchronization
import TestSupport
import Testing

/// A store far away, whose requests end with their errands, as a bucket's do.
final class ErrandStore: ObjectStore {
    let inner: MemoryStore
    private let errand: StoreErrand?

    init(_ inner: MemoryStore = MemoryStore(), errand: StoreErrand? = nil) {
        self.inner = inner
        self.errand = errand
    }

    func on(_ errand: StoreErrand) -> any ObjectStore { ErrandStore(inner, errand: errand) }

    private func check() throws(ObjectStoreError) {
        if errand?.isOver == true { throw .failed(.io, "the errand is over") }
    }

    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        try check()
        try inner.put(name, bytes)
    }

    func get(
        _ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {
        try check()
        try inner.get(name, at: offset, into: buffer)
    }

    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 {
        try check()
        return try inner.size(name)
    }

    func delete(_ name: ObjectName) throws(ObjectStoreError) {
        try check()
        try inner.delete(name)
    }

    func list() throws(ObjectStoreError) -> [ObjectName] {
        try check()
        return try inner.list()
    }

    func capacity() -> (total: UInt64, free: UInt64)? { nil }
}

@Suite("errands of a store")
struct ErrandTests {
    private let directory = TemporaryDirectory()
    private let store = ErrandStore()

    private final class Ledger: PackLedger {
        let stored = Atomic<Int>(0)

        func packRecord(_ id: PackID) throws(Errno) -> PackRecord? {
            var record = PackRecord(id: id, state: .staged)
            record.liveBytes = 1
            return record
        }
        func packStored(_ id: PackID, rawLength: UInt64, storedLength: UInt64) throws(Errno) {
            stored.add(1, ordering: .relaxed)
        }
        func packRemoved(_ id: PackID) throws(Errno) {}
    }

    private func open(_ ledger: Ledger, _ compression: Compression) throws -> PackStore {
        let packs = try PackStore(
            PackStoreConfiguration(
                stagingDirectory: "\(directory.path)/staging", cacheDirectory: "\(directory.path)/cache",
                cacheLimit: 1 << 30, compression: compression, epoch: 1), store: store)
        try packs.start(ledger, report: { _ in })
        return packs
    }

    private func write(_ packs: PackStore, _ inode: UInt64) throws {
        try [UInt8](repeating: 7, count: 100_000).withUnsafeBytes {
            try packs.append($0, of: InodeID(rawValue: inode), at: 0, beforeWaiting: {}) { _, _ throws(Errno) in }
        }
    }

    @Test("an errand ends when it is told to, at its moment, and never later than it was told before")
    func moments() throws {
        let errand = StoreErrand()
        #expect(!errand.isOver)
        errand.finish(after: .greatestFiniteMagnitude)
        errand.finish(after: 0.2)
        errand.finish(after: 1000)
        #expect(!errand.isOver)
        try eventually("its moment comes") { errand.isOver }
        let other = StoreErrand()
        other.finish(after: -.infinity)
        #expect(other.isOver)
    }

    @Test("a pack whose put must be proved by reading is stored at the end, after those who read were let go")
    func provedAtTheEnd() throws {
        // The object is there, put by a process that died before it recorded that; of the same frames, packed otherwise.
        let first = try open(Ledger(), .zstd)
        try write(first, 9)
        try first.synchronize()
        try Shell.root.run("cp -a '\(directory.path)/staging' '\(directory.path)/kept'")
        #expect(first.flush(seconds: 20) == nil && first.close(seconds: 5) == nil)
        try Shell.root.run(
            "rm -r '\(directory.path)/staging' '\(directory.path)/cache'; mv '\(directory.path)/kept' '\(directory.path)/staging'"
        )
        let ledger = Ledger()
        let packs = try open(ledger, .none)
        packs.letGo()
        #expect(packs.close(seconds: 20, all: true) == nil)
        #expect(ledger.stored.load(ordering: .relaxed) == 1)
    }

    @Test("giving up the packs at their deadline takes nothing from whoever else asks the store")
    func othersGoOn() throws {
        let packs = try open(Ledger(), .none)
        try write(packs, 2)
        let copying = store.on(StoreErrand())
        packs.letGo()
        #expect(packs.close(seconds: 0, all: true) != nil || packs.stagedTotal().packs == 0)
        let name = try #require(ObjectName("metadata/x"))
        try [UInt8]([1]).withUnsafeBytes { try copying.put(name, $0) }
        #expect(try copying.list().contains(name))
    }
}
