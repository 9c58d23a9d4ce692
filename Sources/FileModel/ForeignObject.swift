/// Where foreign objects lie: a bucket, or a directory of files.
public struct ForeignSource: Equatable, Hashable, Sendable {
    /// Given by the metadata; 0 before.
    public var id: Int64
    /// `s3://bucket`, or `file:///directory`; keys of objects are below it.
    public var url: String
    /// How it is asked, in the words of whoever asks it. Never a secret.
    public var options: String

    public init(id: Int64 = 0, url: String, options: String) {
        self.id = id
        self.url = url
        self.options = options
    }
}

/// One object that Berth has not written: what it is called, and how to tell that it is still the same. Its bytes are
/// named by extents as those of a pack are.
public struct ForeignObject: Equatable, Sendable {
    public var source: Int64
    /// Below the source's URL, any bytes: a path, or the key in the bucket.
    public var key: [UInt8]
    /// Bytes.
    public var size: UInt64
    /// Another value says that it is another object: a bucket's ETag, or a file's inode and device.
    public var tag: String
    public var modified: Timestamp

    public init(source: Int64, key: [UInt8], size: UInt64, tag: String, modified: Timestamp) {
        self.source = source
        self.key = key
        self.size = size
        self.tag = tag
        self.modified = modified
    }

    /// Whether it is the object that `found` is, as far as its record tells: older ones have a file's inode without its
    /// device.
    public func isSame(as found: ForeignObject) -> Bool {
        if self == found { return true }
        guard !tag.isEmpty, tag.utf8.allSatisfy({ (0x30...0x39).contains($0) }), found.tag.hasPrefix(tag + ":") else {
            return false
        }
        var renamed = self
        renamed.tag = found.tag
        return renamed == found
    }
}

/// Numbers of packs that stand for foreign objects. No writer's epoch reaches them (`PackID.firstForeignEpoch`).
///
///     bit 62: 1 | bit 61: 0 | object, 37 bits | part, 24 bits
///     bit 62: 1 | bit 61: 1 | segment of the cache, 61 bits
///
/// Extents name part 0, and count `packOffset` from the object's start, however large it is. Other parts, of
/// `foreignPartBytes` each, are for whoever has to do with a piece of it: they are in no table.
extension PackID {
    /// Epochs of writers are below it.
    public static let firstForeignEpoch: UInt32 = 1 << 30
    public static let foreignPartBytes: UInt64 = 16 << 20
    /// Objects that a volume can ever have imported.
    public static let foreignLimit: UInt64 = 1 << 37
    /// The largest object whose parts have numbers.
    public static let foreignByteLimit: UInt64 = foreignPartBytes << 24
    private static let mark: Int64 = 1 << 62
    @usableFromInline static let segmentMark: Int64 = 1 << 61
    private static let partBits: Int64 = 24

    public init(foreign number: UInt64, part: UInt64 = 0) {
        self.init(packed: Self.mark | Int64(number) << Self.partBits | Int64(part))
    }

    public init(cacheSegment number: UInt64) {
        self.init(packed: Self.mark | Self.segmentMark | Int64(number))
    }

    @inlinable public var isForeign: Bool { epoch >= Self.firstForeignEpoch }

    @inlinable public var isCacheSegment: Bool { isForeign && packed & Self.segmentMark != 0 }

    /// Of a foreign object's pack.
    public var foreignNumber: UInt64 { UInt64((packed & (Self.segmentMark - 1)) >> Self.partBits) }
    public var foreignPart: UInt64 { UInt64(packed & (1 << Self.partBits - 1)) }
    /// Of a segment of the cache.
    public var segmentNumber: UInt64 { UInt64(packed & (Self.segmentMark - 1)) }

    /// The object's own, whatever the part.
    public var wholeForeign: PackID { PackID(foreign: foreignNumber) }

    /// The parts that hold a range of an object's bytes.
    public func foreignParts(_ range: Range<UInt64>) -> [PackID] {
        guard !range.isEmpty else { return [] }
        let first = range.lowerBound / Self.foreignPartBytes
        let last = (range.upperBound - 1) / Self.foreignPartBytes
        return (first...last).map { PackID(foreign: foreignNumber, part: $0) }
    }
}
