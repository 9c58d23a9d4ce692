import FileModel

/// One change of the records, as a primitive of `MetadataTransaction` makes it: done again after the same changes it
/// gives the same tables.
enum Redo {
    case insert(Inode)
    case update(Inode)
    case remove(InodeID)
    case link(FileName, in: InodeID, to: InodeID)
    case unlink(FileName, in: InodeID)
    case replaceExtents(of: InodeID, in: Range<UInt64>, with: [Extent])
    case setLinkTarget([UInt8], of: InodeID)
    case setAttribute([UInt8], to: [UInt8], of: InodeID)
    case removeAttribute([UInt8], of: InodeID)
    case addOrphan(InodeID)
    case removeOrphan(InodeID)
    case putPack(PackRecord)
    case removePack(PackID)
    case setSetting(String, to: String)
    /// A change that has no form here. Nothing after it can be done again until the next commit.
    case unlogged

    /// What the answer to a request needs to be given again: the inode that got a name, or was made.
    var answer: UInt64? {
        switch self {
        case .insert(let inode): inode.id.rawValue
        case .link(_, _, let target): target.rawValue
        default: nil
        }
    }
}

extension SQLiteTransaction {
    /// Makes a change of the log again.
    func apply(_ redo: Redo) throws(Errno) {
        switch redo {
        case .insert(let inode):
            nextInode = max(nextInode, inode.id.rawValue + 1)
            try insert(inode)
        case .update(let inode): try update(inode)
        case .remove(let id): try remove(id)
        case .link(let name, let directory, let target): try link(name, in: directory, to: target)
        case .unlink(let name, let directory): try unlink(name, in: directory)
        case .replaceExtents(let inode, let range, let extents):
            _ = try replaceExtents(of: inode, in: range, with: extents)
        case .setLinkTarget(let target, let inode): try setLinkTarget(target, of: inode)
        case .setAttribute(let name, let value, let inode): try setAttribute(name, to: value, of: inode)
        case .removeAttribute(let name, let inode): try removeAttribute(name, of: inode)
        case .addOrphan(let inode): try addOrphan(inode)
        case .removeOrphan(let inode): try removeOrphan(inode)
        case .putPack(let record): try putPack(record)
        case .removePack(let id): try removePack(id)
        case .setSetting(let key, let value): try setSetting(key, to: value)
        case .unlogged: break
        }
    }
}
