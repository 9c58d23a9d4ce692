import CSQLite
import FileModel
import Metadata

/// The record primitives over one SQLite connection.
///
/// Invariants
/// - Only the holder of the store's lock touches it.
/// - An SQLite transaction is open whenever a statement runs; `SQLiteMetadataStore.commit` ends it.
/// - `cache` holds the newest record of every inode in it. A dirty or touched one is not in the table yet, or differs
///   from it; reads look here first, and `flush` writes all dirty ones before a commit.
/// - `packRecords` is the whole pack table; dirty ones are written by `flush` too.
final class SQLiteTransaction: MetadataTransaction {
    struct CachedInode {
        enum State {
            /// As in the table.
            case clean
            /// Only the access time is newer than the table's. It is written when it is convenient.
            case touched
            /// Newer than the table's: written before the next commit.
            case dirty
        }

        var inode: Inode
        var state: State
    }

    /// 65,536 records of about 130 bytes: 8 MiB. A bound, not a tuning: the kernel caches attributes.
    static let cachedInodeLimit = 65_536
    /// Access times that wait to be written; a crash loses them, as with `lazytime` of local file systems.
    static let touchedLimit = 16_384
    /// How many of them go along with each commit.
    static let touchedPerCommit = 256

    let connection: SQLiteConnection
    let statements: Statements
    var cache: [InodeID: CachedInode] = [:]
    var dirtyInodes: [InodeID] = []
    var touchedInodes: [InodeID] = []
    enum OrphanMark {
        case added
        case removed
        /// Taken away and set again: the table may hold it.
        case restored
    }

    /// Names that were looked for last and not found: a file is looked up just before it is made. As many as clients
    /// commonly create at once.
    var absentNames: [(directory: InodeID, name: FileName)] = []
    static let absentNameLimit = 8
    /// Marks to be set or taken away at the next flush.
    var pendingOrphans: [InodeID: OrphanMark] = [:]
    var packRecords: [PackID: PackRecord] = [:]
    var dirtyPacks: Set<PackID> = []
    /// By how much the live bytes of foreign objects differ from the table's.
    var foreignChanges: [PackID: Int64] = [:]
    /// Nil until it was read.
    var nextForeign: UInt64?
    /// Past every id that this process has given to a name, also where a fault took the row back.
    var nextAccount = NamedAccount.firstID
    var used: Usage
    var nextInode: UInt64
    var trashed = UsageDelta()
    /// Names of files beyond the first of each.
    var links: Int64 = 0
    var nextTrash: UInt64 = 1
    /// Differences of usage by the directory they happened in, not yet added to those above.
    var ownDeltas: [InodeID: UsageDelta] = [:]
    /// Rows of the directory table that were looked at; dirty ones are written by `flush`.
    var usageRows: [InodeID: CachedUsage] = [:]
    /// Every quota, exact after each change.
    var quotaRecords: [InodeID: QuotaState] = [:]
    /// The quotas above each directory that was asked about, while no directory moves.
    var governingCache: [InodeID: [InodeID]] = [:]
    var isCounterDirty = false
    /// Changes made by the body that runs now. A body that throws must have made none.
    var changesOfBody = 0
    /// Changes since the last commit.
    var isDirty = false
    /// Where changes are written down until they are committed; nil where nothing outlives the process.
    var log: RedoLog?
    /// The first fault.
    var fault: MetadataFault?
    /// Inodes whose records were written into the open transaction before its commit, for somebody who was told.
    var writtenInodes: [InodeID] = []
    /// The body that runs is of the volume's own housekeeping.
    var isMaintenance = false
    /// Dirty inodes that only housekeeping has changed: nobody was told of that.
    private(set) var untoldInodes: Set<InodeID> = []

    init(connection: SQLiteConnection) throws(SQLiteFailure) {
        self.connection = connection
        statements = try Statements(connection)
        (used, nextInode) = try Self.counters(connection)
        try loadPacks()
        try loadHeld()
        try loadSpace()
    }

    /// Forgets everything that is not in the tables, for good, but for which numbers were given out: kernels, caches and
    /// users know them.
    func reload() throws(SQLiteFailure) {
        let given = (inode: nextInode, trash: nextTrash, foreign: nextForeign)
        forgetCache()
        nextForeign = given.foreign
        (used, nextInode) = try Self.counters(connection)
        nextInode = max(nextInode, given.inode)
        packRecords.removeAll()
        try loadPacks()
        try loadHeld()
        try loadSpace()
        nextTrash = max(nextTrash, given.trash)
        isDirty = false
    }

    private func loadSpace() throws(SQLiteFailure) {
        let files = try connection.text("SELECT used FROM quota WHERE name = 'trash-files'").flatMap { Int64($0) }
        let bytes = try connection.text("SELECT used FROM quota WHERE name = 'trash-bytes'").flatMap { Int64($0) }
        trashed = UsageDelta(files: files ?? 0, bytes: bytes ?? 0)
        links = try connection.text("SELECT used FROM quota WHERE name = 'links'").flatMap { Int64($0) } ?? 0
        // Past the limit is only what a damaged table says.
        let last = try connection.text("SELECT MAX(id) FROM trash WHERE id < \(Self.trashLimit)")
        nextTrash = (last.flatMap { UInt64($0) } ?? 0) + 1
        try loadQuotas()
    }

