import FileModel
import LinuxSystem
import ObjectStorage
import Synchronization
import TestSupport
import Testing
import VFS

/// A directory on a disk of 1 GiB that another program shares.
private final class NarrowStore: ObjectStore {
    private static let total: UInt64 = 1 << 30
    /// A twentieth: with less it is short.
    static let threshold = total / 20

    private let inner: DirectoryStore
    private let others = Atomic<UInt64>(0)
    private let tellsNothing: Bool
    /// The other program takes all that becomes free.
    private let isGreedy: Bool

    init(_ root: String, tellsNothing: Bool = false, isGreedy: Bool = false) throws {
        inner = try DirectoryStore(root: root)
        self.tellsNothing = tellsNothing
        self.isGreedy = isGreedy
    }

    private func ownBytes() -> UInt64 { ((try? inner.objects()) ?? []).reduce(0) { $0 + $1.size } }

    /// The other program writes until so many bytes are left.
    func fill(leaving free: UInt64) { others.store(Self.total - ownBytes() - free, ordering: .relaxed) }

    func capacity() -> (total: UInt64, free: UInt64)? {
        if tellsNothing { return nil }
        if isGreedy { return (Self.total, 1 << 20) }
        let used = others.load(ordering: .relaxed) + ownBytes()
        return (Self.total, Self.total - min(Self.total, used))
    }

    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        try inner.put(name, bytes)
    }
    func get(_ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(ObjectStoreError)
    {
        try inner.get(name, at: offset, into: buffer)
    }
    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 { try inner.size(name) }
    func delete(_ name: ObjectName) throws(ObjectStoreError) { try inner.delete(name) }
    func list() throws(ObjectStoreError) -> [ObjectName] { try inner.list() }
    func objects() throws(ObjectStoreError) -> [ObjectInfo] { try inner.objects() }
}

@Suite("the trash gives way to a store without room where that helps")
struct ReliefTests {
    private static let large = 2 << 20

    private let directory = TemporaryDirectory()
    private let clock = TestClock()
    /// Of the disk that metadata and staging are on.
    private let hasRoom = Box()

    private final class Box: Sendable { let value = Atomic<Bool>(true) }

    private func open(_ store: NarrowStore) throws -> OpenedVolume {
        let hasRoom = hasRoom
        return try OpenedVolume(
            directory.path, store: store, space: SpacePolicy(),
            trash: TrashSettings(retentionNanoseconds: 3_600_000_000_000),
            hasRoom: { hasRoom.value.load(ordering: .relaxed) }, now: clock.now)
    }

    private func store(tellsNothing: Bool = false, isGreedy: Bool = false) throws -> NarrowStore {
        try NarrowStore("\(directory.path)/narrow", tellsNothing: tellsNothing, isGreedy: isGreedy)
    }

