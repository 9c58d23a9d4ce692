import FileModel

/// A directory entry together with the record it names: what a listing needs in one read.
public struct DirectoryEntry: Equatable, Sendable {
    public var name: FileName
    public var inode: Inode

    public init(name: FileName, inode: Inode) {
        self.name = name
        self.inode = inode
    }
}

/// What a volume, or a directory with all below it, holds.
public struct Usage: Equatable, Sendable {
    /// Inodes. Of a volume: orphans and trash included.
    public var files: UInt64
    /// Of data that extents name, of names and values of attributes, and of targets of links.
    public var bytes: UInt64

    public init(files: UInt64, bytes: UInt64) {
        self.files = files
        self.bytes = bytes
    }
}

/// What an inode's extended attributes take.
public struct AttributeSizes: Equatable, Sendable {
    /// Of names and values.
    public var bytes: UInt64
    /// Of their list: each name and a NUL.
    public var listBytes: UInt64

    public init(bytes: UInt64, listBytes: UInt64) {
        self.bytes = bytes
        self.listBytes = listBytes
    }
}

/// The record primitives a file system is built from. No primitive knows POSIX: permissions, link counts
/// and times are the caller's.
///
/// A transaction is valid only inside the body it was handed to. An engine may run a body again, so a
/// body touches nothing but its transaction, and it checks everything before it changes anything: a
/// body that throws has changed nothing. Any primitive can throw `.io`, after which the store is read-only.
public protocol MetadataTransaction: AnyObject {
    // MARK: Inodes

    func inode(_ id: InodeID) throws(Errno) -> Inode?
    /// A number no inode of this volume ever had.
    func allocateInodeID() throws(Errno) -> InodeID
    /// Adds a record and counts it as a file.
    func insert(_ inode: Inode) throws(Errno)
    /// Replaces the record of an existing inode.
    func update(_ inode: Inode) throws(Errno)
    /// Renews an inode's access time. It may reach the disk later than other changes, and a crash may lose it. True
    /// where it is a change like others, to be committed.
    func touch(_ id: InodeID, accessed: Timestamp) throws(Errno) -> Bool
    /// Removes the record with its extents, extended attributes, link target and orphan mark.
    func remove(_ id: InodeID) throws(Errno)

    // MARK: Entries

    func entry(_ name: FileName, in directory: InodeID) throws(Errno) -> InodeID?
    /// Entries in byte order of their names, from the first one after `name` (nil: from the start), at
    /// most `limit`.
    func entries(in directory: InodeID, after name: FileName?, limit: Int) throws(Errno) -> [DirectoryEntry]
    func hasEntries(in directory: InodeID) throws(Errno) -> Bool
    /// Makes `name` stand for `target`; an entry of that name is replaced.
    func link(_ name: FileName, in directory: InodeID, to target: InodeID) throws(Errno)
    func unlink(_ name: FileName, in directory: InodeID) throws(Errno)

    // MARK: File data

    /// The extents that meet `range`, by file offset, whole (not clipped).
    func extents(of inode: InodeID, overlapping range: Range<UInt64>) throws(Errno) -> [Extent]
    /// The first extent that starts at or after `offset`.
    func firstExtent(of inode: InodeID, from offset: UInt64) throws(Errno) -> Extent?
    /// Makes `extents`, which lie inside `range` in ascending order, all that `range` holds. Answers
    /// by how many bytes the inode's allocation grew. Live bytes of packs follow.
    func replaceExtents(of inode: InodeID, in range: Range<UInt64>, with extents: [Extent]) throws(Errno) -> Int64

    // MARK: Link targets and extended attributes

    func linkTarget(of inode: InodeID) throws(Errno) -> [UInt8]?
    /// Of a link that has none. Answers by how many bytes the inode's allocation grew.
    func setLinkTarget(_ target: [UInt8], of inode: InodeID) throws(Errno) -> Int64
    func attribute(_ name: [UInt8], of inode: InodeID) throws(Errno) -> [UInt8]?
    func attributeNames(of inode: InodeID) throws(Errno) -> [[UInt8]]
    /// Answers by how many bytes the inode's allocation grew: names and values are bytes as those of files.
    func setAttribute(_ name: [UInt8], to value: [UInt8], of inode: InodeID) throws(Errno) -> Int64
    /// Answers by how many bytes the inode's allocation grew: a number that is not above 0.
    func removeAttribute(_ name: [UInt8], of inode: InodeID) throws(Errno) -> Int64
    func attributeSizes(of inode: InodeID) throws(Errno) -> AttributeSizes

