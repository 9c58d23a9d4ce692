import CLinux
import FileModel
import Glibc
import LinuxSystem

/// A block of a foreign object.
struct ForeignBlock: Hashable {
    /// 128 KiB: what the kernel reads at once at most.
    static let byteCount = 128 << 10

    var object: UInt64
    var number: UInt64
}

/// What stands before each block in a segment of the cache, 48 bytes, little-endian:
///
///     magic u64 | object u64 | block u64 | length u32 | dropped u32 | xxh3-64 of the data u64 | seal of the 40 bytes before u64
struct ForeignBlockHeader {
    static let byteCount = 48
    private static let magic: UInt64 = 0x324B_4C42_4854_5242  // "BRTHBLK2"

    var block: ForeignBlock
    var length: Int
    /// Only its place is left: the data was let go.
    var isDropped: Bool
    var checksum: UInt64

    func encoded(_ seal: CopySeal) -> [UInt8] {
        var writer = ByteWriter()
        writer.put(Self.magic)
        writer.put(block.object)
        writer.put(block.number)
        writer.put(UInt32(length))
        writer.put(UInt32(isDropped ? 1 : 0))
        writer.put(checksum)
        writer.put(writer.bytes.withUnsafeBytes { seal.tag($0) })
        return writer.bytes
    }
}

extension ForeignBlockHeader {
    /// Nil for anything else: a segment ends there.
    init?(_ bytes: UnsafeRawBufferPointer, _ seal: CopySeal) {
        guard bytes.count == Self.byteCount else { return nil }
        var reader = ByteReader(bytes)
        guard reader.take(UInt64.self) == Self.magic else { return nil }
        block = ForeignBlock(object: reader.take(UInt64.self), number: reader.take(UInt64.self))
        length = Int(reader.take(UInt32.self))
        isDropped = reader.take(UInt32.self) != 0
        checksum = reader.take(UInt64.self)
        guard reader.take(UInt64.self) == seal.tag(UnsafeRawBufferPointer(rebasing: bytes.prefix(40))),
            length > 0, length <= ForeignBlock.byteCount
        else { return nil }
    }
}

/// A file of the cache that holds blocks of many foreign objects, one behind the other: a hundred thousand small objects
/// cost a few files.
///
/// Invariants
/// - `used` only grows; what lies before it is written once, but for headers of blocks that are dropped.
// SAFETY: the mutable members are guarded by the owner's monitor; the rest is constant.
final class ForeignSegment: @unchecked Sendable {
    static let byteLimit = PackFormat.maximumRawBytes

    let id: PackID
    private let directory: HeldDirectory
    var used = 0
    var blocks: [ForeignBlock] = []
    /// Nil while it is closed. Who uses it holds it.
    var file: RawFile?

    init(_ id: PackID, in directory: HeldDirectory) {
        self.id = id
        self.directory = directory
    }

    /// Opens the file, or makes it in the place of what is there. Nil where it is not one that only we can have made.
    func open(isNew: Bool) -> RawFile? {
        if isNew { directory.clear("\(id)") }
        let flags = O_RDWR | (isNew ? O_CREAT | O_EXCL : 0)
        if let descriptor = try? directory.openOwn("\(id)", flags) {
            file = RawFile(owning: descriptor.take())
        } else {
            file = nil
        }
        return file
    }

    /// The headers of a segment that an earlier process wrote, and where their data begins. No data is read.
    static func headers(_ file: RawFile, _ seal: CopySeal) -> [(header: ForeignBlockHeader, offset: Int)] {
        var found: [(ForeignBlockHeader, Int)] = []
        let size = file.size
        var position = 0
        var bytes = [UInt8](repeating: 0, count: ForeignBlockHeader.byteCount)
        while position + ForeignBlockHeader.byteCount < size {
            let start = position
            let isRead = bytes.withUnsafeMutableBytes { (try? file.readFully(at: start, into: $0)) != nil }
            guard isRead, let header = bytes.withUnsafeBytes({ ForeignBlockHeader($0, seal) }) else { break }
            let data = position + ForeignBlockHeader.byteCount
            guard data + header.length <= size else { break }
            found.append((header, data))
            position = data + header.length
        }
        return found
    }

    /// Lets go of a block's data for good.
    static func drop(_ header: ForeignBlockHeader, at offset: Int, of file: RawFile, _ seal: CopySeal) {
        var header = header
        header.isDropped = true
        header.encoded(seal).withUnsafeBytes { _ = try? file.writeFully(at: offset - ForeignBlockHeader.byteCount, $0) }
        let flags = Int32(BERTH_FALLOC_FL_PUNCH_HOLE) | Int32(BERTH_FALLOC_FL_KEEP_SIZE)
        _ = fallocate(file.descriptor, flags, off_t(offset), off_t(header.length))
    }
}
