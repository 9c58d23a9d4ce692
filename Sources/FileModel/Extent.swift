/// A run of a file's bytes: `length` bytes from `fileOffset` lie in `pack` from `packOffset`, counted in
/// the pack's raw bytes. Extents of one inode never overlap; what no extent covers is a hole.
public struct Extent: Hashable, Sendable {
    public var fileOffset: UInt64
    public var length: UInt64
    public var pack: PackID
    public var packOffset: UInt64

    @inlinable
    public init(fileOffset: UInt64, length: UInt64, pack: PackID, packOffset: UInt64) {
        self.fileOffset = fileOffset
        self.length = length
        self.pack = pack
        self.packOffset = packOffset
    }

    @inlinable public var end: UInt64 { fileOffset.addingClamped(length) }

    /// The part of this extent inside `range`, or nil where they do not meet.
    @inlinable
    public func clipped(to range: Range<UInt64>) -> Extent? {
        let start = max(fileOffset, range.lowerBound)
        let stop = min(end, range.upperBound)
        guard start < stop else { return nil }
        return Extent(
            fileOffset: start, length: stop - start, pack: pack,
            packOffset: packOffset.addingClamped(start - fileOffset))
    }

    /// Whether its numbers can be those of an extent: within the largest file, and within what such a pack can hold. False
    /// for a row of a damaged table.
    @inlinable public var isPossible: Bool {
        let limit = pack.isForeign ? PackID.foreignByteLimit : PackRecord.lengthLimit
        return length > 0 && end <= UInt64(Int64.max) && pack.packed >= 0 && !pack.isCacheSegment
            && packOffset.addingClamped(length) <= limit
    }
}

/// Where a pack is in its life.
public enum PackState: Int64, Sendable, CaseIterable {
    /// Raw bytes in staging, not yet an object in the store.
    case staged = 0
    /// An object in the store.
    case stored = 1
    /// Nobody needs it any more, for good: its object is being deleted.
    case doomed = 2
}

/// One pack's record.
public struct PackRecord: Equatable, Sendable {
    public var id: PackID
    public var state: PackState
    /// Raw bytes the pack holds; 0 while it is staged and may still grow.
    public var rawLength: UInt64
    /// Bytes of the object in the store; 0 while the pack is staged.
    public var storedLength: UInt64
    /// Bytes that extents name, counted once per extent.
    public var liveBytes: UInt64
    /// A snapshot or a clone needs the pack, whatever this volume's own extents name.
    public var isHeld = false

    /// Far more than a pack can have: what says more is damage.
    public static let lengthLimit: UInt64 = 1 << 40

    /// Somebody may read the pack.
    public var isNeeded: Bool { liveBytes > 0 || isHeld }

    public init(id: PackID, state: PackState, rawLength: UInt64 = 0, storedLength: UInt64 = 0, liveBytes: UInt64 = 0) {
        self.id = id
        self.state = state
        self.rawLength = rawLength
        self.storedLength = storedLength
        self.liveBytes = liveBytes
    }
}
