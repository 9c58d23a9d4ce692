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
    /// It was imported before, and is another object now.
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
/// - A batch is one transaction: a file is there with all its data, or not at all.
/// - Directories made here keep their own times, whatever is made in them.
// SAFETY: used by one thread at a time, the job's.
public final class FileImport: @unchecked Sendable {
    /// Set-id bits of somebody else's files would be this user's rights.
    private static let fileBits: UInt32 = 0o777
    private static let directoryBits: UInt32 = 0o1777
    static let implicitDirectory: UInt32 = 0o755
    /// 4 EiB: a listing may say what sizes it likes, and counts stay numbers.
    private static let volumeLimit: UInt64 = 1 << 62

    let fileSystem: FileSystem
    let session: Session
    private let place: [FileName]
    /// Directories made by this import.
    private var made: Set<InodeID> = []
    /// The record of the object that many entries are parts of, as it was last used.
    private var shared: (object: ForeignObject, id: PackID)?
    private var invalidations: [Invalidation] = []

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
        invalidations.removeAll(keepingCapacity: true)
        let outcomes = try fileSystem.write(session) { transaction throws(Errno) in
            try checkRoom(for: entries, transaction)
            var outcomes: [ImportOutcome] = []
            outcomes.reserveCapacity(entries.count)
            var parents = ParentFinder(place: place)
            for entry in entries { outcomes.append(try add(entry, &parents, now, transaction)) }
            return outcomes
        }
        let changes = invalidations
        fileSystem.announce(session, changes)
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
                try transaction.entry(name, in: parent) != nil
            else {
                count += 1
                continue
            }
        }
        return count
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
                before = try transaction.inode(id)?.allocated ?? 0
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
            return try meet(inode, entry, now, transaction)
        }
        return try make(name, in: parent, entry, parents, now, transaction)
    }

    private func make(
        _ name: FileName, in parent: InodeID, _ entry: ImportedEntry, _ parents: ParentFinder, _ now: Timestamp,
        _ transaction: any MetadataTransaction
    ) throws(Errno) -> ImportOutcome {
        let kind: FileKind
        switch entry.content {
        case .hardLink(let path): return try link(name, in: parent, to: path, parents, now, transaction)
        case .symbolicLink(let target):
            guard !target.isEmpty, target.count <= FileSystem.maximumTargetLength else {
                return .refused("its target has \(target.count) bytes")
            }
            kind = .symbolicLink
        case .directory: kind = .directory
        case .fifo: kind = .fifo
        case .data(_, _, let count):
            guard count <= FileSystem.maximumFileSize else { return .refused("it is too large") }
            kind = .regular
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
        try noteEntry(name, in: parent, isDirectory: kind == .directory, now, transaction)
        if kind == .directory { made.insert(id) }
        return id
    }

    private func noteEntry(
        _ name: FileName, in parent: InodeID, isDirectory: Bool, _ now: Timestamp,
        _ transaction: any MetadataTransaction
    ) throws(Errno) {
        let isOurs = made.contains(parent)
        if !isOurs || isDirectory, var directory = try transaction.inode(parent) {
            if !isOurs { directory.touchEntries(now) }
            if isDirectory { directory.changeLinks(by: 1) }
            try transaction.update(directory)
        }
        invalidations.append(.entry(parent: parent, name: name))
        if invalidations.last != .attributes(parent), !isOurs { invalidations.append(.attributes(parent)) }
    }

    private func link(
        _ name: FileName, in parent: InodeID, to path: [FileName], _ parents: ParentFinder, _ now: Timestamp,
        _ transaction: any MetadataTransaction
    ) throws(Errno) -> ImportOutcome {
        guard let target = try parents.find(path, transaction), var inode = try transaction.inode(target) else {
            return .refused("what it is a link to is not there")
        }
        guard !inode.isDirectory, inode.linkCount < FileSystem.maximumLinks else {
            return .refused("what it is a link to takes no more names")
        }
        do throws(Errno) {
            if let place = inode.parent { try transaction.requireSameQuotas(place, parent) }
        } catch .crossDevice {
            return .refused("what it is a link to counts for another quota")
        }
        try transaction.nameAdded(to: &inode, in: parent)
        inode.linkCount += 1
        inode.changed = now
        try transaction.update(inode)
        try transaction.link(name, in: parent, to: target)
        try noteEntry(name, in: parent, isDirectory: false, now, transaction)
        return .made
    }

    private func fill(
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

    // MARK: What is there already

    private func meet(
        _ inode: Inode, _ entry: ImportedEntry, _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) -> ImportOutcome {
        switch entry.content {
        case .directory where inode.isDirectory: return try meetDirectory(inode, entry, transaction)
        case .symbolicLink(let target) where inode.kind == .symbolicLink:
            if try transaction.linkTarget(of: inode.id) == target { return .same }
        case .fifo where inode.kind == .fifo: return .same
        case .hardLink(let path):
            var finder = ParentFinder(place: place)
            if try finder.lookup(path, transaction) == inode.id { return .same }
        case .data(let object, let offset, let count) where inode.kind == .regular:
            return try meetFile(inode, object, offset, count, entry, now, transaction)
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
        return .same
    }

    private func meetFile(
        _ inode: Inode, _ object: ForeignObject, _ offset: UInt64, _ count: UInt64, _ entry: ImportedEntry,
        _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) -> ImportOutcome {
        if inode.size == 0 {
            // No data to lose.
            if count == 0 && inode.modified == entry.modified { return .same }
        } else {
            let own = ImportOutcome.refused("a file of that name is there, with data of its own")
            let extents = try transaction.extents(of: inode.id, overlapping: 0..<inode.size)
            guard extents.count == 1, let extent = extents.first, extent.fileOffset == 0,
                extent.length == inode.size, extent.pack.isForeign,
                let known = try transaction.foreignObject(extent.pack), known.source == object.source,
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
        try fill(inode.id, object, offset, count, entry, now, transaction)
        invalidations.append(.data(inode.id))
        return .renewed
    }
}

/// Finds the directories of paths; neighbours mostly have the same.
struct ParentFinder {
    enum Found {
        case found(InodeID)
        case blocked(by: FileName)
    }

    let place: [FileName]
    private var last: (path: ArraySlice<FileName>, id: InodeID)?

    init(place: [FileName]) {
        self.place = place
    }

    /// Makes with `make` what is missing.
    mutating func made(
        _ path: [FileName], _ transaction: any MetadataTransaction,
        make: (FileName, InodeID) throws(Errno) -> InodeID
    ) throws(Errno) -> Found {
        let parents = path.dropLast()
        if let last, last.path == parents { return .found(last.id) }
        var id = InodeID.root
        for name in place + parents {
            if let next = try transaction.entry(name, in: id) {
                guard try transaction.inode(next)?.isDirectory == true else { return .blocked(by: name) }
                id = next
            } else {
                id = try make(name, id)
            }
        }
        last = (parents, id)
        return .found(id)
    }

    /// Nil where one of them is not there.
    mutating func existing(_ path: [FileName], _ transaction: any MetadataTransaction) throws(Errno) -> InodeID? {
        let parents = path.dropLast()
        if let last, last.path == parents { return last.id }
        var id = InodeID.root
        for name in place + parents {
            guard let next = try transaction.entry(name, in: id),
                try transaction.inode(next)?.isDirectory == true
            else { return nil }
            id = next
        }
        last = (parents, id)
        return id
    }

    /// What a path from the place stands for.
    mutating func lookup(_ path: [FileName], _ transaction: any MetadataTransaction) throws(Errno) -> InodeID? {
        guard let name = path.last, let parent = try existing(path, transaction) else { return nil }
        return try transaction.entry(name, in: parent)
    }

    func find(_ path: [FileName], _ transaction: any MetadataTransaction) throws(Errno) -> InodeID? {
        var copy = self
        return try copy.lookup(path, transaction)
    }
}
