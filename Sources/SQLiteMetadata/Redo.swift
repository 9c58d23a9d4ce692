import FileModel
import Metadata

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
    /// With the id it got.
    case addToTrash(TrashRecord)
    case removeFromTrash(TrashRecord)
    case setQuota(QuotaLimits?, of: InodeID)
    case setHardLinks(of: InodeID, in: InodeID, to: UInt64)
    case putPack(PackRecord)
    case removePack(PackID)
    case addHold(Hold.Kind, String, created: Timestamp, like: Hold.ID?)
    case completeHold(Hold.ID)
    case removeHold(Hold.ID)
    case addSource(String, options: String)
    /// With the number it got.
    case addForeignObject(ForeignObject, number: UInt64)
    case setSetting(String, to: String)
    /// With the id it got.
    case addNamedAccount(NamedAccount)

    /// What the answer to a request needs to be given again: the inode that got a name, or was made; how many bytes of a
    /// write were taken.
    var answer: UInt64? {
        switch self {
        case .replaceExtents(_, _, let extents): extents.clampedSum(of: \.length)
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
            nextInode = max(nextInode, inode.id.rawValue.addingClamped(1))
            try insert(inode)
        case .update(let inode): try update(inode)
        case .remove(let id): try remove(id)
        case .link(let name, let directory, let target): try link(name, in: directory, to: target)
        case .unlink(let name, let directory): try unlink(name, in: directory)
        case .replaceExtents(let inode, let range, let extents):
            _ = try replaceExtents(of: inode, in: range, with: extents)
        case .setLinkTarget(let target, let inode): _ = try setLinkTarget(target, of: inode)
        case .setAttribute(let name, let value, let inode): _ = try setAttribute(name, to: value, of: inode)
        case .removeAttribute(let name, let inode): _ = try removeAttribute(name, of: inode)
        case .addOrphan(let inode): try addOrphan(inode)
        case .removeOrphan(let inode): try removeOrphan(inode)
        case .addToTrash(let record):
            nextTrash = record.id
            try addToTrash(record)
        case .removeFromTrash(let record): try removeFromTrash(record)
        case .setQuota(let limits, let directory): try setQuota(limits, of: directory)
        case .setHardLinks(let inode, let directory, let names): try setHardLinks(of: inode, in: directory, to: names)
        case .putPack(let record): try putPack(record)
        case .removePack(let id): try removePack(id)
        case .addHold(let kind, let name, let created, let like):
            _ = try addHold(kind, name, created: created, like: like)
        case .completeHold(let id): try completeHold(id)
        case .removeHold(let id): try removeHold(id)
        case .addSource(let url, let options): _ = try addSource(url, options: options)
        case .addForeignObject(let object, let number):
            nextForeign = number
            _ = try addForeignObject(object)
        case .setSetting(let key, let value): try setSetting(key, to: value)
        case .addNamedAccount(let account): try add(account)
        }
    }
}
