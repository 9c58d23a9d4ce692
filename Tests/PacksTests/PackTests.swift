import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import Packs
import Synchronization
import TestSupport
import Testing

/// Objects in memory, with the faults a store can have.
final class MemoryStore: ObjectStore {
    let objects = Mutex<[ObjectName: [UInt8]]>([:])
    /// Puts that store and then say that they failed, as when a reply is lost.
    let lostReplies = Atomic<Int>(0)

    func put(_ name: ObjectName, _ bytes: UnsafeRawBufferPointer) throws(ObjectStoreError) {
        let copy = [UInt8](bytes)
        let isOther = objects.withLock { objects in
            if let old = objects[name], old != copy { return true }
            objects[name] = copy
            return false
        }
        if isOther { throw .exists }
        if lostReplies.load(ordering: .relaxed) > 0 {
            lostReplies.subtract(1, ordering: .relaxed)
            throw .failed(.io, "the reply was lost")
        }
    }

    func get(_ name: ObjectName, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(ObjectStoreError)
    {
        guard let object = objects.withLock({ $0[name] }) else { throw .missing }
        guard Int(offset) + buffer.count <= object.count else { throw .short }
        buffer.copyBytes(from: object[Int(offset)..<Int(offset) + buffer.count])
    }

    func size(_ name: ObjectName) throws(ObjectStoreError) -> UInt64 {
        guard let object = objects.withLock({ $0[name] }) else { throw .missing }
        return UInt64(object.count)
    }

    func delete(_ name: ObjectName) throws(ObjectStoreError) { objects.withLock { $0[name] = nil } }
    func list() throws(ObjectStoreError) -> [ObjectName] { objects.withLock { Array($0.keys) } }
    func capacity() -> (total: UInt64, free: UInt64)? { nil }
}

@Suite("the pack format")
struct PackTests {
    private let id = PackID(epoch: 3, sequence: 7)
    private let runs = [
        PackRun(inode: InodeID(rawValue: 2), fileOffset: 0, rawOffset: 0, length: 5),
        PackRun(inode: InodeID(rawValue: 9), fileOffset: 4096, rawOffset: 5, length: 6),
    ]

    private func encode(_ raw: [UInt8], _ compression: Compression) -> [UInt8] {
        raw.withUnsafeBytes { PackEncoder(compression: compression).encode(id, $0, runs: runs) }
    }

    @Test("version 1 is these bytes")
    func golden() {
        let golden = """
            68656c6c6f776f726c6421000000000b000080\(Self.helloChecksum)0200000000000000000000000000000000000000050000000900000000000000\
            001000000000000005000000060000004245525448504b3101000000000001000300000007000000\
            0b000000000000000b000000000000000100000002000000
            """
        let bytes = encode(Array("helloworld!".utf8), .none)
        let text = bytes.map { $0 < 16 ? "0" + String($0, radix: 16) : String($0, radix: 16) }.joined()
        #expect(bytes.count == 11 + 16 + 2 * 24 + 64)
        #expect(text.hasPrefix(golden), "\(text)")
        #expect(text.hasSuffix(Self.trailerEnd), "\(text)")
    }

    /// xxh3-64 of "helloworld!", and both checksums of the trailer, little-endian.
    private static let helloChecksum = "2f590c8f25decea8"
    private static let trailerEnd = "7a5e1447dbd2aeebed764442460e32eb"

    @Test("what is encoded is decoded, compressed and raw, whatever its length", arguments: [Compression.zstd, .none])
    func roundTrip(compression: Compression) throws {
        var generator = SeededGenerator(seed: 42)
        for length in [1, 11, 65535, 65536, 65537, 200_000, 1 << 20] {
            let raw = (0..<length).map { _ in
                UInt8.random(in: 0...(Bool.random(using: &generator) ? 3 : 255), using: &generator)
            }
            let runs = length < 11 ? [] : runs
            let object = raw.withUnsafeBytes { PackEncoder(compression: compression).encode(id, $0, runs: runs) }
            let index = try object.withUnsafeBytes { try PackIndex(decoding: id, $0) }
            #expect(index.rawLength == length && index.runs == runs)
            #expect(index.frames.count == (length + 65535) / 65536)
            #expect(problems(object, UInt64(length)).count == 0)
        }
    }

    private func problems(_ object: [UInt8], _ rawLength: UInt64) -> Problems { check(object, rawLength).problems }

    /// What a full check finds in an object, and how many raw bytes it proved.
    private func check(_ object: [UInt8], _ rawLength: UInt64) -> (problems: Problems, proved: UInt64) {
        let store = MemoryStore()
        store.objects.withLock { $0[ObjectName(pack: id)] = object }
        let record = PackRecord(id: id, state: .stored, rawLength: rawLength, storedLength: UInt64(object.count))
        var problems = Problems()
        let proved = PackChecker(store: store, stagingDirectory: "/nonexistent").check(
            record, rawEnd: rawLength, data: true, &problems)
        return (problems, proved)
    }

    @Test("every byte flipped is found, or changes no data", arguments: [Compression.zstd, .none])
    func flipped(compression: Compression) {
        let raw = (0..<1000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let object = encode(raw, compression)
        for position in object.indices {
            for bit in [0, 5] {
                var damaged = object
                damaged[position] ^= 1 << bit
                let (problems, proved) = check(damaged, 1000)
                // zstd ignores some bits; then the checksum of the raw bytes has proved that none is wrong.
                let isHarmless = compression == .zstd && position < object.count - 64 - 16 - 48 && proved == 1000
                #expect(problems.count > 0 || isHarmless, "byte \(position), bit \(bit)")
            }
        }
    }

    @Test("a record table that names bytes past the largest file is damage, though its checksum is right")
    func farRun() {
        let far = PackRun(inode: InodeID(rawValue: 2), fileOffset: .max - 3, rawOffset: 0, length: 5)
        let object = [UInt8](repeating: 1, count: 11).withUnsafeBytes {
            PackEncoder(compression: .none).encode(id, $0, runs: [far])
        }
        #expect(throws: PackDamage.inconsistent("record table")) {
            try object.withUnsafeBytes { try PackIndex(decoding: id, $0) }
        }
    }

    @Test("every truncation is found, and so is an object with more behind it")
    func truncated() {
        let object = encode(Array(repeating: 5, count: 1000), .zstd)
        for length in object.indices { #expect(problems(Array(object[..<length]), 1000).count > 0, "\(length) bytes") }
        #expect(problems(object + [0], 1000).count > 0)
    }
}
