import FileModel
import Metadata

/// One thing in the trash, as a user sees it.
public struct TrashedItem: Sendable {
    public var record: TrashRecord
    /// From the volume's root, without a slash at its ends.
    public var path: [UInt8]
    public var kind: FileKind
    public var bytes: UInt64
}

/// What is deleted is kept for a time, with the way back to its path.
///
/// A deletion leaves the inode as it is, without links, and adds a row with the directory it was in and its name there.
/// A removed directory stays in the trash as long as anything in it does, so a path can always be told.
extension FileSystem {
    /// What was made and removed within this time and never written is a temporary file, and not kept.
    private static let temporaryNanoseconds: Int64 = 2_000_000_000
    /// A few milliseconds of the metadata's lock.
    static let discardBatch = 500

    /// Whether an inode that loses its last name goes to the trash.
    func isWorthKeeping(
        _ inode: Inode, _ departure: Departure, _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) -> Bool {
        let isOn = configuration.trash.isOn && departure != .discarded
        let isYoung = now.nanoseconds(since: inode.modified) < Self.temporaryNanoseconds
        switch inode.kind {
        case .regular: return isOn && (inode.size > 0 || !isYoung)
        case .symbolicLink: return isOn
        case .directory:
            if isOn && !isYoung { return true }
            // What was in it could not be told the path of.
            return try !transaction.trashedNames(in: inode.id, after: nil, limit: 1).isEmpty
        default: return false
        }
    }

    /// Whether the volume has room for what the copy of a file to be truncated has beside the data: where the trash counts,
    /// nothing that makes room is refused, and the limits are not passed.
    func mayKeepContent(of inode: Inode, _ transaction: any MetadataTransaction) throws(Errno) -> Bool {
        guard configuration.trash.countsInLimits else { return true }
        let used = try transaction.usage()
        let attributes = try transaction.attributeSizes(of: inode.id).bytes
        let hasBytes = configuration.limits.bytes.map { $0 - min($0, used.bytes) >= attributes } ?? true
        let hasInode = configuration.limits.inodes.map { used.files < $0 } ?? true
        return hasBytes && hasInode
    }

    /// A file is about to be truncated to nothing: what it holds goes to the trash as an inode of its own.
    func keepContent(
        of inode: Inode, _ caller: Caller, _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) {
        guard inode.linkCount > 0, let parent = inode.parent,
            let name = try transaction.name(of: inode.id, in: parent)
        else { return }
        let extents = try transaction.extents(of: inode.id, overlapping: 0..<inode.size)
        var copy = inode
        copy.id = try transaction.allocateInodeID()
        copy.linkCount = 0
        copy.changed = now
        copy.allocated = 0
        try transaction.insert(copy)
        // Two inodes name the bytes until the caller takes them from the first.
        packs.freeze(Set(extents.map(\.pack)))
        copy.grow(by: try transaction.replaceExtents(of: copy.id, in: 0..<inode.size, with: extents))
        copy.grow(by: try transaction.copyAttributes(of: inode.id, to: copy.id))
        try transaction.update(copy)
        try transaction.addToTrash(
            TrashRecord(
                id: 0, inode: copy.id, parent: parent, name: name, deleted: now, userID: caller.userID,
                isDirectory: false))
    }

    // MARK: Looking

    /// What was deleted at or below a path (its names from the root on) after the one with id `last`, in the order of
    /// deletion: a page of it, and the id to go on after, or nil at the end.
    public func trash(
        below path: [FileName], after last: UInt64
    ) throws(Errno) -> (items: [TrashedItem], next: UInt64?) {
        let prefix = Array(path.map(\.bytes).joined(separator: [0x2F]))
        return try read { transaction throws(Errno) in
            let records = try transaction.trash(after: last, limit: Self.discardBatch)
            var paths: [InodeID: [UInt8]] = [:]
            var items: [TrashedItem] = []
            for record in records {
                let directory: [UInt8]
                if let known = paths[record.parent] {
                    directory = known
                } else {
                    directory = try transaction.path(of: record.parent) ?? []
                    paths[record.parent] = directory
                }
                let path = directory.isEmpty ? record.name.bytes : directory + [0x2F] + record.name.bytes
                guard prefix.isEmpty || path == prefix || path.starts(with: prefix + [0x2F]) else { continue }
                let inode = try transaction.required(record.inode)
                items.append(TrashedItem(record: record, path: path, kind: inode.kind, bytes: inode.allocated))
            }
            return (items, records.count < Self.discardBatch ? nil : records.last?.id)
        }
    }

