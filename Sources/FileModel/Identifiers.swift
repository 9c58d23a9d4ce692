/// Names an inode of one volume for good: ids are handed out in order and never used twice.
public struct InodeID: Hashable, Sendable, RawRepresentable, Comparable {
    public let rawValue: UInt64

    @inlinable
    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// The root directory. FUSE fixes this number (`FUSE_ROOT_ID`).
    public static let root = InodeID(rawValue: 1)

    /// No inode of a volume has this number or a larger one: those are for what is shown beside the volume.
    public static let limit: UInt64 = 1 << 62

    @inlinable public var isPossible: Bool { rawValue > 0 && rawValue < Self.limit }

    @inlinable
    public static func < (left: InodeID, right: InodeID) -> Bool { left.rawValue < right.rawValue }
}

/// Names a pack: the writer's epoch, which grows with each opening of the volume for writing, and a
/// sequence within it. Two writers never hold the same epoch, so they can never name the same object.
public struct PackID: Hashable, Sendable, Comparable {
    public let epoch: UInt32
    public let sequence: UInt32

    @inlinable
    public init(epoch: UInt32, sequence: UInt32) {
        self.epoch = epoch
        self.sequence = sequence
    }

    /// One number for a database column: the epoch in the upper 32 bits. Fits a signed 64-bit
    /// integer, because an epoch stays below 2^31.
    @inlinable public var packed: Int64 { Int64(epoch) << 32 | Int64(sequence) }

    @inlinable
    public init(packed: Int64) {
        self.init(epoch: UInt32(truncatingIfNeeded: packed >> 32), sequence: UInt32(truncatingIfNeeded: packed))
    }

    @inlinable
    public static func < (left: PackID, right: PackID) -> Bool { left.packed < right.packed }
}

extension PackID: CustomStringConvertible {
    /// `eeeeeeee-ssssssss` in hexadecimal; the object's and the staged file's name.
    public var description: String { Self.hexadecimal(epoch) + "-" + Self.hexadecimal(sequence) }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte) }

    /// Reads what `description` writes; nil for anything else.
    public init?(_ text: some StringProtocol) {
        let parts = Substring(text).parts(at: "-")
        guard parts.count == 2, parts.allSatisfy({ $0.utf8.count == 8 && $0.utf8.allSatisfy(Self.isDigit) }),
            let epoch = UInt32(parts[0], radix: 16), let sequence = UInt32(parts[1], radix: 16)
        else { return nil }
        self.init(epoch: epoch, sequence: sequence)
    }

    private static func hexadecimal(_ value: UInt32) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}
