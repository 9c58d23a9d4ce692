import FileModel
import ObjectStorage
import Packs

/// What one copy of a volume's metadata consists of: where each 64 KiB of the database lies in the store.
///
///     magic "BERTHMC1" | version u32 | generation u32 | sequence u64 | time i64 (ns since 1970) | database bytes u64
///     record length u32 | chunk count u32
///     the volume's record (JSON)
///     per chunk 28 bytes: copy u64 | part u32 | offset u32 | stored length u32 (bit 31: raw) | xxh3-64 of the raw bytes u64
///     xxh3-64 of all before
///
/// All numbers are little-endian. It is stored raw under `metadata/<sequence>.manifest`; its parts are
/// `metadata/<copy>-<part>`. A chunk that did not change stays in the part of the copy that stored it first.
struct CopyManifest: Equatable {
    static let chunkBytes = PackFormat.frameBytes
    private static let magic: UInt64 = 0x3143_4D48_5452_4542
    private static let version: UInt32 = 1
    private static let headerBytes = 48
    private static let rawFlag: UInt32 = 1 << 31
    private static let chunkEntryBytes = 28

    struct Chunk: Equatable {
        var copy: UInt64
        var part: UInt32
        var frame: FrameEntry
    }

    var generation: UInt32
    var sequence: UInt64
    var time: Timestamp
    var databaseBytes: UInt64
    var record: [UInt8]
    var chunks: [Chunk]

    var name: ObjectName? { CopyName.manifest(sequence).object }

    /// The raw bytes of chunk `number`.
    func length(of number: Int) -> Int {
        Int(min(UInt64(Self.chunkBytes), databaseBytes - UInt64(number) * UInt64(Self.chunkBytes)))
    }

    func encoded() -> [UInt8] {
        var writer = ByteWriter()
        writer.put(Self.magic)
        writer.put(Self.version)
        writer.put(generation)
        writer.put(sequence)
        writer.put(time.nanoseconds)
        writer.put(databaseBytes)
        writer.put(UInt32(record.count))
        writer.put(UInt32(chunks.count))
        writer.bytes += record
        for chunk in chunks {
            writer.put(chunk.copy)
            writer.put(chunk.part)
            writer.put(chunk.frame.offset)
            writer.put(chunk.frame.storedLength | (chunk.frame.isRaw ? Self.rawFlag : 0))
            writer.put(chunk.frame.checksum)
        }
        writer.put(writer.bytes.withUnsafeBytes { PackFormat.checksum($0) })
        return writer.bytes
    }

    init(
        generation: UInt32, sequence: UInt64, time: Timestamp, databaseBytes: UInt64, record: [UInt8], chunks: [Chunk]
    ) {
        self.generation = generation
        self.sequence = sequence
        self.time = time
        self.databaseBytes = databaseBytes
        self.record = record
        self.chunks = chunks
    }

    /// Reads what `encoded` wrote; anything else is damage.
    init(decoding bytes: [UInt8]) throws(PackDamage) {
        let result = bytes.withUnsafeBytes { buffer in
            Result { () throws(PackDamage) in try CopyManifest(reading: buffer) }
        }
        self = try result.get()
    }

    private init(reading bytes: UnsafeRawBufferPointer) throws(PackDamage) {
        guard bytes.count >= Self.headerBytes + 8 else { throw .truncated }
        var reader = ByteReader(bytes)
        guard reader.take(UInt64.self) == Self.magic else { throw .notAPack }
        let end = bytes.count - 8
        var last = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[end...]))
        guard last.take(UInt64.self) == PackFormat.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<end])) else {
            throw .checksum("manifest")
        }
        let version = reader.take(UInt32.self)
        guard version == Self.version else { throw .newerVersion(version) }
        generation = reader.take(UInt32.self)
        sequence = reader.take(UInt64.self)
        time = Timestamp(nanoseconds: reader.take(Int64.self))
        databaseBytes = reader.take(UInt64.self)
        let recordLength = Int(reader.take(UInt32.self))
        let count = Int(reader.take(UInt32.self))
        let (whole, rest) = databaseBytes.quotientAndRemainder(dividingBy: UInt64(Self.chunkBytes))
        let wanted = whole + (rest == 0 ? 0 : 1)
        guard UInt64(count) == wanted, end == Self.headerBytes + recordLength + count * Self.chunkEntryBytes else {
            throw .inconsistent("manifest")
        }
        record = Array(bytes[reader.position..<reader.position + recordLength])
        reader.position += recordLength
        chunks = []
        chunks.reserveCapacity(count)
        for _ in 0..<count {
            let copy = reader.take(UInt64.self)
            let part = reader.take(UInt32.self)
            let offset = reader.take(UInt32.self)
            let length = reader.take(UInt32.self)
            chunks.append(
                Chunk(
                    copy: copy, part: part,
                    frame: FrameEntry(
                        offset: offset, storedLength: length & ~Self.rawFlag, isRaw: length & Self.rawFlag != 0,
                        checksum: reader.take(UInt64.self))))
        }
    }
}

/// The names of the objects that copies consist of.
enum CopyName: Equatable {
    case manifest(UInt64)
    case part(UInt64, UInt32)
    /// Who may write to the store: the volume was recovered so often.
    case owner(UInt32)

    private static let directory = "metadata/"

    var object: ObjectName? {
        switch self {
        case .manifest(let sequence): ObjectName("\(Self.directory)\(Self.padded(sequence)).manifest")
        case .part(let copy, let part): ObjectName("\(Self.directory)\(Self.padded(copy))-\(part)")
        case .owner(let generation): ObjectName("\(Self.directory)owner-\(generation)")
        }
    }

    /// Nil for an object that belongs to no copy.
    init?(_ name: ObjectName) {
        guard name.description.startsWithBytes(of: Self.directory) else { return nil }
        let text = name.description.droppingBytes(first: Self.directory.utf8.count)
        if text.startsWithBytes(of: "owner-"), let generation = UInt32(text.dropFirst(6)) {
            self = .owner(generation)
        } else if text.endsWithBytes(of: ".manifest"), let sequence = UInt64(text.dropLast(9), radix: 16) {
            self = .manifest(sequence)
        } else {
            let parts = text.words(at: "-")
            guard parts.count == 2, let copy = UInt64(parts[0], radix: 16), let part = UInt32(parts[1]) else {
                return nil
            }
            self = .part(copy, part)
        }
    }

    /// The copy that it belongs to; nil for an owner's mark.
    var sequence: UInt64? {
        switch self {
        case .manifest(let sequence), .part(let sequence, _): sequence
        case .owner: nil
        }
    }

    private static func padded(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
