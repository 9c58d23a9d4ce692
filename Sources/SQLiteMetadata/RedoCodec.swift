import FileModel
import LinuxSystem

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
        case .putPack(let record):
            tag(.putPack)
            put(record.id.packed)
            put(record.state.rawValue)
            put(record.rawLength)
            put(record.storedLength)
        case .removePack(let id): tag(.removePack); put(id.packed)
        case .setSetting(let key, let value): tag(.setSetting); put(Array(key.utf8)); put(Array(value.utf8))
        case .unlogged: tag(.unlogged)
        }
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

enum RedoTag: UInt8 {
    case end = 1
    case insert, update, remove, link, unlink, replaceExtents, setLinkTarget, setAttribute, removeAttribute
    case addOrphan, removeOrphan, putPack, removePack, setSetting, unlogged
}

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
        case .putPack: return pack()
        case .removePack: return .change(.removePack(PackID(packed: take())))
        case .setSetting:
            let key = String(decoding: list(), as: UTF8.self)
            return .change(.setSetting(key, to: String(decoding: list(), as: UTF8.self)))
        case .unlogged: return .change(.unlogged)
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
