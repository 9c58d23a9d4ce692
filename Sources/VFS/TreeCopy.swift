import FileModel
import Metadata

/// Copies a tree from a snapshot into its volume, record by record: attributes, names, links and extents, and no data.
/// A page of names is one transaction.
struct TreeCopy {
    private static let pageEntries = 200
    private static let batchExtents = 2000

    private let source: FileSystem
    private let target: FileSystem
    /// Inodes of the source that have several names, and what they are in the target.
    private var linked: [InodeID: InodeID] = [:]
    /// Foreign objects that no file of the target was of any more, and their new records.
    private var renewed: [PackID: PackID] = [:]
    private var directories: [(source: InodeID, target: InodeID)] = []
    /// What was made so far.
    private(set) var made = Usage(files: 0, bytes: 0)

    init(from source: FileSystem, to target: FileSystem) {
        self.source = source
        self.target = target
    }

    /// One file or directory, with all that belongs to it in the source.
    private struct Original {
        var name: FileName
        var inode: Inode
        var target: [UInt8]?
        var attributes: [(name: [UInt8], value: [UInt8])] = []
        var extents: [Extent] = []
        /// What the foreign packs among them stand for.
        var objects: [PackID: ForeignObject] = [:]
    }

    /// Copies `top` and all below it to `name` in a directory of the target.
    mutating func run(_ top: Inode, as name: FileName, in parent: InodeID) throws(Errno) {
        let original = try source.read { transaction throws(Errno) in try Self.original(top, name, transaction) }
        try make([original], in: parent, keepsTime: false)
        while let next = directories.popLast() {
            var last: FileName?
            repeat {
                let page = try source.read { transaction throws(Errno) in
                    var page: [Original] = []
                    for entry in try transaction.entries(in: next.source, after: last, limit: Self.pageEntries) {
                        page.append(try Self.original(entry.inode, entry.name, transaction))
                    }
                    return page
                }
                try make(page, in: next.target, keepsTime: true)
                last = page.count < Self.pageEntries ? nil : page.last?.name
            } while last != nil
        }
    }

    private static func original(
        _ inode: Inode, _ name: FileName, _ transaction: any MetadataTransaction
    ) throws(Errno) -> Original {
        var original = Original(name: name, inode: inode)
        if inode.kind == .symbolicLink { original.target = try transaction.linkTarget(of: inode.id) }
        for name in try transaction.attributeNames(of: inode.id) {
            guard let value = try transaction.attribute(name, of: inode.id) else { continue }
            original.attributes.append((name, value))
        }
        if inode.kind == .regular, inode.allocated > 0 {
            original.extents = try transaction.extents(of: inode.id, overlapping: 0..<inode.size)
            for pack in Set(original.extents.map(\.pack)) where pack.isForeign {
                original.objects[pack] = try transaction.foreignObject(pack)
            }
        }
        return original
    }

    /// `keepsTime`: the directory is a copy, too, and shows the time of the original.
    private mutating func make(_ originals: [Original], in parent: InodeID, keepsTime: Bool) throws(Errno) {
        guard !originals.isEmpty else { return }
        let known = linked
        let target = target
        let now = target.configuration.now()
        var changes = NameChanges()
        let ids = try target.metadata.transaction { transaction throws(Errno) in
            changes = NameChanges()
            try Self.checkRoom(originals, known, parent, target, transaction)
            var ids: [InodeID] = []
            var seen = known
            var directory = try transaction.directory(parent)
            for original in originals {
                let id = try Self.make(original, in: parent, seen[original.inode.id], transaction)
                if original.inode.linkCount > 1, !original.inode.isDirectory { seen[original.inode.id] = id }
                if original.inode.isDirectory { directory.changeLinks(by: 1) }
                changes.add(original.name, in: parent, keepsTime: keepsTime)
                ids.append(id)
            }
            try transaction.update(directory)
            try changes.settle(now, transaction)
            return ids
        }
        target.committer.noteChange()
        target.announceToAll(changes.notices)
        for (original, id) in zip(originals, ids) {
            let isNew = linked[original.inode.id] == nil
            if original.inode.linkCount > 1, !original.inode.isDirectory { linked[original.inode.id] = id }
            if original.inode.isDirectory { directories.append((original.inode.id, id)) }
            guard isNew else { continue }
            made.files += 1
            made.bytes = made.bytes.addingClamped(original.inode.allocated)
            try fill(original, id)
        }
    }

