import FileModel
import LinuxSystem
import Metadata

/// What stands next in a redo log.
enum RedoEntry {
    case change(Redo)
    case end(slot: Int, RequestSlots.Request, value: UInt64)
}

/// Reads what `RedoWriter` wrote. Anything else ends it.
struct RedoReader {
    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    private var isDamaged = false

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    mutating func next() -> RedoEntry? {
        guard position < bytes.count, let tag = RedoTag(rawValue: take()) else { return nil }
        let entry = read(tag)
        return isDamaged ? nil : entry
    }

    /// As `next`, of which only the kind matters.
    mutating func nextTag() -> RedoTag? {
        let tag = position < bytes.count ? RedoTag(rawValue: bytes[position]) : nil
        return next() == nil ? nil : tag
    }

    private mutating func read(_ tag: RedoTag) -> RedoEntry? {
        switch tag {
        case .end:
            let slot: Int64 = take()
            let request = RequestSlots.Request(session: take(), unique: take())
            return .end(slot: Int(slot), request, value: take())
        case .insert: return inode().map { .change(.insert($0)) }
        case .update: return inode().map { .change(.update($0)) }
        case .remove: return .change(.remove(id()))
        case .link:
            let directory = id()
            let target = id()
            return .change(.link(FileName(trusted: list()), in: directory, to: target))
        case .unlink:
            let directory = id()
            return .change(.unlink(FileName(trusted: list()), in: directory))
        case .replaceExtents: return extents()
        case .setLinkTarget:
            let inode = id()
            return .change(.setLinkTarget(list(), of: inode))
        case .setAttribute:
            let inode = id()
            let name = list()
            return .change(.setAttribute(name, to: list(), of: inode))
        case .removeAttribute:
            let inode = id()
            return .change(.removeAttribute(list(), of: inode))
        case .addOrphan: return .change(.addOrphan(id()))
        case .removeOrphan: return .change(.removeOrphan(id()))
        case .addToTrash: return .change(.addToTrash(trash()))
        case .removeFromTrash: return .change(.removeFromTrash(trash()))
        case .setQuota:
            let directory = id()
            let isSet: UInt8 = take()
            let limits = QuotaLimits(bytes: optional(), inodes: optional())
            return .change(.setQuota(isSet == 1 ? limits : nil, of: directory))
        case .setHardLinks:
            let inode = id()
            let directory = id()
            return .change(.setHardLinks(of: inode, in: directory, to: take()))
        case .putPack: return pack()
        case .removePack: return .change(.removePack(PackID(packed: take())))
        case .addHold: return hold()
        case .completeHold: return .change(.completeHold(take()))
        case .removeHold: return .change(.removeHold(take()))
        case .addSource:
            let url = text()
            return .change(.addSource(url, options: text()))
        case .addForeignObject: return foreignObject()
        case .setSetting:
            let key = text()
            return .change(.setSetting(key, to: text()))
        case .addNamedAccount: return account()
        }
    }

    private mutating func take<Value: BitwiseCopyable & ExpressibleByIntegerLiteral>() -> Value {
        let size = MemoryLayout<Value>.size
        guard bytes.count - position >= size else {
            isDamaged = true
            return 0
        }
        defer { position += size }
        return bytes.loadUnaligned(fromByteOffset: position, as: Value.self)
    }

    private mutating func list() -> [UInt8] {
        let count: UInt32 = take()
        guard bytes.count - position >= Int(count) else {
            isDamaged = true
            return []
        }
        defer { position += Int(count) }
        return Array(bytes[position..<position + Int(count)])
    }

    private mutating func text() -> String { String(decoding: list(), as: UTF8.self) }

    private mutating func optional() -> UInt64? {
        let isThere: UInt8 = take()
        let number: UInt64 = take()
        return isThere == 1 ? number : nil
    }

    private mutating func trash() -> TrashRecord {
        let inode = id()
        let number: UInt64 = take()
        let parent = id()
        let name = FileName(trusted: list())
        let deleted = Timestamp(nanoseconds: take())
        let userID: UInt32 = take()
        let isDirectory: UInt8 = take()
        return TrashRecord(
            id: number, inode: inode, parent: parent, name: name, deleted: deleted, userID: userID,
            isDirectory: isDirectory == 1)
    }

    private mutating func hold() -> RedoEntry? {
        guard let kind = Hold.Kind(rawValue: take()) else { return nil }
        let name = text()
        let created = Timestamp(nanoseconds: take())
        return .change(.addHold(kind, name, created: created, like: optional().map { Int64(bitPattern: $0) }))
    }

    private mutating func foreignObject() -> RedoEntry {
        let number: UInt64 = take()
        let source: Int64 = take()
        let key = list()
        let size: UInt64 = take()
        let tag = text()
        let object = ForeignObject(
            source: source, key: key, size: size, tag: tag, modified: Timestamp(nanoseconds: take()))
        return .change(.addForeignObject(object, number: number))
    }

    private mutating func account() -> RedoEntry? {
        let id: UInt32 = take()
        guard let kind = AccountKind(rawValue: take()) else { return nil }
        return .change(.addNamedAccount(NamedAccount(id: id, kind: kind, name: text())))
    }

    private mutating func id() -> InodeID { InodeID(rawValue: take()) }

    private mutating func inode() -> Inode? {
        let id = id()
        let mode: UInt32 = take()
        guard let kind = FileKind(rawValue: mode & 0o170000) else { return nil }
        let userID: UInt32 = take()
        let groupID: UInt32 = take()
        let linkCount: UInt32 = take()
        let size: UInt64 = take()
        let allocated: UInt64 = take()
        let accessed: Int64 = take()
        let modified: Int64 = take()
        let changed: Int64 = take()
        let device: UInt32 = take()
        let parent: UInt64 = take()
        var inode = Inode(
            id: id, kind: kind, permissions: mode & 0o7777, userID: userID, groupID: groupID, linkCount: linkCount,
            size: size, allocated: allocated, time: Timestamp(nanoseconds: modified), device: device,
            parent: parent == 0 ? nil : InodeID(rawValue: parent))
        inode.accessed = Timestamp(nanoseconds: accessed)
        inode.changed = Timestamp(nanoseconds: changed)
        return inode
    }

    private mutating func extents() -> RedoEntry? {
        let inode = id()
        let lower: UInt64 = take()
        let upper: UInt64 = take()
        let count: UInt32 = take()
        guard !isDamaged, lower <= upper, (bytes.count - position) / 32 >= Int(count) else { return nil }
        var extents: [Extent] = []
        for _ in 0..<count {
            let offset: UInt64 = take()
            let length: UInt64 = take()
            let pack: Int64 = take()
            extents.append(
                Extent(fileOffset: offset, length: length, pack: PackID(packed: pack), packOffset: take()))
        }
        return .change(.replaceExtents(of: inode, in: lower..<upper, with: extents))
    }

    private mutating func pack() -> RedoEntry? {
        let id = PackID(packed: take())
        guard let state = PackState(rawValue: take()) else { return nil }
        let rawLength: UInt64 = take()
        return .change(.putPack(PackRecord(id: id, state: state, rawLength: rawLength, storedLength: take())))
    }
}
