import Glibc

/// The file type, with the value of the S_IFMT bits of `st_mode`.
public enum FileKind: UInt32, Sendable, CaseIterable {
    case fifo = 0o010000
    case characterDevice = 0o020000
    case directory = 0o040000
    case blockDevice = 0o060000
    case regular = 0o100000
    case symbolicLink = 0o120000
    case socket = 0o140000
}

/// A point in time: nanoseconds since 1970 UTC, from `earliest` to `latest`. What is before or after is that one.
public struct Timestamp: Hashable, Sendable, Comparable {
    public let nanoseconds: Int64

    /// In 1677: the first whole second that the count can hold, so that seconds and the rest of any time are the same
    /// time again.
    public static let earliest = Timestamp(nanoseconds: .min)
    /// In 2262.
    public static let latest = Timestamp(nanoseconds: .max)

    @inlinable
    public init(nanoseconds: Int64) {
        self.nanoseconds = max(nanoseconds, -9_223_372_036_000_000_000)
    }

    @inlinable
    public init(seconds: Int64, nanoseconds: Int64) {
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        // What is past an end stays there, whatever the rest is.
        self.init(nanoseconds: overflow ? (seconds < 0 ? .min : .max) : whole.addingClamped(nanoseconds))
    }

    /// How long before this time the other was; less than 0 where it was after it.
    @inlinable
    public func nanoseconds(since other: Timestamp) -> Int64 { nanoseconds.subtractingClamped(other.nanoseconds) }

    @inlinable
    public func adding(nanoseconds more: Int64) -> Timestamp {
        Timestamp(nanoseconds: nanoseconds.addingClamped(more))
    }

    /// The kernel's coarse realtime clock: the one local file systems stamp files with.
    public static func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: Int64(time.tv_nsec))
    }

    /// Whole seconds, rounded down so that the nanoseconds stay positive before 1970.
    @inlinable public var seconds: Int64 {
        let quotient = nanoseconds / 1_000_000_000
        return nanoseconds % 1_000_000_000 < 0 ? quotient - 1 : quotient
    }

    /// 0 ..< 1,000,000,000.
    @inlinable public var nanosecondsOfSecond: Int64 {
        let rest = nanoseconds % 1_000_000_000
        return rest < 0 ? rest + 1_000_000_000 : rest
    }

    @inlinable
    public static func < (left: Timestamp, right: Timestamp) -> Bool { left.nanoseconds < right.nanoseconds }
}

/// One inode's record: everything `stat` tells, in volume ids and bytes.
public struct Inode: Equatable, Sendable {
    public var id: InodeID
    public var kind: FileKind
    /// The lower 12 bits of `st_mode`.
    public var permissions: UInt32
    public var userID: UInt32
    public var groupID: UInt32
    public var linkCount: UInt32
    /// Bytes. For a symbolic link the length of its target.
    public var size: UInt64
    /// Bytes of extents, of names and values of attributes, and of a link's target: what `st_blocks` tells, times 512.
    public var allocated: UInt64
    public var accessed: Timestamp
    public var modified: Timestamp
    public var changed: Timestamp
    /// The device number of a device node, in the kernel's encoding.
    public var device: UInt32
    /// The directory it is in; of the root, itself. Of a file with several names, one that it has a name in: there it
    /// counts. Of what is in the trash, where it was. Nil for what has no name and is not kept.
    public var parent: InodeID?

    public init(
        id: InodeID, kind: FileKind, permissions: UInt32, userID: UInt32, groupID: UInt32, linkCount: UInt32,
        size: UInt64 = 0, allocated: UInt64 = 0, time: Timestamp, device: UInt32 = 0, parent: InodeID? = nil
    ) {
        self.id = id
        self.kind = kind
        self.permissions = permissions
        self.userID = userID
        self.groupID = groupID
        self.linkCount = linkCount
        self.size = size
        self.allocated = allocated
        self.accessed = time
        self.modified = time
        self.changed = time
        self.device = device
        self.parent = parent
    }

    /// `st_mode`.
    @inlinable public var mode: UInt32 { kind.rawValue | permissions }
    @inlinable public var isDirectory: Bool { kind == .directory }
    /// It lost its last name, and is kept to be restored.
    @inlinable public var isInTrash: Bool { linkCount == 0 && parent != nil }
}
