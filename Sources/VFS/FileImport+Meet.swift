import FileModel
import Metadata
import Packs

/// What an entry meets that has its name already.
///
/// What this import has made gives way to what comes later, as tar has it: the name is taken from it, and a new file gets
/// it, so that other names of the old one keep what they had. What an earlier import made is renewed where it is another
/// object now. All else is somebody's work.
extension FileImport {
    func meet(
        _ inode: Inode, _ name: FileName, in parent: InodeID, _ entry: ImportedEntry, _ parents: inout ParentFinder,
        _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) -> ImportOutcome {
        if case .directory = entry.content, inode.isDirectory { return try meetDirectory(inode, entry, transaction) }
        // Before the name is taken from what has it.
        if let reason = try obstacle(to: entry, in: parent, parents, transaction) { return .refused(reason) }
        var target: InodeID?
        if case .hardLink(let path) = entry.content {
            target = try parents.find(path, transaction)
            if target == inode.id { return .same }
        }
        if made.contains(inode.id) {
            // No two members of an archive have the same bytes of it.
            if try isSame(inode, as: entry, transaction) { return .same }
            return try replace(inode, name, in: parent, entry, &parents, now, transaction)
        }
        switch entry.content {
        case .symbolicLink(let text) where inode.kind == .symbolicLink:
            if try transaction.linkTarget(of: inode.id) == text { return .same }
        case .fifo where inode.kind == .fifo: return .same
        case .data(let object, let offset, let count) where inode.kind == .regular:
            return try meetFile(inode, name, in: parent, object, offset, count, entry, &parents, now, transaction)
        case .hardLink where inode.kind == .regular:
            // Both were made of one object, which was imported again.
            guard let target, let object = try self.object(of: try transaction.required(target), transaction),
                try isRenewable(inode, as: object, transaction)
            else { break }
            return try replace(inode, name, in: parent, entry, &parents, now, transaction)
        default: break
        }
        return .refused("something else of that name is there")
    }

    /// A directory that files brought about takes what is said of it later.
    private func meetDirectory(
        _ inode: Inode, _ entry: ImportedEntry, _ transaction: any MetadataTransaction
    ) throws(Errno) -> ImportOutcome {
        guard made.contains(inode.id) else { return .same }
        var inode = inode
        inode.permissions = entry.permissions & Self.directoryBits
        inode.modified = entry.modified
        try transaction.update(inode)
        changes.add(.attributes(inode.id))
        return .same
    }

    /// Takes the name from what has it, and makes the entry anew.
    private func replace(
        _ inode: Inode, _ name: FileName, in parent: InodeID, _ entry: ImportedEntry, _ parents: inout ParentFinder,
        _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) -> ImportOutcome {
        if inode.kind == .regular, inode.linkCount == 1, try !isUntouched(inode, transaction) {
            return .refused("a file of that name is there, with data of its own")
        }
        if inode.isDirectory {
            guard try !transaction.hasEntries(in: inode.id) else {
                return .refused("a directory of that name is not empty")
            }
            parents.forget()
        }
        let caller = Caller(session: session, userID: 0, groupID: 0, isSuperuser: true, umask: 0)
        let left = try fileSystem.dropLink(inode, named: name, in: parent, .discarded, caller, now, transaction)
        try transaction.unlink(name, in: parent)
        if inode.isDirectory, var directory = try transaction.inode(parent) {
            directory.changeLinks(by: -1)
            try transaction.update(directory)
        }
        replaced.append(left)
        changes.add(name, in: parent, keepsTime: made.contains(parent))
        changes.add(.attributes(inode.id))
        let outcome = try make(name, in: parent, entry, parents, now, transaction)
        return outcome == .made ? .renewed : outcome
    }

    // MARK: Files

    /// The imported object that all of a file is of; nil for any other file.
    private func object(
        of inode: Inode, _ transaction: any MetadataTransaction
    ) throws(Errno) -> (extent: Extent, object: ForeignObject)? {
        guard inode.kind == .regular, inode.size > 0 else { return nil }
        let extents = try transaction.extents(of: inode.id, overlapping: 0..<inode.size)
        guard extents.count == 1, let extent = extents.first, extent.fileOffset == 0, extent.length == inode.size,
            extent.pack.isForeign, let object = try transaction.foreignObject(extent.pack)
        else { return nil }
        return (extent, object)
    }

    /// Whether a file is of the very bytes that an entry is of.
    private func isSame(
        _ inode: Inode, as entry: ImportedEntry, _ transaction: any MetadataTransaction
    ) throws(Errno) -> Bool {
        guard case .data(let object, let offset, let count) = entry.content,
            let known = try self.object(of: inode, transaction)
        else { return false }
        return known.object.isSame(as: object) && known.extent.packOffset == offset && known.extent.length == count
    }

    /// Whether nobody has written to a file of this import. Without data there is none to lose.
    private func isUntouched(_ inode: Inode, _ transaction: any MetadataTransaction) throws(Errno) -> Bool {
        if inode.size == 0 { return true }
        return try object(of: inode, transaction) != nil
    }

    /// Whether a file of an earlier import is of an object that the same store has under the same key, and untouched.
    private func isRenewable(
        _ inode: Inode, as found: (extent: Extent, object: ForeignObject), _ transaction: any MetadataTransaction
    ) throws(Errno) -> Bool {
        if inode.size == 0 { return true }
        guard let known = try object(of: inode, transaction), known.object.source == found.object.source,
            known.object.key == found.object.key
        else { return false }
        let isWhole = known.extent.packOffset == 0 && known.extent.length == known.object.size
        return isWhole || inode.modified != inode.changed
    }

    private func meetFile(
        _ inode: Inode, _ name: FileName, in parent: InodeID, _ object: ForeignObject, _ offset: UInt64,
        _ count: UInt64, _ entry: ImportedEntry, _ parents: inout ParentFinder, _ now: Timestamp,
        _ transaction: any MetadataTransaction
    ) throws(Errno) -> ImportOutcome {
        if inode.size == 0 {
            // No data to lose.
            if count == 0 && inode.modified == entry.modified { return .same }
        } else {
            let own = ImportOutcome.refused("a file of that name is there, with data of its own")
            guard let (extent, known) = try self.object(of: inode, transaction), known.source == object.source,
                known.key == object.key
            else { return own }
            if known.isSame(as: object) {
                shared = (object, extent.pack)
                if extent.packOffset == offset && extent.length == count { return .same }
            }
            // Cut short by somebody, it still is a run of the object. How long a member of an archive was is not
            // known; but what is written or cut has the same time of modification and of change.
            let isWhole = offset == 0 && count == object.size
            let isUntouched =
                isWhole ? extent.packOffset == 0 && extent.length == known.size : inode.modified != inode.changed
            guard isUntouched else { return own }
        }
        // Its other names stand for what they stood for.
        if inode.linkCount > 1 { return try replace(inode, name, in: parent, entry, &parents, now, transaction) }
        try fill(inode.id, object, offset, count, entry, now, transaction)
        changes.add(.data(inode.id))
        return .renewed
    }
}
