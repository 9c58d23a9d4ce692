import FileModel
import Metadata

extension FileSystem {
    /// The inode that `name` stands for in a directory. The session holds it until the kernel forgets it.
    public func lookup(_ name: FileName, in parent: InodeID, session: Session) throws(Errno) -> Inode {
        let inode = try read { transaction throws(Errno) in
            guard let id = try transaction.entry(name, in: parent) else {
                guard let directory = try transaction.inode(parent) else { throw .stale }
                throw directory.isDirectory ? .noEntry : .notDirectory
            }
            return try transaction.required(id)
        }
        session.retain(inode.id)
        return inode
    }

    /// `stat`.
    public func attributes(of id: InodeID) throws(Errno) -> Inode {
        try read { transaction throws(Errno) in
            guard let inode = try transaction.inode(id) else { throw .stale }
            return inode
        }
    }

    /// The parent of a directory, held by the session: what the kernel asks for as "..".
    public func parent(of id: InodeID, session: Session) throws(Errno) -> Inode {
        let inode = try read { transaction throws(Errno) in
            guard let inode = try transaction.inode(id), inode.linkCount > 0, let parent = inode.parent else {
                throw .noEntry
            }
            return try transaction.required(parent)
        }
        session.retain(inode.id)
        return inode
    }

    /// The target of a symbolic link. Answers EINVAL for anything else.
    public func readLink(_ id: InodeID) throws(Errno) -> [UInt8] {
        try read { transaction throws(Errno) in
            guard let target = try transaction.linkTarget(of: id) else { throw .invalidArgument }
            return target
        }
    }

    /// `statfs`: bytes and inodes, of the limits where there are any, else of the store's room. In a directory with a
    /// quota, and below it, what that leaves.
    public func statistics(at id: InodeID = .root) throws(Errno) -> FileSystemStatistics {
        let (used, quotas) = try read { transaction throws(Errno) in
            let inode = try transaction.inode(id)
            let place = inode?.isDirectory == true ? id : inode?.parent ?? .root
            return (
                try self.counted(transaction),
                transaction.hasQuotas ? try transaction.quotas(governing: place) : []
            )
        }
        var statistics = volumeStatistics(used)
        for quota in quotas { statistics.limit(to: quota) }
        return statistics
    }

    private func volumeStatistics(_ used: Usage) -> FileSystemStatistics {
        let room = packs.capacity() ?? (total: Self.unknownCapacity, free: Self.unknownCapacity)
        let size = configuration.limits.bytes
        let total = size ?? max(room.total, used.bytes)
        let free = size.map { $0 > used.bytes ? min($0 - used.bytes, room.free) : 0 } ?? room.free
        let inodes = configuration.limits.inodes ?? max(Self.unknownInodes, used.files)
        return FileSystemStatistics(
            totalBytes: total, freeBytes: free, totalInodes: inodes,
            freeInodes: inodes > used.files ? inodes - used.files : 0)
    }

    /// 1 PiB: what a store that cannot tell its room shows.
    private static let unknownCapacity: UInt64 = 1 << 50
    /// SQLite's row ids allow far more; programs expect a number that fits.
    private static let unknownInodes: UInt64 = 1 << 40
}

/// What `statfs` tells.
public struct FileSystemStatistics: Sendable {
    public var totalBytes: UInt64
    public var freeBytes: UInt64
    public var totalInodes: UInt64
    public var freeInodes: UInt64

    /// The quota of the directory with the least room is shown, as its total and what is left of it.
    mutating func limit(to quota: Quota) {
        if let limit = quota.limits.bytes, limit - min(limit, quota.used.bytes) <= freeBytes {
            (totalBytes, freeBytes) = (limit, limit - min(limit, quota.used.bytes))
        }
        if let limit = quota.limits.inodes, limit - min(limit, quota.used.files) <= freeInodes {
            (totalInodes, freeInodes) = (limit, limit - min(limit, quota.used.files))
        }
    }
}

extension MetadataTransaction {
    /// The inode that an entry names. Answers EIO when it is not there: the metadata is damaged.
    func required(_ id: InodeID) throws(Errno) -> Inode {
        guard let inode = try inode(id) else { throw .io }
        return inode
    }

    /// A directory that the kernel names. Answers ESTALE when it is gone and ENOTDIR when it is none.
    func directory(_ id: InodeID) throws(Errno) -> Inode {
        guard let inode = try inode(id) else { throw .stale }
        guard inode.isDirectory else { throw .notDirectory }
        return inode
    }

    /// A directory in which a name may be made. Answers ENOENT for one that was removed.
    func liveDirectory(_ id: InodeID) throws(Errno) -> Inode {
        let inode = try directory(id)
        guard inode.linkCount > 0 else { throw .noEntry }
        return inode
    }
}

// Counts that a damaged database has wrong stay in their range: finding damage is the checker's work, and must not cost
// the volume its server.
extension Inode {
    mutating func grow(by bytes: Int64) {
        allocated = UInt64(max(0, Int64(clamping: allocated).addingClamped(bytes)))
    }

    mutating func changeLinks(by difference: Int64) {
        linkCount = UInt32(clamping: Int64(linkCount).addingClamped(difference))
    }
}

extension Inode {
    /// Names in the directory changed.
    mutating func touchEntries(_ now: Timestamp) {
        modified = now
        changed = now
    }
}
