import FileModel
import LinuxSystem
import ObjectStorage
import Packs
import Synchronization
import TestSupport
import Testing
import VFS

/// A store that takes its time, or takes nothing.
private final class SlowStore: ObjectStore {
    private let inner: DirectoryStore
    let isAway = Atomic<Bool>(false)
    let puts = Atomic<Int>(0)

    init(_ root: String) throws { inner = try DirectoryStore(root: root) }

    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        let monitor = Monitor()
        monitor.withLock { _ = monitor.wait(seconds: 0.3) }
        if isAway.load(ordering: .acquiring) { throw .failed(.io, "away") }
        try inner.put(name, bytes)
        puts.add(1, ordering: .relaxed)
    }

    func get(_ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(ObjectStoreError)
    {
        try inner.get(name, at: offset, into: buffer)
    }

    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 { try inner.size(name) }
    func delete(_ name: ObjectName) throws(ObjectStoreError) { try inner.delete(name) }
    func list() throws(ObjectStoreError) -> [ObjectName] { try inner.list() }
    func capacity() -> (total: UInt64, free: UInt64)? { nil }
}

@Suite("durability=store")
struct DurabilityTests {
    private let directory = TemporaryDirectory()
    private let store: SlowStore

    init() throws { store = try SlowStore("\(directory.path)/store") }

    private func make(_ volume: OpenedVolume, _ name: String, _ count: Int = 5000) throws -> InodeID {
        let new = NewInode(kind: .regular, permissions: 0o644)
        let id = try volume.fileSystem.create(try FileName(name), in: .root, new, caller: volume.caller).id
        try [UInt8](repeating: 5, count: count).withUnsafeBytes {
            _ = try volume.fileSystem.write($0, to: id, at: 0, appends: false, caller: volume.caller)
        }
        return id
    }

    @Test("fsync and close return when the store has the file's bytes, and those of no other file")
    func waits() throws {
        let volume = try OpenedVolume(directory.path, store: store, durability: .store(seconds: 20))
        let other = try make(volume, "large", 3 << 20)
        let file = try make(volume, "f")
        try volume.fileSystem.synchronize(file, session: volume.session)
        #expect(store.puts.load(ordering: .relaxed) == 1, "the other file has a pack of its own, and waits")
        // What is there already costs nothing more.
        try volume.fileSystem.flush(file, session: volume.session)
        try volume.fileSystem.synchronize(.root, session: volume.session)
        #expect(store.puts.load(ordering: .relaxed) == 1)
        try volume.fileSystem.flush(other, session: volume.session)
        #expect(store.puts.load(ordering: .relaxed) == 2 && volume.packs.stagedTotal().packs == 0)
        try volume.close()
    }

    @Test("a store that stays away makes it EIO in time; the data is staged, and stored when the store is back")
    func away() throws {
        let volume = try OpenedVolume(directory.path, store: store, durability: .store(seconds: 1.5))
        store.isAway.store(true, ordering: .releasing)
        let file = try make(volume, "f")
        let start = ContinuousClock.now
        #expect(throws: Errno.io) { try volume.fileSystem.synchronize(file, session: volume.session) }
        let took = start.duration(to: .now)
        #expect(took > .seconds(1.2) && took < .seconds(6), "\(took)")
        #expect(volume.packs.stagedTotal().packs == 1 && volume.fileSystem.readOnlyReason == nil)
        // One that waits while the store comes back succeeds.
        let back = WorkerThread(name: "back") { [store] in
            let monitor = Monitor()
            monitor.withLock { _ = monitor.wait(seconds: 0.5) }
            store.isAway.store(false, ordering: .releasing)
        }
        var isStored = false
        for _ in 0..<5 where !isStored {
            isStored = (try? volume.fileSystem.synchronize(file, session: volume.session)) != nil
        }
        back.join()
        #expect(isStored && volume.packs.stagedTotal().packs == 0)
        try volume.close()
    }

    @Test("one that waits is let go when the end begins")
    func letGo() throws {
        let volume = try OpenedVolume(directory.path, store: store, durability: .store(seconds: 60))
        store.isAway.store(true, ordering: .releasing)
        let file = try make(volume, "f")
        let fileSystem = volume.fileSystem
        let ending = WorkerThread(name: "ending") {
            let monitor = Monitor()
            monitor.withLock { _ = monitor.wait(seconds: 0.5) }
            fileSystem.letGo()
        }
        let start = ContinuousClock.now
        #expect(throws: Errno.io) { try volume.fileSystem.synchronize(file, session: volume.session) }
        #expect(start.duration(to: .now) < .seconds(10))
        ending.join()
        volume.fileSystem.detach(volume.session)
        #expect(volume.fileSystem.close(storeSeconds: 0.2, storesAll: true) != nil)
        // The next process has it.
        store.isAway.store(false, ordering: .releasing)
        let next = try OpenedVolume(directory.path, epoch: 2, store: store)
        #expect(next.packs.flush(seconds: 20) == nil && store.puts.load(ordering: .relaxed) == 1)
        try next.close()
    }

    @Test("without it, close asks nothing and fsync waits for no store")
    func local() throws {
        let volume = try OpenedVolume(directory.path, store: store)
        let file = try make(volume, "f")
        try volume.fileSystem.synchronize(file, session: volume.session)
        try volume.fileSystem.flush(file, session: volume.session)
        #expect(!volume.fileSystem.waitsAtClose && store.puts.load(ordering: .relaxed) == 0)
        try volume.close()
    }
}