    // MARK: Orphans: inodes without a name that someone still holds

    func addOrphan(_ inode: InodeID) throws(Errno)
    func removeOrphan(_ inode: InodeID) throws(Errno)
    func orphans(limit: Int) throws(Errno) -> [InodeID]

    // MARK: Trash: inodes without a name that are kept for a time. Their `parent` says so

    /// Takes in an inode whose record, with no links and a parent, is updated in the same body. The engine gives the id.
    func addToTrash(_ record: TrashRecord) throws(Errno)
    /// The caller gives the inode a name in the same body, or makes it an orphan without a parent.
    func removeFromTrash(_ record: TrashRecord) throws(Errno)
    func trash(_ id: UInt64) throws(Errno) -> TrashRecord?
    /// In the order of deletion.
    func trash(after id: UInt64, limit: Int) throws(Errno) -> [TrashRecord]
    /// All that had this name in the directory, in the order of deletion.
    func trash(named name: FileName, in directory: InodeID) throws(Errno) -> [TrashRecord]
    /// The names in the directory that were deleted, each once, in byte order.
    func trashedNames(in directory: InodeID, after name: FileName?, limit: Int) throws(Errno) -> [FileName]
    /// The record of a directory that is in the trash.
    func trashedDirectory(_ inode: InodeID) throws(Errno) -> TrashRecord?
    /// What of `usage` lies in the trash.
    func trashUsage() throws(Errno) -> Usage

    // MARK: Directories and quotas

    /// The name of a directory in its parent; nil for the root and for one that has none.
    func name(of directory: InodeID) throws(Errno) -> FileName?
    /// A name that a file has in a directory: found by looking at all of them.
    func name(of file: InodeID, in directory: InodeID) throws(Errno) -> FileName?
    /// What a directory holds with all below it, itself included: every inode with a name, at its `parent`.
    func usage(below directory: InodeID) throws(Errno) -> Usage
    /// Whether any directory has a quota.
    var hasQuotas: Bool { get }
    /// The quotas that what is in a directory counts for: its own, and those of the directories above.
    func quotas(governing directory: InodeID) throws(Errno) -> [Quota]
    func quotas() throws(Errno) -> [Quota]
    /// Nil takes it away. It goes with its directory.
    func setQuota(_ limits: QuotaLimits?, of directory: InodeID) throws(Errno)

    // MARK: Files with more than one name

    /// The directories such a file has names in, the oldest first, and how many in each.
    func hardLinks(of inode: InodeID) throws(Errno) -> [(directory: InodeID, names: UInt64)]
    /// 0 forgets the directory.
    func setHardLinks(of inode: InodeID, in directory: InodeID, to names: UInt64) throws(Errno)

    // MARK: Packs

    func pack(_ id: PackID) throws(Errno) -> PackRecord?
    func packs() throws(Errno) -> [PackRecord]
    /// Records where a pack is and how long; `liveBytes` is kept by the engine and ignored here.
    func putPack(_ record: PackRecord) throws(Errno)
    func removePack(_ id: PackID) throws(Errno)
    /// The next extents in order of inode and offset, at most `limit`, after the one of `inode` at `offset`: for who
    /// looks through all of them, a page at a time.
    func extents(after inode: InodeID, at offset: UInt64, limit: Int) throws(Errno) -> [OwnedExtent]

    // MARK: Holds: who needs packs beside this volume's own extents

    func holds() throws(Errno) -> [Hold]
    /// Adds a hold on every pack that extents name now, or on those that `like` holds.
    func addHold(_ kind: Hold.Kind, _ name: String, created: Timestamp, like: Hold.ID?) throws(Errno) -> Hold
    /// Marks a hold as whole: what it stands for is safe.
    func completeHold(_ id: Hold.ID) throws(Errno)
    func removeHold(_ id: Hold.ID) throws(Errno)
    func packs(heldBy id: Hold.ID) throws(Errno) -> [PackID]

