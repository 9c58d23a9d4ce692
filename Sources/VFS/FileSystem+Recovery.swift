import FileModel
import Metadata
import ObjectStorage
import Packs
import Synchronization

/// Keeps the packs' part of the metadata for the pack store.
final class PacksInMetadata: PackLedger, ForeignCatalog {
    private let metadata: any MetadataStore
    private let committer: Committer

    init(_ metadata: any MetadataStore, _ committer: Committer) {
        self.metadata = metadata
        self.committer = committer
    }

    func packRecord(_ id: PackID) throws(Errno) -> PackRecord? {
        try metadata.transaction { transaction throws(Errno) in try transaction.pack(id) }
    }

    func packStored(_ id: PackID, rawLength: UInt64, storedLength: UInt64) throws(Errno) {
        try metadata.transaction { transaction throws(Errno) in
            try transaction.putPack(
                PackRecord(id: id, state: .stored, rawLength: rawLength, storedLength: storedLength))
        }
        committer.noteChange()
    }

    func packRemoved(_ id: PackID) throws(Errno) {
        try metadata.transaction { transaction throws(Errno) in try transaction.removePack(id) }
        committer.noteChange()
        try committer.synchronize()
    }

    func foreignObject(_ id: PackID) throws(Errno) -> (object: ForeignObject, source: ForeignSource)? {
        try metadata.transaction { transaction throws(Errno) in
            guard let object = try transaction.foreignObject(id),
                let source = try transaction.sources().first(where: { $0.id == object.source })
            else { return nil }
            return (object, source)
        }
    }
}

extension FileSystem {
    /// What `prepareVolume` answers of a volume whose root is missing.
    static let withoutRoot = Errno.stale

    /// Makes the root of a new volume.
    func prepareVolume() throws(Errno) {
        let now = configuration.now()
        try metadata.transaction { transaction throws(Errno) in
            guard try transaction.inode(.root) == nil else { return }
            let id = try transaction.allocateInodeID()
            // Another number says that there was a root, and it is lost.
            guard id == .root else { throw Self.withoutRoot }
            try transaction.insert(
                Inode(
                    id: id, kind: .directory, permissions: 0o755, userID: 0, groupID: 0, linkCount: 2, time: now,
                    parent: id))
        }
        try removeHalfMadeHolds()
        let hasAny = try metadata.transaction { transaction throws(Errno) in
            try transaction.setting(SettingKey.hasAttributes) != nil
        }
        hasAttributes.store(hasAny, ordering: .relaxed)
    }

    /// Removes inodes that lost their last name before a crash: nobody holds them.
    func removeAllOrphans() throws(Errno) {
        while try removeOrphans(limit: 1000) {}
    }

    func allOrphans() throws(Errno) -> Set<InodeID> {
        Set(try metadata.transaction { transaction throws(Errno) in try transaction.orphans(limit: .max) })
    }

    /// True while there may be more.
    private func removeOrphans(limit: Int) throws(Errno) -> Bool {
        try metadata.transaction { transaction throws(Errno) in
            let orphans = try transaction.orphans(limit: limit)
            for id in orphans {
                try transaction.remove(id)
                try transaction.removeOrphan(id)
            }
            return orphans.count == limit
        }
    }

    /// Records as stored what reached the store just before a crash.
    func settleLostPacks() throws(Errno) {
        let records = try metadata.transaction { transaction throws(Errno) in try transaction.packs() }
        for record in records where record.state == .staged && !packs.isStaged(record.id) {
            if !record.isNeeded {
                try update(lost: record.id) { now, transaction throws(Errno) in
                    if !now.isNeeded { try transaction.removePack(record.id) }
                }
                continue
            }
            do {
                let (rawLength, storedLength) = try packs.findStored(record.id)
                try update(lost: record.id) { _, transaction throws(Errno) in
                    try transaction.putPack(
                        PackRecord(
                            id: record.id, state: .stored, rawLength: rawLength, storedLength: storedLength))
                }
            } catch {
                configuration.report(
                    "pack \(record.id) is neither in staging nor in the store (\(error)): reads of its "
                        + "\(record.liveBytes) bytes will fail; bring back the staging directory or the store")
            }
        }
    }

    /// A transaction on a pack that is lost still: while others were looked for it may have left staging by itself.
    private func update(
        lost id: PackID, _ body: (PackRecord, any MetadataTransaction) throws(Errno) -> Void
    ) throws(Errno) {
        try metadata.maintenance { transaction throws(Errno) in
            guard let now = try transaction.pack(id), now.state == .staged, !packs.isStaged(id) else { return }
            try body(now, transaction)
        }
    }
}

/// The keys of the setting table that VFS writes.
enum SettingKey {
    static let hasAttributes = "has_attributes"
    static let restoreUnderWay = "restore"
}