    /// What lies in the trash in all.
    public func trashUsage() throws(Errno) -> Usage {
        try read { transaction throws(Errno) in try transaction.trashUsage() }
    }

    // MARK: Discarding

    /// Discards what was deleted at or below a path before `limit`, of the next page after the one with id `last`.
    /// Answers how much went, and the id to go on after, or nil at the end.
    public func emptyTrash(
        below path: [FileName], before limit: Timestamp, after last: UInt64
    ) throws(Errno) -> (count: Int, bytes: UInt64, next: UInt64?) {
        let (items, next) = try trash(below: path, after: last)
        let chosen = items.filter { $0.record.deleted < limit }
        let gone = try discard(chosen.map(\.record))
        let bytes = chosen.filter { gone.contains($0.record.inode) }.clampedSum(of: \.bytes)
        return (gone.count, bytes, next)
    }

    /// Housekeeping's part: what is older than the volume keeps it, and where the store is short of room, what brings some
    /// back. True while there may be more.
    func discardExpired(_ now: Timestamp) -> Bool {
        do throws(Errno) {
            let limit = now.adding(nanoseconds: -configuration.trash.retentionNanoseconds)
            let oldest = try read { transaction throws(Errno) in
                try transaction.trash(after: 0, limit: Self.discardBatch)
            }
            let expired = oldest.filter { $0.deleted < limit }
            let gone = expired.isEmpty ? [] : try discard(expired)
            if expired.isEmpty { try giveWayToStore(hasTrash: !oldest.isEmpty) }
            return expired.count == Self.discardBatch && !gone.isEmpty
        } catch {
            noteFailure()
            return false
        }
    }

    /// Discards the oldest until so many things, or so many bytes, went. Answers how many things did.
    func discardOldest(atMost limit: Int, bytes: UInt64 = .max) throws(Errno) -> Int {
        let records = try read { transaction throws(Errno) in
            let all = try transaction.trash(after: 0, limit: limit)
            guard bytes < .max else { return all }
            var found: UInt64 = 0
            var count = 0
            while count < all.count, found < bytes {
                found = found.addingReportingOverflow(try transaction.required(all[count].inode).allocated).partialValue
                count += 1
            }
            return Array(all[..<count])
        }
        return try discard(records).count
    }

    /// Makes orphans of things in the trash, which go once nobody holds them. A directory in which something is left
    /// stays. Answers the inodes that are discarded.
    func discard(_ records: [TrashRecord]) throws(Errno) -> Set<InodeID> {
        guard !records.isEmpty else { return [] }
        let gone = try maintain { transaction throws(Errno) in
            var gone: Set<InodeID> = []
            for record in records {
                // Restored, or discarded by another, since the look.
                guard try transaction.trash(record.id) == record else { continue }
                if record.isDirectory,
                    try !transaction.trashedNames(in: record.inode, after: nil, limit: 1).isEmpty
                {
                    continue
                }
                var inode = try transaction.required(record.inode)
                try transaction.removeFromTrash(record)
                inode.parent = nil
                try transaction.update(inode)
                try transaction.addOrphan(inode.id)
                gone.insert(inode.id)
            }
            return gone
        }
        for id in gone { orphaned(id) }
        return gone
    }
}

extension MetadataTransaction {
    /// Answers by how many bytes the target's allocation grew.
    func copyAttributes(of source: InodeID, to target: InodeID) throws(Errno) -> Int64 {
        var growth: Int64 = 0
        for name in try attributeNames(of: source) {
            guard let value = try attribute(name, of: source) else { continue }
            growth = growth.addingClamped(try setAttribute(name, to: value, of: target))
        }
        return growth
    }
}