    private static func counters(_ connection: SQLiteConnection) throws(SQLiteFailure) -> (Usage, UInt64) {
        let files = try connection.text("SELECT used FROM quota WHERE name = 'files'").flatMap { UInt64($0) }
        let bytes = try connection.text("SELECT used FROM quota WHERE name = 'bytes'").flatMap { UInt64($0) }
        let next = try connection.text("SELECT value FROM setting WHERE key = 'next_inode'").flatMap { UInt64($0) }
        guard let files, let bytes, let next else {
            throw SQLiteFailure(code: SQLITE_CORRUPT, message: "the counters of the volume are missing")
        }
        guard InodeID(rawValue: next).isPossible else {
            throw SQLiteFailure(code: SQLITE_CORRUPT, message: "the number of the next inode is \(next)")
        }
        return (Usage(files: files, bytes: bytes), next)
    }

    private func loadPacks() throws(SQLiteFailure) {
        let statement = try connection.prepare("SELECT id, state, raw, stored, live FROM pack")
        while true {
            let code = statement.step()
            guard code == SQLITE_ROW else {
                guard code == SQLITE_DONE else { throw connection.failure(code) }
                return
            }
            guard let state = PackState(rawValue: statement.integer(1)) else {
                throw SQLiteFailure(code: SQLITE_CORRUPT, message: "a pack has an unknown state")
            }
            let id = PackID(packed: statement.integer(0))
            packRecords[id] = PackRecord(
                id: id, state: state, rawLength: min(statement.unsigned(2), PackRecord.lengthLimit),
                storedLength: min(statement.unsigned(3), PackRecord.lengthLimit),
                liveBytes: UInt64(max(0, statement.integer(4))))
        }
    }

    // MARK: Running statements

    /// Notes a change before it is made. Every primitive that writes goes through here.
    func changed(_ redo: Redo) {
        changesOfBody += 1
        isDirty = true
        log?.add(redo)
    }

    func faulted(_ code: Int32) -> Errno {
        if fault == nil { fault = MetadataFault(connection.failure(code)) }
        return .io
    }

    /// Runs a statement that answers no row.
    func run(_ statement: SQLiteStatement) throws(Errno) {
        let code = statement.step()
        statement.reset()
        guard code == SQLITE_DONE else { throw faulted(code) }
    }

    /// Runs a statement that answers at most one row and reads it with `read`.
    func first<Value>(_ statement: SQLiteStatement, _ read: (SQLiteStatement) -> Value) throws(Errno) -> Value? {
        let code = statement.step()
        defer { statement.reset() }
        switch code {
        case SQLITE_ROW: return read(statement)
        case SQLITE_DONE: return nil
        default: throw faulted(code)
        }
    }

    /// Runs a statement to its end and reads each row with `read`.
    func all<Value>(_ statement: SQLiteStatement, _ read: (SQLiteStatement) -> Value) throws(Errno) -> [Value] {
        defer { statement.reset() }
        var values: [Value] = []
        while true {
            switch statement.step() {
            case SQLITE_ROW: values.append(read(statement))
            case SQLITE_DONE: return values
            case let code: throw faulted(code)
            }
        }
    }

    /// Inodes with changes since the last commit that somebody was told of.
    var toldInodes: Set<InodeID> { Set(dirtyInodes).subtracting(untoldInodes).union(writtenInodes) }

    /// An inode is about to be dirty.
    @inline(__always)
    func noteTelling(_ id: InodeID, wasDirty: Bool) {
        if isMaintenance {
            if !wasDirty { untoldInodes.insert(id) }
        } else if !untoldInodes.isEmpty {
            untoldInodes.remove(id)
        }
    }

    /// The dirty inodes are written into the tables now.
    func noteWritten() {
        writtenInodes += untoldInodes.isEmpty ? dirtyInodes : dirtyInodes.filter { !untoldInodes.contains($0) }
        forgetDirty(keepingCapacity: true)
    }

    func forgetDirty(keepingCapacity: Bool = false) {
        dirtyInodes.removeAll(keepingCapacity: keepingCapacity)
        untoldInodes.removeAll()
    }

    /// Forgets what is not in the tables.
    func forgetCache() {
        cache.removeAll()
        forgetDirty()
        absentNames.removeAll()
        touchedInodes.removeAll()
        writtenInodes.removeAll()
        dirtyPacks.removeAll()
        foreignChanges.removeAll()
        nextForeign = nil
        pendingOrphans.removeAll()
        ownDeltas.removeAll()
        usageRows.removeAll()
        governingCache.removeAll()
    }

    // MARK: The volume

    func usage() throws(Errno) -> Usage { used }

    /// A counter that goes up stays one that its column can hold.
    static func raised(_ count: UInt64, by more: UInt64) -> UInt64 {
        min(count.addingClamped(more), UInt64(Int64.max))
    }

    func linkUsage() throws(Errno) -> UInt64 { UInt64(max(0, links)) }

    func setting(_ key: String) throws(Errno) -> String? {
        statements.selectSetting.bind(1, key)
        return try first(statements.selectSetting) { $0.text(0) } ?? nil
    }

    func setSetting(_ key: String, to value: String) throws(Errno) {
        changed(.setSetting(key, to: value))
        try putSetting(key, value)
    }

    /// As a part of another change, which is what is logged.
    func putSetting(_ key: String, _ value: String) throws(Errno) {
        statements.putSetting.bind(1, key)
        statements.putSetting.bind(2, value)
        try run(statements.putSetting)
    }
}
