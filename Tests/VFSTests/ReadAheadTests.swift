import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import Packs
import Synchronization
import TestSupport
import Testing

@testable import VFS

/// A directory store that notes which packs are asked for.
private final class NotingStore: ObjectStore {
    private let inner: DirectoryStore
    private let asked = Mutex<Set<ObjectName>>([])
    let requests = Atomic<Int>(0)

    init(_ root: String) throws { inner = try DirectoryStore(root: root) }

    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        try inner.put(name, bytes)
    }

    func get(_ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(ObjectStoreError)
    {
        requests.add(1, ordering: .relaxed)
        asked.withLock { _ = $0.insert(name) }
        try inner.get(name, at: offset, into: buffer)
    }

    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 { try inner.size(name) }
    func delete(_ name: ObjectName) throws(ObjectStoreError) { try inner.delete(name) }
    func list() throws(ObjectStoreError) -> [ObjectName] { try inner.list() }
    func capacity() -> (total: UInt64, free: UInt64)? { nil }

    var packsAsked: Int { asked.withLock { $0.count } }
}

@Suite("reading ahead")
struct ReadAheadTests {
    private let directory = TemporaryDirectory()
    private static let piece = 128 << 10

    private func create(_ volume: OpenedVolume, _ name: String) throws -> InodeID {
        let new = NewInode(kind: .regular, permissions: 0o644)
        return try volume.fileSystem.create(try FileName(name), in: .root, new, caller: volume.caller).id
    }

    private func content(_ offset: Int, _ count: Int) -> [UInt8] {
        (0..<count / 8).flatMap { word in
            withUnsafeBytes(of: UInt64(offset / 8 + word) &* 0x9E37_79B9_7F4A_7C15) { Array($0) }
        }
    }

    private func write(_ volume: OpenedVolume, _ id: InodeID, _ count: Int) throws {
        for start in stride(from: 0, to: count, by: 1 << 20) {
            let bytes = content(start, min(1 << 20, count - start))
            try bytes.withUnsafeBytes {
                _ = try volume.fileSystem.write($0, to: id, at: UInt64(start), appends: false, caller: volume.caller)
            }
        }
    }

    private func read(_ volume: OpenedVolume, _ id: InodeID, _ offset: Int, _ count: Int = piece) throws {
        var bytes = [UInt8](repeating: 0, count: count)
        let read = try bytes.withUnsafeMutableBytes {
            try volume.fileSystem.read(id, at: UInt64(offset), into: $0, session: volume.session)
        }
        guard read == count, bytes == content(offset, count) else { throw TestFailure("other bytes at \(offset)") }
    }

    /// The volume again, as another machine has it.
    private func reopened() throws -> (OpenedVolume, NotingStore) {
        FileTree.remove("\(directory.path)/cache")
        let store = try NotingStore("\(directory.path)/store")
        return (try OpenedVolume(directory.path, epoch: 2, store: store), store)
    }

    @Test("a file read in order brings the packs ahead, more with each that is reached; it is fetched once")
    func largeFile() throws {
        var volume = try OpenedVolume(directory.path)
        let id = try create(volume, "f")
        let size = 96 << 20
        try write(volume, id, size)
        #expect(volume.packs.flush(seconds: 60) == nil)
        try volume.close()
        let (reopened, store) = try reopened()
        volume = reopened
        try read(volume, id, 0)
        #expect(store.packsAsked == 1, "one read says nothing yet")
        try read(volume, id, Self.piece)
        try eventually("the next pack comes") { store.packsAsked == 2 }
        // Only what is near comes: nobody has reached the second pack.
        try read(volume, id, 2 * Self.piece)
        #expect(store.packsAsked == 2)
        for offset in stride(from: 3 * Self.piece, to: 17 << 20, by: Self.piece) { try read(volume, id, offset) }
        try eventually("two more come") { store.packsAsked >= 4 }
        for offset in stride(from: 17 << 20, to: size, by: Self.piece) { try read(volume, id, offset) }
        // 6 packs of 5 requests of a directory's tables and 4 MiB, and what the reader took itself.
        let requests = store.requests.load(ordering: .relaxed)
        #expect(requests < 90, "\(requests) requests for \(size / Self.piece) reads")
        try volume.close()
    }

    @Test("reads here and there bring nothing ahead")
    func scattered() throws {
        var volume = try OpenedVolume(directory.path)
        let id = try create(volume, "f")
        try write(volume, id, 80 << 20)
        #expect(volume.packs.flush(seconds: 60) == nil)
        try volume.close()
        let (reopened, store) = try reopened()
        volume = reopened
        for pack in [3, 0, 2] { try read(volume, id, (pack << 24) + (5 << 20), 4096) }
        #expect(store.packsAsked == 3)
        // A second read of one pack brings the rest of that one alone.
        try read(volume, id, (3 << 24) + (12 << 20), 4096)
        try read(volume, id, (3 << 24) + (1 << 20), 4096)
        // Long enough for a pack that should not come to be asked for.
        usleep(500_000)
        #expect(store.packsAsked == 3)
        try volume.close()
    }

    @Test("small files read in the order of their writing bring the packs that follow")
    func smallFiles() throws {
        var volume = try OpenedVolume(directory.path)
        var ids: [InodeID] = []
        for number in 0..<80 {
            let id = try create(volume, "f\(number)")
            try write(volume, id, 800 << 10)
            ids.append(id)
        }
        #expect(volume.packs.flush(seconds: 60) == nil)
        try volume.close()
        let (reopened, store) = try reopened()
        volume = reopened
        for id in ids[..<18] { try read(volume, id, 0, 800 << 10) }
        #expect(store.packsAsked <= 2)
        for id in ids[18..<42] { try read(volume, id, 0, 800 << 10) }
        try eventually("the fourth pack comes before it is read") { store.packsAsked == 4 }
        for id in ids[42...] { try read(volume, id, 0, 800 << 10) }
        try volume.close()
    }

    @Test("a window doubles in order up to its limit, and closes with a read elsewhere")
    func windows() {
        let ahead = ReadAhead()
        let file = InodeID(rawValue: 9)
        func pack(_ number: UInt32) -> PackID { PackID(epoch: 1, sequence: number) }
        func window(_ number: UInt32, _ start: UInt64, isMiss: Bool, limit: Int = 100) -> Int {
            let window = ahead.window(of: file, in: pack(number), start..<start + 4096, isMiss: isMiss, limit: limit)
            ahead.expect((0..<UInt32(window)).map { pack(number + 1 + $0) }, for: file)
            return window
        }
        #expect(window(1, 0, isMiss: false) == 0)
        #expect(window(1, 4096, isMiss: true) == 1)
        #expect(window(2, 16 << 20, isMiss: false) == 2)
        #expect(window(3, 32 << 20, isMiss: false) == 4)
        #expect(window(4, 48 << 20, isMiss: false) == 8)
        #expect(window(5, 64 << 20, isMiss: false) == ReadAhead.windowLimit)
        #expect(window(6, 80 << 20, isMiss: false, limit: 3) == 3)
        #expect(window(30, 480 << 20, isMiss: true) == 0)
        #expect(window(7, 96 << 20, isMiss: false) == 0, "what was ahead before is no sign any more")
    }
}
