import CXXHash
import FileModel
import ObjectStorage

/// The bytes of a pack object, version 1. All numbers are little-endian. `docs/PACK_FORMAT.md` draws it.
///
///     frames         the compressed (or raw) bytes of each 64 KiB of raw pack data, one after the other
///     frame table    per frame 16 bytes:  offset u32 | stored length u32 | xxh3-64 of the raw bytes u64
///                    bit 31 of the stored length: the frame is stored raw
///     record table   per run 24 bytes:    inode u64 | file offset u64 | raw offset u32 | length u32
///     trailer        64 bytes, see `PackTrailer`
public enum PackFormat {
    public static let version: UInt32 = 1
    /// Raw bytes of a frame; the last one of a pack may be shorter.
    public static let frameBytes = 64 << 10
    /// Raw bytes of a pack at most.
    public static let maximumRawBytes = 16 << 20
    static let frameEntryBytes = 16
    static let recordBytes = 24
    static let rawFrameFlag: UInt32 = 1 << 31
    /// "BERTHPK1" as it lies in the file.
    static let magic: UInt64 = 0x314B_5048_5452_4542

    /// Frames that a range of raw bytes touches.
    static func frames(at offset: Int, count: Int) -> Int {
        count == 0 ? 0 : (offset.addingClamped(count) - 1) / frameBytes - offset / frameBytes + 1
    }

    static func frameCount(rawLength: Int) -> Int { (rawLength + frameBytes - 1) / frameBytes }

    package static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        berth_xxh3_64(bytes.baseAddress, bytes.count)
    }
}

/// One frame as the table describes it.
public struct FrameEntry: Equatable, Sendable {
    /// In the object, bytes.
    public var offset: UInt32
    /// In the object, bytes.
    public var storedLength: UInt32
    public var isRaw: Bool
    /// xxh3-64 of the raw bytes, so that it also proves a cached copy.
    public var checksum: UInt64

    package init(offset: UInt32, storedLength: UInt32, isRaw: Bool, checksum: UInt64) {
        self.offset = offset
        self.storedLength = storedLength
        self.isRaw = isRaw
        self.checksum = checksum
    }
}

/// A run of a file's bytes as it was written into the pack. Later writes may have made it dead.
public struct PackRun: Equatable, Sendable {
    public var inode: InodeID
    public var fileOffset: UInt64
    public var rawOffset: UInt32
    public var length: UInt32

    public init(inode: InodeID, fileOffset: UInt64, rawOffset: UInt32, length: UInt32) {
        self.inode = inode
        self.fileOffset = fileOffset
        self.rawOffset = rawOffset
        self.length = length
    }
}

/// In the record table of an object, and in the list beside a staged pack: 24 bytes.
extension PackRun {
    /// Nil where it names bytes past the pack's `rawLength`, or past the end of the largest file.
    init?(_ reader: inout ByteReader, rawLength: UInt64) {
        self.init(
            inode: InodeID(rawValue: reader.take(UInt64.self)), fileOffset: reader.take(UInt64.self),
            rawOffset: reader.take(UInt32.self), length: reader.take(UInt32.self))
        guard UInt64(rawOffset) + UInt64(length) <= rawLength, fileOffset <= UInt64(Int64.max) - UInt64(length)
        else { return nil }
    }

    func put(into writer: inout ByteWriter) {
        writer.put(inode.rawValue)
        writer.put(fileOffset)
        writer.put(rawOffset)
        writer.put(length)
    }
}

/// The last 64 bytes of a pack:
///
///      0  magic "BERTHPK1"       8  version u32         12  frame bytes u32
///     16  pack epoch u32        20  pack sequence u32   24  raw length u64
///     32  frame table offset u64                        40  frame count u32     44  run count u32
///     48  xxh3-64 of both tables                        56  xxh3-64 of the 56 bytes before
struct PackTrailer: Equatable {
    static let byteCount = 64

    var id: PackID
    var rawLength: UInt64
    var frameTableOffset: UInt64
    var frameCount: UInt32
    var runCount: UInt32
    var tableChecksum: UInt64

