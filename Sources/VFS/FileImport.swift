import FileModel
import Metadata
import Packs

/// Something that is made in a volume out of what is elsewhere already.
public struct ImportedEntry: Sendable {
    public enum Content: Sendable {
        /// A run of a foreign object's bytes.
        case data(of: ForeignObject, at: UInt64, count: UInt64)
        case directory
        case symbolicLink(target: [UInt8])
        /// Another name for what a path, from where the import goes, stands for.
        case hardLink(to: [FileName])
        case fifo
    }

    /// From where the import goes.
    public var path: [FileName]
    public var content: Content
    public var permissions: UInt32
    public var modified: Timestamp
    public var attributes: [String: [UInt8]]

    /// What it takes of a volume's size, at most.
    var byteCount: UInt64 {
        let attributes = attributes.reduce(0) { $0 + $1.key.utf8.count + $1.value.count }
        return switch content {
        case .data(_, _, let count): count.addingClamped(UInt64(attributes))
        case .symbolicLink(let target): UInt64(target.count)
        case .directory: UInt64(attributes)
        case .hardLink, .fifo: 0
        }
    }

    public init(
        path: [FileName], content: Content, permissions: UInt32, modified: Timestamp,
        attributes: [String: [UInt8]] = [:]
    ) {
        self.path = path
        self.content = content
        self.permissions = permissions
        self.modified = modified
        self.attributes = attributes
    }
}

/// What became of an entry.
public enum ImportOutcome: Sendable, Equatable {
    case made
    /// It was imported before, and is another object now; or a later member of an archive took its place.
    case renewed
    /// It is there already.
    case same
    /// Not made, for a reason: what is there is somebody's work.
    case refused(String)
}

/// Makes entries in a volume whose data stays where it is. Used by one thread.
///
/// Invariants
/// - Nothing but what an import made is ever changed: a file that was written to since stays as it is.
/// - A file with several names is never changed under one of them: the name goes to a new file, as tar does it.
/// - A batch is one transaction: a file is there with all its data, or not at all.
/// - Directories made here keep their own times, whatever is made in them.
// SAFETY: used by one thread at a time, the job's.
public final class FileImport: @unchecked Sendable {
    /// Set-id bits of somebody else's files would be this user's rights.
    private static let fileBits: UInt32 = 0o777
    static let directoryBits: UInt32 = 0o1777
    static let implicitDirectory: UInt32 = 0o755
    /// 4 EiB: a listing may say what sizes it likes, and counts stay numbers.
    private static let volumeLimit: UInt64 = 1 << 62

    let fileSystem: FileSystem
    let session: Session
    let place: [FileName]
    /// What this import has made.
    var made = InodeRanges()
    /// The record of the object that many entries are parts of, as it was last used.
    var shared: (object: ForeignObject, id: PackID)?
    var changes = NameChanges()
    /// Inodes that lost a name in the transaction that runs.
    var replaced: [Inode] = []

    /// `place` is where it all goes; what is missing of it is made.
    public init(into place: [FileName], of fileSystem: FileSystem) {
        self.place = place
        self.fileSystem = fileSystem
        session = Session(name: "import", identity: .oneToOne, isReadOnly: false, invalidate: { _, _ in })
        // From here on what sessions have cached is good for a second at most, and they are told.
        fileSystem.attach(session)
    }

    /// Ends the import. Call it once.
    public func end() { fileSystem.detach(session) }

    /// The source of this URL, recorded where it is new.
    public func source(_ url: String, options: String) throws(Errno) -> ForeignSource {
        try fileSystem.write(session) { transaction throws(Errno) in try transaction.addSource(url, options: options) }
    }

    /// Makes entries in their order. Answers what became of each; ENOSPC where the volume is full, with nothing of the
    /// batch made.
    public func add(_ entries: [ImportedEntry]) throws(Errno) -> [ImportOutcome] {
        try fileSystem.requireRoom()
        let now = fileSystem.configuration.now()
        let outcomes = try fileSystem.write(session) { transaction throws(Errno) in
            // A body may be run again.
            (changes, replaced) = (NameChanges(), [])
            try checkRoom(for: entries, transaction)
            var outcomes: [ImportOutcome] = []
            outcomes.reserveCapacity(entries.count)
            var parents = ParentFinder(place: place)
            for entry in entries { outcomes.append(try add(entry, &parents, now, transaction)) }
            try changes.settle(now, transaction)
            return outcomes
        }
        for inode in replaced { fileSystem.unnamed(inode) }
        fileSystem.announce(session, changes.notices)
        return outcomes
    }

    // MARK: Room

