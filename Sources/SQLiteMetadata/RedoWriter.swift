import FileModel
import LinuxSystem
import Metadata

/// Bytes of the redo log. They are read by a process of the same build, or of one with the same
/// `RedoLog.version`: memory does not outlive the machine.
struct RedoWriter {
    private let base: UnsafeMutableRawPointer
    private let limit: Int
    private(set) var position: Int
    /// Something did not fit.
    private(set) var isFull = false

    init(_ base: UnsafeMutableRawPointer, from position: Int, limit: Int) {
        self.base = base
        self.position = position
        self.limit = limit
    }

    @inline(__always)
    mutating func put<Value: BitwiseCopyable>(_ value: Value) {
        let size = MemoryLayout<Value>.size
        guard limit - position >= size else { return isFull = true }
        (base + position).storeBytes(of: value, as: Value.self)
        position += size
    }

    mutating func put(_ bytes: [UInt8]) {
        put(UInt32(bytes.count))
        guard limit - position >= bytes.count else { return isFull = true }
        bytes.withUnsafeBytes {
            guard let start = $0.baseAddress else { return }
            (base + position).copyMemory(from: start, byteCount: $0.count)
        }
        position += bytes.count
    }

    mutating func put(_ inode: Inode) {
        put(inode.id.rawValue)
        put(inode.mode)
        put(inode.userID)
        put(inode.groupID)
        put(inode.linkCount)
        put(inode.size)
        put(inode.allocated)
        put(inode.accessed.nanoseconds)
        put(inode.modified.nanoseconds)
        put(inode.changed.nanoseconds)
        put(inode.device)
        put(inode.parent?.rawValue ?? 0)
    }

    mutating func put(_ redo: Redo) {
        switch redo {
        case .insert(let inode): tag(.insert); put(inode)
        case .update(let inode): tag(.update); put(inode)
        case .remove(let id): tag(.remove, id)
        case .link(let name, let directory, let target): tag(.link, directory); put(target.rawValue); put(name.bytes)
        case .unlink(let name, let directory): tag(.unlink, directory); put(name.bytes)
        case .replaceExtents(let inode, let range, let extents):
            tag(.replaceExtents, inode)
            put(range.lowerBound)
            put(range.upperBound)
            put(UInt32(extents.count))
            for extent in extents {
                put(extent.fileOffset)
                put(extent.length)
                put(extent.pack.packed)
                put(extent.packOffset)
            }
        case .setLinkTarget(let target, let inode): tag(.setLinkTarget, inode); put(target)
        case .setAttribute(let name, let value, let inode): tag(.setAttribute, inode); put(name); put(value)
        case .removeAttribute(let name, let inode): tag(.removeAttribute, inode); put(name)
        case .addOrphan(let inode): tag(.addOrphan, inode)
        case .removeOrphan(let inode): tag(.removeOrphan, inode)
        case .addToTrash(let record): tag(.addToTrash, record.inode); put(record)
        case .removeFromTrash(let record): tag(.removeFromTrash, record.inode); put(record)
        case .setQuota(let limits, let directory):
            tag(.setQuota, directory)
            put(limits == nil ? UInt8(0) : 1)
            put(limits?.bytes)
            put(limits?.inodes)
        case .setHardLinks(let inode, let directory, let names):
            tag(.setHardLinks, inode)
            put(directory.rawValue)
            put(names)
        case .putPack(let record):
            tag(.putPack)
            put(record.id.packed)
            put(record.state.rawValue)
            put(record.rawLength)
            put(record.storedLength)
        case .removePack(let id): tag(.removePack); put(id.packed)
        case .addHold(let kind, let name, let created, let like):
            tag(.addHold)
            put(kind.rawValue)
            put(Array(name.utf8))
            put(created.nanoseconds)
            put(like.map { UInt64(bitPattern: $0) })
        case .completeHold(let id): tag(.completeHold); put(id)
        case .removeHold(let id): tag(.removeHold); put(id)
        case .addSource(let url, let options): tag(.addSource); put(Array(url.utf8)); put(Array(options.utf8))
        case .addForeignObject(let object, let number):
            tag(.addForeignObject)
            put(number)
            put(object.source)
            put(object.key)
            put(object.size)
            put(Array(object.tag.utf8))
            put(object.modified.nanoseconds)
        case .setSetting(let key, let value): tag(.setSetting); put(Array(key.utf8)); put(Array(value.utf8))
        case .addNamedAccount(let account):
            tag(.addNamedAccount)
            put(account.id)
            put(account.kind.rawValue)
            put(Array(account.name.utf8))
        }
    }

    private mutating func put(_ number: UInt64?) {
        put(number == nil ? UInt8(0) : 1)
        put(number ?? 0)
    }

    /// Without the inode, which stands before.
    private mutating func put(_ record: TrashRecord) {
        put(record.id)
        put(record.parent.rawValue)
        put(record.name.bytes)
        put(record.deleted.nanoseconds)
        put(record.userID)
        put(record.isDirectory ? UInt8(1) : 0)
    }

    /// Ends the changes of one body, which a thread's request made, or nobody's (`slot` -1).
    mutating func putEnd(slot: Int, _ request: RequestSlots.Request, value: UInt64) {
        tag(.end)
        put(Int64(slot))
        put(request.session)
        put(request.unique)
        put(value)
    }

    private mutating func tag(_ tag: RedoTag) { put(tag.rawValue) }

    private mutating func tag(_ tag: RedoTag, _ id: InodeID) {
        put(tag.rawValue)
        put(id.rawValue)
    }
}

/// Of each primitive that changes something its name.
package enum RedoTag: UInt8, CaseIterable {
    case end = 1
    case insert, update, remove, link, unlink, replaceExtents, setLinkTarget, setAttribute, removeAttribute
    case addOrphan, removeOrphan, addToTrash, removeFromTrash, setQuota, setHardLinks, putPack, removePack
    case addHold, completeHold, removeHold, addSource, addForeignObject, setSetting, addNamedAccount
}