    var tableBytes: Int { Int(frameCount) * PackFormat.frameEntryBytes + Int(runCount) * PackFormat.recordBytes }
}

/// Why bytes are not the pack they should be.
public enum PackDamage: Error, Equatable, Sendable {
    case truncated
    case notAPack
    case newerVersion(UInt32)
    case wrongPack(PackID)
    case checksum(String)
    case inconsistent(String)
}

extension PackDamage: CustomStringConvertible {
    public var description: String {
        switch self {
        case .truncated: "it is cut short"
        case .notAPack: "it is no pack"
        case .newerVersion(let version): "it has version \(version), which a newer program wrote"
        case .wrongPack(let id): "it is pack \(id)"
        case .checksum(let part): "a wrong checksum (\(part))"
        case .inconsistent(let part): "what it says of itself cannot be (\(part))"
        }
    }
}

/// Appends little-endian numbers.
package struct ByteWriter {
    package var bytes: [UInt8] = []

    package init() {}

    package mutating func put<Number: FixedWidthInteger>(_ number: Number) {
        withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
    }
}

/// Reads little-endian numbers; the caller has checked that they are there.
package struct ByteReader {
    let bytes: UnsafeRawBufferPointer
    package var position = 0

    package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    package mutating func take<Number: FixedWidthInteger>(_ type: Number.Type) -> Number {
        defer { position += MemoryLayout<Number>.size }
        return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: type))
    }
}

extension PackTrailer {
    func encoded() -> [UInt8] {
        var writer = ByteWriter()
        writer.put(PackFormat.magic)
        writer.put(PackFormat.version)
        writer.put(UInt32(PackFormat.frameBytes))
        writer.put(id.epoch)
        writer.put(id.sequence)
        writer.put(rawLength)
        writer.put(frameTableOffset)
        writer.put(frameCount)
        writer.put(runCount)
        writer.put(tableChecksum)
        writer.put(writer.bytes.withUnsafeBytes { PackFormat.checksum($0) })
        return writer.bytes
    }

    init(endOf tail: ObjectTail) throws(PackDamage) {
        guard tail.size > UInt64(Self.byteCount), tail.bytes.count >= Self.byteCount else { throw .truncated }
        let result = tail.bytes.withUnsafeBytes { bytes in
            let end = UnsafeRawBufferPointer(rebasing: bytes.suffix(Self.byteCount))
            return Result { () throws(PackDamage) in try PackTrailer(decoding: end, objectLength: tail.size) }
        }
        self = try result.get()
    }

    init(decoding bytes: UnsafeRawBufferPointer, objectLength: UInt64) throws(PackDamage) {
        guard bytes.count == Self.byteCount else { throw .truncated }
        var reader = ByteReader(bytes)
        guard reader.take(UInt64.self) == PackFormat.magic else { throw .notAPack }
        let version = reader.take(UInt32.self)
        let frameBytes = reader.take(UInt32.self)
        id = PackID(epoch: reader.take(UInt32.self), sequence: reader.take(UInt32.self))
        rawLength = reader.take(UInt64.self)
        frameTableOffset = reader.take(UInt64.self)
        frameCount = reader.take(UInt32.self)
        runCount = reader.take(UInt32.self)
        tableChecksum = reader.take(UInt64.self)
        guard reader.take(UInt64.self) == PackFormat.checksum(UnsafeRawBufferPointer(rebasing: bytes.prefix(56)))
        else { throw .checksum("trailer") }
        guard version == PackFormat.version else { throw .newerVersion(version) }
        let (end, overflow) = frameTableOffset.addingReportingOverflow(UInt64(tableBytes + Self.byteCount))
        guard frameBytes == UInt32(PackFormat.frameBytes), rawLength <= UInt64(PackFormat.maximumRawBytes),
            frameTableOffset <= UInt64(PackFormat.maximumRawBytes),
            Int(frameCount) == PackFormat.frameCount(rawLength: Int(rawLength)), !overflow, end == objectLength
        else { throw .inconsistent("trailer") }
    }
}
