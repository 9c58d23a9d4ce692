import CSQLite
import FileModel
import Metadata

extension SQLiteTransaction {
    func extents(of inode: InodeID, overlapping range: Range<UInt64>) throws(Errno) -> [Extent] {
        let statement = statements.selectExtents
        statement.bind(1, inode.rawValue)
        statement.bind(2, range.lowerBound)
        statement.bind(3, range.upperBound)
        var found = try all(statement, Self.readExtent)
        // The query starts at the last extent at or before the range, which may end before it.
        if let start = found.first, start.end <= range.lowerBound { found.removeFirst() }
        for extent in found { try requirePossible(extent, of: inode) }
        return found
    }

    func firstExtent(of inode: InodeID, from offset: UInt64) throws(Errno) -> Extent? {
        statements.selectExtentFrom.bind(1, inode.rawValue)
        statements.selectExtentFrom.bind(2, offset)
        guard let found = try first(statements.selectExtentFrom, Self.readExtent) else { return nil }
        try requirePossible(found, of: inode)
        return found
    }

    /// Answers EIO for numbers that no extent has: bytes that they name would be others, or none.
    private func requirePossible(_ extent: Extent, of inode: InodeID) throws(Errno) {
        guard extent.isPossible else {
            throw corrupt("inode \(inode.rawValue) has an extent with impossible numbers at \(extent.fileOffset)")
        }
    }

    func replaceExtents(of inode: InodeID, in range: Range<UInt64>, with extents: [Extent]) throws(Errno) -> Int64 {
        changed(.replaceExtents(of: inode, in: range, with: extents))
        return try place(extents, in: range, of: inode)
    }

    func place(_ extents: [Extent], in range: Range<UInt64>, of inode: InodeID) throws(Errno) -> Int64 {
        var removed: UInt64 = 0
        var added: UInt64 = 0
        // No extent lies past the end of its inode, so an append need not look.
        if try self.inode(inode).map({ range.lowerBound < $0.size }) ?? true {
            for old in try self.extents(of: inode, overlapping: range) {
                removed = removed.addingClamped(try cut(range, outOf: old, of: inode))
            }
        }
        for new in extents {
            try append(new, to: inode)
            account(new.pack, Int64(clamping: new.length))
            added = added.addingClamped(new.length)
        }
        // As above where a count is damaged.
        used.bytes = Self.raised(used.bytes, by: added)
        used.bytes -= min(used.bytes, removed)
        isCounterDirty = true
        return Int64(clamping: added).subtractingClamped(Int64(clamping: removed))
    }

    /// Leaves of `old` what lies outside `range`. Answers the bytes that went.
    private func cut(_ range: Range<UInt64>, outOf old: Extent, of inode: InodeID) throws(Errno) -> UInt64 {
        guard let gone = old.clipped(to: range) else { return 0 }
        if let before = old.clipped(to: 0..<range.lowerBound) {
            try put(before, of: inode)
        } else {
            statements.deleteExtent.bind(1, inode.rawValue)
            statements.deleteExtent.bind(2, old.fileOffset)
            try run(statements.deleteExtent)
        }
        if let after = old.clipped(to: range.upperBound..<UInt64.max) { try put(after, of: inode) }
        account(old.pack, -Int64(clamping: gone.length))
        return gone.length
    }

    /// Adds an extent, as a longer last one where it continues it in the file and in the pack.
    private func append(_ new: Extent, to inode: InodeID) throws(Errno) {
        if new.fileOffset > 0 {
            statements.selectExtentBefore.bind(1, inode.rawValue)
            statements.selectExtentBefore.bind(2, new.fileOffset)
            if let before = try first(statements.selectExtentBefore, Self.readExtent), before.end == new.fileOffset,
                before.pack == new.pack, before.packOffset.addingClamped(before.length) == new.packOffset
            {
                var longer = before
                longer.length = longer.length.addingClamped(new.length)
                if longer.isPossible { return try put(longer, of: inode) }
            }
        }
        try put(new, of: inode)
    }

    private func put(_ extent: Extent, of inode: InodeID) throws(Errno) {
        let statement = statements.putExtent
        statement.bind(1, inode.rawValue)
        statement.bind(2, extent.fileOffset)
        statement.bind(3, extent.length)
        statement.bind(4, extent.pack.packed)
        statement.bind(5, extent.packOffset)
        try run(statement)
    }

    private static func readExtent(_ row: SQLiteStatement) -> Extent {
        Extent(
            fileOffset: row.unsigned(0), length: row.unsigned(1), pack: PackID(packed: row.integer(2)),
            packOffset: row.unsigned(3))
    }

    // MARK: Packs

    private func account(_ pack: PackID, _ difference: Int64) {
        if pack.isForeign {
            foreignChanges[pack] = (foreignChanges[pack] ?? 0).addingClamped(difference)
            return
        }
        var record = packRecords[pack] ?? PackRecord(id: pack, state: .staged)
        // Clamped: a damaged count is the checker's to report, not a reason to trap.
        record.liveBytes = UInt64(max(0, Int64(clamping: record.liveBytes).addingClamped(difference)))
        packRecords[pack] = record
        dirtyPacks.insert(pack)
    }

    func pack(_ id: PackID) throws(Errno) -> PackRecord? { packRecords[id] }

    func packs() throws(Errno) -> [PackRecord] { packRecords.values.sorted { $0.id < $1.id } }

    func putPack(_ record: PackRecord) throws(Errno) {
        changed(.putPack(record))
        var kept = record
        kept.liveBytes = packRecords[record.id]?.liveBytes ?? 0
        kept.isHeld = packRecords[record.id]?.isHeld ?? false
        packRecords[record.id] = kept
        dirtyPacks.insert(record.id)
    }

    func removePack(_ id: PackID) throws(Errno) {
        changed(.removePack(id))
        packRecords[id] = nil
        dirtyPacks.remove(id)
        statements.deletePack.bind(1, id.packed)
        try run(statements.deletePack)
    }

    func write(_ record: PackRecord) throws(Errno) {
        let statement = statements.putPack
        statement.bind(1, record.id.packed)
        statement.bind(2, record.state.rawValue)
        statement.bind(3, record.rawLength)
        statement.bind(4, record.storedLength)
        statement.bind(5, record.liveBytes)
        try run(statement)
    }
}
