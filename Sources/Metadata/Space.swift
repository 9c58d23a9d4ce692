import FileModel

/// What lies in the trash: an inode without a name, and the name it had last.
public struct TrashRecord: Equatable, Sendable {
    /// Grows with each deletion, so that what was in a directory comes before the directory.
    public var id: UInt64
    public var inode: InodeID
    /// The directory it was in, which may be in the trash, too.
    public var parent: InodeID
    public var name: FileName
    public var deleted: Timestamp
    /// Who deleted it, in volume ids.
    public var userID: UInt32
    public var isDirectory: Bool

    public init(
        id: UInt64, inode: InodeID, parent: InodeID, name: FileName, deleted: Timestamp, userID: UInt32,
        isDirectory: Bool
    ) {
        self.id = id
        self.inode = inode
        self.parent = parent
        self.name = name
        self.deleted = deleted
        self.userID = userID
        self.isDirectory = isDirectory
    }
}

/// What a directory may hold, with all that is below it.
public struct QuotaLimits: Equatable, Sendable {
    /// Bytes of file data at most, or nil.
    public var bytes: UInt64?
    /// Inodes at most, the directory itself included, or nil.
    public var inodes: UInt64?

    public init(bytes: UInt64?, inodes: UInt64?) {
        self.bytes = bytes
        self.inodes = inodes
    }
}

/// A directory's quota, and what is used of it.
public struct Quota: Equatable, Sendable {
    public var directory: InodeID
    public var limits: QuotaLimits
    public var used: Usage

    public init(directory: InodeID, limits: QuotaLimits, used: Usage) {
        self.directory = directory
        self.limits = limits
        self.used = used
    }
}