    /// Before anything is changed. Directories that come into being on the way are not counted.
    private func checkRoom(for entries: [ImportedEntry], _ transaction: any MetadataTransaction) throws(Errno) {
        let most = entries.clampedSum(of: \.byteCount)
        guard try transaction.usage().bytes.addingClamped(most) <= Self.volumeLimit else { throw .noSpace }
        if fileSystem.configuration.limits.inodes != nil {
            try fileSystem.checkRoom(forInodes: UInt64(try Self.absent(entries, place, transaction)), transaction)
        }
        if fileSystem.configuration.limits.bytes != nil {
            try fileSystem.checkRoom(forBytes: try Self.newBytes(entries, place, transaction), transaction)
        }
        if transaction.hasQuotas {
            try transaction.requireQuota(try QuotaNeeds.of(entries, below: place, transaction))
        }
    }

    private static func absent(
        _ entries: [ImportedEntry], _ place: [FileName], _ transaction: any MetadataTransaction
    ) throws(Errno) -> Int {
        var finder = ParentFinder(place: place)
        var count = 0
        for entry in entries {
            guard let name = entry.path.last, let parent = try finder.existing(entry.path, transaction),
                let id = try transaction.entry(name, in: parent), try !Self.isReplaced(id, by: entry, transaction)
            else {
                count += 1
                continue
            }
        }
        return count
    }

    /// A file with other names keeps them and its bytes: a new inode comes in the place of this name.
    static func isReplaced(
        _ id: InodeID, by entry: ImportedEntry, _ transaction: any MetadataTransaction
    ) throws(Errno) -> Bool {
        if case .hardLink = entry.content { return false }
        guard let inode = try transaction.inode(id), !inode.isDirectory, inode.linkCount > 1 else { return false }
        return inode.size != entry.byteCount || inode.modified != entry.modified
    }

    private static func newBytes(
        _ entries: [ImportedEntry], _ place: [FileName], _ transaction: any MetadataTransaction
    ) throws(Errno) -> UInt64 {
        var finder = ParentFinder(place: place)
        var bytes: UInt64 = 0
        for entry in entries {
            guard let name = entry.path.last else { continue }
            let count = entry.byteCount
            var before: UInt64 = 0
            if let parent = try finder.existing(entry.path, transaction),
                let id = try transaction.entry(name, in: parent)
            {
                before = try Self.isReplaced(id, by: entry, transaction) ? 0 : transaction.inode(id)?.allocated ?? 0
            }
            bytes = bytes.addingClamped(count > before ? count - before : 0)
        }
        return bytes
    }

    // MARK: One entry

    private func add(
        _ entry: ImportedEntry, _ parents: inout ParentFinder, _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) -> ImportOutcome {
        guard let name = entry.path.last else { return .refused("it has no name") }
        if case .data(let object, _, _) = entry.content, object.size > PackID.foreignByteLimit {
            return .refused("it is too large")
        }
        let parent: InodeID
        switch try parents.made(
            entry.path, transaction,
            make: { name, directory throws(Errno) in
                try self.insert(
                    name, in: directory, .directory, Self.implicitDirectory, now, now, transaction)
            })
        {
        case .found(let id): parent = id
        case .blocked(let by): return .refused("\(by) is no directory")
        }
        if let id = try transaction.entry(name, in: parent) {
            guard let inode = try transaction.inode(id) else { throw .io }
            return try meet(inode, name, in: parent, entry, &parents, now, transaction)
        }
        return try make(name, in: parent, entry, parents, now, transaction)
    }

    func make(
        _ name: FileName, in parent: InodeID, _ entry: ImportedEntry, _ parents: ParentFinder, _ now: Timestamp,
        _ transaction: any MetadataTransaction
    ) throws(Errno) -> ImportOutcome {
        if let reason = try obstacle(to: entry, in: parent, parents, transaction) { return .refused(reason) }
        let kind: FileKind
        switch entry.content {
        case .hardLink(let path): return try link(name, in: parent, to: path, parents, now, transaction)
        case .symbolicLink: kind = .symbolicLink
        case .directory: kind = .directory
        case .fifo: kind = .fifo
        case .data: kind = .regular
        }
        let bits = kind == .directory ? Self.directoryBits : Self.fileBits
        let permissions = kind == .symbolicLink ? 0o777 : entry.permissions & bits
        let id = try insert(name, in: parent, kind, permissions, entry.modified, now, transaction)
        if case .symbolicLink(let target) = entry.content, var inode = try transaction.inode(id) {
            inode.size = UInt64(target.count)
            inode.grow(by: try transaction.setLinkTarget(target, of: id))
            try transaction.update(inode)
        }
        if case .data(let object, let offset, let count) = entry.content {
            try fill(id, object, offset, count, entry, now, transaction)
        }
        try setAttributes(entry.attributes, of: id, transaction)
        return .made
    }