    // MARK: Foreign objects

    func sources() throws(Errno) -> [ForeignSource]
    /// The source of this URL and these options; made where there is none.
    func addSource(_ url: String, options: String) throws(Errno) -> ForeignSource
    /// What a foreign pack stands for.
    func foreignObject(_ id: PackID) throws(Errno) -> ForeignObject?
    /// Those after `id` (nil: from the first), at most `limit`, by number.
    func foreignObjects(after id: PackID?, limit: Int) throws(Errno) -> [(id: PackID, object: ForeignObject)]
    /// Adds one that no volume's number ever stood for. It goes with the next commit, and later ones, at which no extent
    /// names it.
    func addForeignObject(_ object: ForeignObject) throws(Errno) -> PackID

    // MARK: Users and groups of sites that the volume's own ids do not hold

    func namedAccounts() throws(Errno) -> [NamedAccount]
    /// The one of this kind and name; made where there is none. Its id is never another's. Answers ENOSPC where there are
    /// as many as there can be.
    func addNamedAccount(_ kind: AccountKind, _ name: String) throws(Errno) -> NamedAccount

    // MARK: The volume

    func usage() throws(Errno) -> Usage
    /// Names of files beyond the first of each: they take room as inodes do.
    func linkUsage() throws(Errno) -> UInt64
    func setting(_ key: String) throws(Errno) -> String?
    func setSetting(_ key: String, to value: String) throws(Errno)
}

/// A metadata engine: one volume's records.
public protocol MetadataStore: AnyObject, Sendable {
    /// Runs `body` alone. What it changed is visible to the next body at once and durable after `commit`.
    func transaction<Result>(
        _ body: (any MetadataTransaction) throws(Errno) -> Result
    ) throws(Errno) -> Result

    /// As `transaction`, for what the request that this thread answers did not ask for: where the process dies, the request
    /// is not taken to be done because of it, and what a fault takes back of it is not lost (`reopen`): nobody was told.
    func maintenance<Result>(
        _ body: (any MetadataTransaction) throws(Errno) -> Result
    ) throws(Errno) -> Result

    /// Makes everything before it one atomic step on disk, so that a crash of this process keeps it.
    /// `prepare` runs first, while no transaction can: what the records name must be safe before them.
    func commit(prepare: () throws(Errno) -> Void) throws(Errno)

    /// Makes what was committed survive a crash of the machine.
    func synchronize() throws(Errno)

    /// Runs `change`, commits it, and copies the database as it is then to a new file at `path`, durable when this
    /// returns. Other bodies wait for single steps of it. Answers EOPNOTSUPP where the engine cannot.
    func copy(
        to path: String, prepare: () throws(Errno) -> Void,
        change: (any MetadataTransaction) throws(Errno) -> Void
    ) throws(Errno)

    /// Makes the volume what a copy at `path` holds, in one step: names, attributes and extents. Holds and packs stay.
    /// No session may be there. Answers EOPNOTSUPP where the engine cannot.
    func replaceContent(withCopyAt path: String, prepare: () throws(Errno) -> Void) throws(Errno)
    /// Writes all that was committed by some moment before it returns to a new file at `path`, while bodies go on.
    /// `prepare` is as in `commit`, and may run more than once. Not durable: a copy is made again after a crash.
    func copy(to path: String, prepare: () throws(Errno) -> Void) throws(Errno)

    /// Why the store takes no more changes, or nil while it does.
    var failure: String? { get }

    /// Commits nothing any more, for a reason that is not the engine's: only a new mount may go on.
    func fail(_ cause: String)

    /// What ends the failure; nil where there is none.
    var remedy: FaultRemedy? { get }

    /// After a fault that can pass: takes changes again, from the last good commit on. Answers the inodes that had changes
    /// which somebody was told of and which are lost. Throws where the cause is not gone; it may be tried again. No number that was given out before is
    /// given out again.
    func reopen() throws(Errno) -> Set<InodeID>

    /// Commits and lets go of the store. Nothing may be called after it.
    func close() throws(Errno)
}
