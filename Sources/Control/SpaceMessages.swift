/// What is asked about the trash, quotas and usage of a volume. Paths are from the volume's root, as bytes without a
/// slash at their ends.
public enum SpaceQuery: Codable, Sendable, Equatable {
    /// A page of what was deleted at or below a path, after the item with an id.
    case trash(path: [UInt8], after: UInt64)
    case restore(RestoreRequest)
    /// Discards a page of what was deleted at or below a path before a time (nanoseconds since 1970).
    case emptyTrash(path: [UInt8], before: Int64, after: UInt64)
    case usage(path: [UInt8])
    case quotas
    /// Without limits the quota is taken away.
    case setQuota(path: [UInt8], bytes: UInt64?, inodes: UInt64?)
}

public struct RestoreRequest: Codable, Sendable, Equatable {
    public enum Target: Codable, Sendable, Equatable {
        case inPlace
        case beside
        case path([UInt8])
    }

    public var path: [UInt8]
    /// The item itself; else what the path named.
    public var id: UInt64?
    /// Nanoseconds since 1970: what the path named then; else what it named last.
    public var time: Int64?
    public var target: Target

    public init(path: [UInt8], id: UInt64?, time: Int64?, target: Target) {
        self.path = path
        self.id = id
        self.time = time
        self.target = target
    }
}

public enum SpaceReply: Codable, Sendable, Equatable {
    case trash([TrashItem], next: UInt64?)
    case restored(RestoreReport)
    case emptied(count: Int, bytes: UInt64, next: UInt64?)
    case usage(bytes: UInt64, inodes: UInt64)
    case quotas([QuotaItem])
}

public struct TrashItem: Codable, Sendable, Equatable {
    public enum Kind: String, Codable, Sendable {
        case file
        case directory
        case link
        case other
    }

    public var id: UInt64
    public var path: [UInt8]
    public var kind: Kind
    public var bytes: UInt64
    /// Nanoseconds since 1970.
    public var deleted: Int64
    /// Who deleted it, in the volume's ids: 0 is its user.
    public var userID: UInt32

    public init(id: UInt64, path: [UInt8], kind: Kind, bytes: UInt64, deleted: Int64, userID: UInt32) {
        self.id = id
        self.path = path
        self.kind = kind
        self.bytes = bytes
        self.deleted = deleted
        self.userID = userID
    }
}

public struct RestoreReport: Codable, Sendable, Equatable {
    public var path: [UInt8]
    public var count: Int
    /// Where something is now, the first few.
    public var occupied: [[UInt8]]
    public var occupiedCount: Int
    /// Why the rest is in the trash still.
    public var ended: String?

    public init(path: [UInt8], count: Int, occupied: [[UInt8]], occupiedCount: Int, ended: String?) {
        self.path = path
        self.count = count
        self.occupied = occupied
        self.occupiedCount = occupiedCount
        self.ended = ended
    }
}

public struct QuotaItem: Codable, Sendable, Equatable {
    public var path: [UInt8]
    public var bytesLimit: UInt64?
    public var inodesLimit: UInt64?
    public var bytes: UInt64
    public var inodes: UInt64

    public init(path: [UInt8], bytesLimit: UInt64?, inodesLimit: UInt64?, bytes: UInt64, inodes: UInt64) {
        self.path = path
        self.bytesLimit = bytesLimit
        self.inodesLimit = inodesLimit
        self.bytes = bytes
        self.inodes = inodes
    }
}