    /// Why an entry cannot be made, whatever has its name.
    func obstacle(
        to entry: ImportedEntry, in parent: InodeID, _ parents: ParentFinder, _ transaction: any MetadataTransaction
    ) throws(Errno) -> String? {
        switch entry.content {
        case .directory, .fifo: return nil
        case .symbolicLink(let target):
            let isPossible = !target.isEmpty && target.count <= FileSystem.maximumTargetLength
            return isPossible ? nil : "its target has \(target.count) bytes"
        case .data(_, let offset, let count):
            return offset.addingClamped(count) <= PackID.foreignByteLimit ? nil : "it is too large"
        case .hardLink(let path):
            guard let target = try parents.find(path, transaction), let inode = try transaction.inode(target),
                !inode.isDirectory
            else { return "what it is a link to is not there" }
            guard inode.linkCount < FileSystem.maximumLinks else { return "what it is a link to takes no more names" }
            do throws(Errno) {
                if let place = inode.parent { try transaction.requireSameQuotas(place, parent) }
            } catch .crossDevice {
                return "what it is a link to counts for another quota"
            }
            return nil
        }
    }

    private func insert(
        _ name: FileName, in parent: InodeID, _ kind: FileKind, _ permissions: UInt32, _ modified: Timestamp,
        _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) -> InodeID {
        let id = try transaction.allocateInodeID()
        var inode = Inode(
            id: id, kind: kind, permissions: permissions, userID: 0, groupID: 0,
            linkCount: kind == .directory ? 2 : 1, time: modified, parent: parent)
        inode.changed = now
        try transaction.insert(inode)
        try transaction.link(name, in: parent, to: id)
        try noteEntry(name, in: parent, isDirectory: kind == .directory, transaction)
        made.insert(id)
        return id
    }

    private func noteEntry(
        _ name: FileName, in parent: InodeID, isDirectory: Bool, _ transaction: any MetadataTransaction
    ) throws(Errno) {
        if isDirectory, var directory = try transaction.inode(parent) {
            directory.changeLinks(by: 1)
            try transaction.update(directory)
        }
        changes.add(name, in: parent, keepsTime: made.contains(parent))
    }

    private func link(
        _ name: FileName, in parent: InodeID, to path: [FileName], _ parents: ParentFinder, _ now: Timestamp,
        _ transaction: any MetadataTransaction
    ) throws(Errno) -> ImportOutcome {
        guard let target = try parents.find(path, transaction), var inode = try transaction.inode(target) else {
            throw .io
        }
        try transaction.nameAdded(to: &inode, in: parent)
        inode.linkCount += 1
        inode.changed = now
        try transaction.update(inode)
        try transaction.link(name, in: parent, to: target)
        changes.add(.attributes(target))
        try noteEntry(name, in: parent, isDirectory: false, transaction)
        return .made
    }

    func fill(
        _ id: InodeID, _ object: ForeignObject, _ offset: UInt64, _ count: UInt64, _ entry: ImportedEntry,
        _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) {
        guard var inode = try transaction.inode(id) else { throw .io }
        var extents: [Extent] = []
        if count > 0 {
            let pack = try pack(of: object, transaction)
            extents = [Extent(fileOffset: 0, length: count, pack: pack, packOffset: offset)]
        }
        inode.grow(by: try transaction.replaceExtents(of: id, in: 0..<FileSystem.maximumFileSize, with: extents))
        inode.size = count
        inode.modified = entry.modified
        inode.accessed = entry.modified
        inode.changed = now
        try transaction.update(inode)
    }

    /// The number of an object; many entries in a row may be parts of one.
    private func pack(of object: ForeignObject, _ transaction: any MetadataTransaction) throws(Errno) -> PackID {
        if let shared, shared.object == object, try transaction.foreignObject(shared.id) != nil { return shared.id }
        let id = try transaction.addForeignObject(object)
        shared = (object, id)
        return id
    }

    private func setAttributes(
        _ attributes: [String: [UInt8]], of id: InodeID, _ transaction: any MetadataTransaction
    ) throws(Errno) {
        guard !attributes.isEmpty, var inode = try transaction.inode(id) else { return }
        for (name, value) in attributes {
            let name = Array(name.utf8)
            // What nobody could set on such a file is not taken from an archive either.
            guard AttributeNamespace(of: name) == .user, AttributeNamespace.user.isOf(inode.kind),
                value.count <= FileSystem.maximumAttributeValue
            else { continue }
            let sizes = try transaction.attributeSizes(of: id)
            let old = try transaction.attribute(name, of: id)
            guard FileSystem.fits(name, value, replacing: old, sizes) else { continue }
            inode.grow(by: try transaction.setAttribute(name, to: value, of: id))
        }
        try transaction.update(inode)
        try transaction.setSetting(SettingKey.hasAttributes, to: "1")
        fileSystem.hasAttributes.store(true, ordering: .relaxed)
    }
}
