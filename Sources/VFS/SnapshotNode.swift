import FileModel
import Metadata

/// The number by which the kernel knows an inode of a snapshot, beside those of the volume: a mark that no inode of a
/// volume reaches, the snapshot, and its inode there.
public struct SnapshotNode: Hashable, Sendable {
    private static let mark: UInt64 = 1 << 62
    /// Nine trillion inodes and half a million snapshots, made in the life of a volume.
    private static let inodeBits: UInt64 = 43
    private static let largestInode: UInt64 = 1 << inodeBits - 1
    private static let largestOrdinal: UInt64 = 1 << (62 - inodeBits) - 1

    /// `.snapshots` itself: the root of no snapshot.
    public static let directory = SnapshotNode(ordinal: 0, inode: .root)

    /// The snapshot's hold; 0 is none.
    public let ordinal: UInt64
    public let inode: InodeID

    private init(ordinal: UInt64, inode: InodeID) {
        self.ordinal = ordinal
        self.inode = inode
    }

    /// The root of a snapshot. Answers EOVERFLOW where there were more snapshots than can be told apart.
    static func root(of hold: Hold) throws(Errno) -> SnapshotNode {
        guard let ordinal = UInt64(exactly: hold.id), ordinal <= largestOrdinal else { throw .valueTooLarge }
        return SnapshotNode(ordinal: ordinal, inode: .root)
    }

    /// Nil for an inode of the volume.
    @inline(__always)
    public init?(_ number: InodeID) {
        guard Self.isOne(number) else { return nil }
        ordinal = (number.rawValue & ~Self.mark) >> Self.inodeBits
        inode = InodeID(rawValue: number.rawValue & Self.largestInode)
    }

    @inline(__always)
    public static func isOne(_ number: InodeID) -> Bool { number.rawValue & mark != 0 }

    /// `.snapshots`, and each snapshot's root: what its name stands for changes when snapshots come and go.
    public static func isVolatile(_ number: InodeID) -> Bool {
        guard let node = SnapshotNode(number) else { return false }
        return node.inode == .root
    }

    public var number: InodeID { InodeID(rawValue: Self.mark | ordinal << Self.inodeBits | inode.rawValue) }

    /// Another inode of the same snapshot. Answers EOVERFLOW for one past what a number has room for.
    public func sibling(_ inode: InodeID) throws(Errno) -> SnapshotNode {
        guard inode.rawValue <= Self.largestInode else { throw .valueTooLarge }
        return SnapshotNode(ordinal: ordinal, inode: inode)
    }
}