    private static func checkRoom(
        _ originals: [Original], _ known: [InodeID: InodeID], _ parent: InodeID, _ target: FileSystem,
        _ transaction: any MetadataTransaction
    ) throws(Errno) {
        let new = originals.filter { known[$0.inode.id] == nil }
        let bytes = new.clampedSum(of: \.inode.allocated)
        try target.checkRoom(forInodes: UInt64(new.count), transaction)
        try target.checkRoom(forBytes: bytes, transaction)
        try transaction.requireQuota([
            .init(bytes: Int64(clamping: bytes), inodes: Int64(new.count), place: parent)
        ])
    }

    /// Makes one inode with its name, or one more name of an inode that is there. Its extents follow.
    private static func make(
        _ original: Original, in parent: InodeID, _ existing: InodeID?, _ transaction: any MetadataTransaction
    ) throws(Errno) -> InodeID {
        if let existing, var inode = try transaction.inode(existing) {
            try transaction.nameAdded(to: &inode, in: parent)
            inode.changeLinks(by: 1)
            try transaction.update(inode)
            try transaction.link(original.name, in: parent, to: existing)
            return existing
        }
        var inode = original.inode
        inode.id = try transaction.allocateInodeID()
        inode.linkCount = inode.isDirectory ? 2 : 1
        inode.parent = parent
        inode.allocated = UInt64(
            original.attributes.reduce(original.target?.count ?? 0) { $0 + $1.name.count + $1.value.count })
        try transaction.insert(inode)
        // The record counts them already.
        if let target = original.target { _ = try transaction.setLinkTarget(target, of: inode.id) }
        for attribute in original.attributes {
            _ = try transaction.setAttribute(attribute.name, to: attribute.value, of: inode.id)
        }
        try transaction.link(original.name, in: parent, to: inode.id)
        return inode.id
    }

    /// Gives a new file its extents, which name the packs that the snapshot holds.
    private mutating func fill(_ original: Original, _ id: InodeID) throws(Errno) {
        let target = target
        for start in stride(from: 0, to: original.extents.count, by: Self.batchExtents) {
            let part = original.extents[start..<min(start + Self.batchExtents, original.extents.count)]
            guard let first = part.first, let last = part.last else { continue }
            try target.metadata.transaction { transaction throws(Errno) in
                guard var inode = try transaction.inode(id) else { throw .stale }
                let extents = try recorded(Array(part), original.objects, transaction)
                let growth = try transaction.replaceExtents(
                    of: id, in: first.fileOffset..<last.end, with: extents)
                inode.grow(by: growth)
                try transaction.update(inode)
            }
            target.committer.noteChange()
        }
    }

    /// The extents, with records for the foreign objects that they name: those went from the target with its last file
    /// of them, and their numbers are never given again.
    private mutating func recorded(
        _ extents: [Extent], _ objects: [PackID: ForeignObject], _ transaction: any MetadataTransaction
    ) throws(Errno) -> [Extent] {
        guard !objects.isEmpty else { return extents }
        for (pack, object) in objects {
            guard try transaction.foreignObject(pack) == nil else {
                renewed[pack] = nil
                continue
            }
            if let known = renewed[pack], try transaction.foreignObject(known) != nil { continue }
            renewed[pack] = try transaction.addForeignObject(object)
        }
        return extents.map { extent in
            var extent = extent
            extent.pack = renewed[extent.pack] ?? extent.pack
            return extent
        }
    }
}