    private static func noise(_ number: Int, _ count: Int) -> [UInt8] {
        var generator = SeededGenerator(seed: UInt64(number))
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            for index in stride(from: 0, to: count, by: 8) {
                UnsafeMutableRawBufferPointer(buffer).storeBytes(
                    of: generator.next(), toByteOffset: index, as: UInt64.self)
            }
            filled = count
        }
    }

    /// Files of 2 MiB, each with a pack of its own in the store, in the trash.
    private func trash(_ count: Int, _ volume: OpenedVolume) throws -> [String] {
        let names = (0..<count).map { "f\($0)" }
        for (number, name) in names.enumerated() {
            let id = try volume.file(name)
            let bytes = Self.noise(number, Self.large)
            // The first bytes are in the pack of small files.
            for start in stride(from: 0, to: Self.large, by: 1 << 20) {
                try volume.write(Array(bytes[start..<start + (1 << 20)]), to: id, at: UInt64(start))
            }
        }
        try #require(volume.packs.flush(seconds: 20) == nil)
        clock.pass(seconds: 10)
        for name in names { try volume.unlink(name) }
        return names
    }

    /// Looks of housekeeping; before each the volume grows by a file, where it is in use.
    private func look(_ count: Int, _ volume: OpenedVolume, inUse: Bool, until isOver: () throws -> Bool = { false })
        throws
    {
        for number in 0..<count where try !isOver() {
            if inUse {
                try volume.file("new\(clock.now().nanoseconds)-\(number)", Self.noise(number, 8))
                try #require(volume.packs.flush(seconds: 20) == nil)
            }
            volume.fileSystem.housekeep()
        }
    }

    @Test("another program that fills the disk takes nothing from the trash of a volume that wants no room")
    func idle() throws {
        let store = try store()
        let volume = try open(store)
        let names = try trash(4, volume)
        store.fill(leaving: 1 << 20)
        try look(30, volume, inUse: false)
        #expect(try volume.trashed() == names)
        try volume.close()
    }

    @Test("where the volume grows the oldest goes, step by step and no more than is needed")
    func grows() throws {
        let store = try store()
        let volume = try open(store)
        let names = try trash(10, volume)
        store.fill(leaving: NarrowStore.threshold - (5 << 20))
        let isOver = { store.capacity().map { $0.free >= NarrowStore.threshold } ?? false }
        try look(60, volume, inUse: true, until: isOver)
        let left = try volume.trashed()
        #expect(isOver() && left.count >= 3 && left.count <= 7 && left == names.suffix(left.count), "\(left)")
        try look(10, volume, inUse: true)
        #expect(try volume.trashed() == left)
        for name in left { #expect(try volume.restore(name).count == 1) }
        try volume.close()
    }

    @Test("a writer that was refused room is one who wants it")
    func refused() throws {
        let store = try store()
        let volume = try open(store)
        _ = try trash(4, volume)
        store.fill(leaving: 1 << 20)
        hasRoom.value.store(false, ordering: .relaxed)
        try volume.fileSystem.synchronize()
        let id = try volume.id("")
        #expect(throws: Errno.noSpace) {
            // The committer has to have seen the full disk.
            for number in 0..<200 {
                try volume.file("x\(number)")
                try volume.fileSystem.synchronize(id, session: volume.session)
            }
        }
        volume.fileSystem.housekeep()
        #expect(try volume.trashed().count == 3)
        hasRoom.value.store(true, ordering: .relaxed)
        try volume.close()
    }

    @Test("what goes to others at once was the last that is given up")
    func greedy() throws {
        let volume = try open(try store(isGreedy: true))
        let names = try trash(8, volume)
        try look(40, volume, inUse: true)
        #expect(try volume.trashed() == names.suffix(7))
        try volume.close()
    }

    @Test("packs with living bytes, held by a snapshot or by an open file give no room, and what is in them stays")
    func needed() throws {
        let store = try store()
        let volume = try open(store)
        for number in 0..<20 { try volume.file("s\(number)", Self.noise(number, 10_000)) }
        try volume.fileSystem.createSnapshot("kept")
        _ = try trash(2, volume)
        for number in 0..<8 { try volume.unlink("s\(number)") }
        // The second of the large files is open.
        try #require(volume.packs.flush(seconds: 20) == nil)
        let open = try volume.file("open", Self.noise(99, Self.large))
        try #require(volume.packs.flush(seconds: 20) == nil)
        _ = try volume.fileSystem.lookup(try FileName("open"), in: .root, session: volume.session)
        clock.pass(seconds: 10)
        try volume.unlink("open")
        store.fill(leaving: 1 << 20)
        try look(40, volume, inUse: true)
        let left = try volume.trashed()
        #expect(left == (0..<8).map { "s\($0)" } + ["open"], "\(left)")
        volume.fileSystem.forget(open, count: 1, session: volume.session)
        for number in 0..<8 { #expect(try volume.restore("s\(number)").count == 1) }
        try volume.close()
    }

    @Test("a store that tells no room, as a bucket, takes nothing from the trash, whatever disk is full")
    func bucket() throws {
        let volume = try open(try store(tellsNothing: true))
        let names = try trash(3, volume)
        hasRoom.value.store(false, ordering: .relaxed)
        volume.fileSystem.housekeep()
        hasRoom.value.store(true, ordering: .relaxed)
        try look(20, volume, inUse: true)
        #expect(try volume.trashed() == names)
        try volume.close()
    }
}
