import CSQLite
import FileModel
import Glibc
import LinuxSystem
import Metadata

/// Why a database could not be opened, in one line that names it, the cause and the fix.
public struct MetadataOpenFailure: Error, CustomStringConvertible {
    public let description: String
    /// The cause alone, where the file is there and cannot be read as a database.
    public var damage: String?
}

/// The metadata of one volume in one SQLite database, opened by this process alone.
///
/// Invariants
/// - `lock` guards `transaction` and `connection`; bodies run one after the other.
/// - An SQLite transaction is always open between `init` and `close`: bodies add to it, `commit` ends it
///   and begins the next. A crash therefore keeps a prefix of the operations.
/// - After a fault nothing is committed until `reopen`: what is on disk is the last good commit, and bodies read that.
// SAFETY: every access to the non-Sendable members is between lock.lock() and lock.unlock().
public final class SQLiteMetadataStore: MetadataStore, @unchecked Sendable {
    /// 32 MiB. A log that grows further slows reads; a smaller one checkpoints under load too often.
    static let checkpointBytes = 32 << 20
    /// SQLite's own choice.
    private static let pageBytes = 4096

    let lock = Monitor()
    /// Another one after `reopen`.
    var connection: SQLiteConnection
    var current: SQLiteTransaction
    let path: String
    /// The length of the log, told by SQLite.
    let logLength = LogLength()
    var log: FileDescriptorBox
    /// The database file, for copies of it. Open as long as the connection, or closing it would drop SQLite's locks.
    let file: FileDescriptorBox
    private(set) var isClosed = false
    /// The old connection is closed, and no new one could be had yet.
    var isAway = false
    /// Of `MappedReads`, that are known here.
    var readFailures = MappedReads.failures
    /// After a fault: the caches hold what the last good commit holds.
    var isSettled = false
    /// After a fault: inodes with changes that somebody was told of and no commit has.
    var lostChanges: Set<InodeID> = []

    /// What an earlier process had not committed is done again, where it left a log.
    public let redone: RedoOutcome

    /// Opens or makes the database at `path`. The caller has made sure that the file system supports locks, and that
    /// the file data which `redo` names is durable.
    public init(path: String, redo: RedoLog? = nil) throws(MetadataOpenFailure) {
        do {
            // 0600 before SQLite writes a byte: names are the user's own business.
            file = try FileDescriptorBox(path)
            self.path = path
            connection = try Self.open(path)
            logLength.follow(connection)
            current = try SQLiteTransaction(connection: connection)
            log = try FileDescriptorBox(path + "-wal")
            try connection.execute("BEGIN IMMEDIATE")
            redone = try Self.redo(redo, connection, current)
        } catch {
            throw Self.openFailure(error, path)
        }
    }

    /// Whether nothing is there yet, or nothing any more: opening it makes a volume without files. Nobody else may have
    /// it open.
    public static func isBlank(_ path: String) throws(MetadataOpenFailure) -> Bool {
        var status = stat()
        guard stat(path, &status) == 0 else { return errno == ENOENT }
        // A page is written when the file is made; the tables come with the first checkpoint, and are many.
        guard status.st_size <= 2 * pageBytes else { return false }
        do {
            return try connect(path).text("SELECT 1 FROM sqlite_master LIMIT 1") == nil
        } catch {
            throw openFailure(error, path)
        }
    }

    private static func open(_ path: String) throws(SQLiteFailure) -> SQLiteConnection {
        let connection = try connect(path)
        try configure(connection)
        try migrate(connection)
        return connection
    }

    static func configure(_ connection: SQLiteConnection) throws(SQLiteFailure) {
        try connection.execute(
            """
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = NORMAL;
            PRAGMA wal_autocheckpoint = 0;
            PRAGMA cache_size = -65536;
            PRAGMA mmap_size = 2147418112;
            PRAGMA temp_store = MEMORY;
            PRAGMA cell_size_check = ON;
            """)
    }

    /// Opens an existing database for a look; nobody else can open it meanwhile. It may have no tables yet: the first
    /// opening was cut short then, and the next begins with a new volume.
    static func openForCheck(_ path: String) throws(SQLiteFailure) -> SQLiteConnection {
        let connection = try connect(path)
        let isEmpty = try connection.text("SELECT 1 FROM sqlite_master LIMIT 1") == nil
        let found = try connection.text("PRAGMA user_version").flatMap { Int($0) } ?? 0
        // Of an older program, which may have made a copy in a store that is now brought back.
        if !isEmpty && found != Schema.version { try migrate(connection) }
        try connection.execute("BEGIN EXCLUSIVE; COMMIT; PRAGMA mmap_size = 2147418112; PRAGMA temp_store = FILE")
        return connection
    }

    /// Opens a database and makes sure that it is ours before anything is changed in it.
    static func connect(_ path: String, keepsLog: Bool = false) throws(SQLiteFailure) -> SQLiteConnection {
        let connection = try SQLiteConnection(path: path, flags: SQLITE_OPEN_READWRITE)
        if keepsLog { berth_sqlite_keep_log(connection.handle, 1) }
        berth_sqlite_defensive(connection.handle)
        try connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        let application = try connection.text("PRAGMA application_id").flatMap { Int32($0) } ?? 0
        let isEmpty = try connection.text("SELECT 1 FROM sqlite_master LIMIT 1") == nil
        guard isEmpty || application == Schema.applicationID else {
            throw SQLiteFailure(code: SQLITE_NOTADB, message: "it is another program's database")
        }
        return connection
    }

    static func migrate(_ connection: SQLiteConnection) throws(SQLiteFailure) {
        // Of millions of files, what a step gathers is no matter for memory.
        try connection.execute("PRAGMA temp_store = FILE; BEGIN EXCLUSIVE")
        let found = try connection.text("PRAGMA user_version").flatMap { Int($0) } ?? 0
        guard found >= 0 else {
            throw SQLiteFailure(code: SQLITE_CORRUPT, message: "its schema is version \(found)")
        }
        guard found <= Schema.version else {
            throw SQLiteFailure(
                code: SQLITE_MISMATCH,
                message: "its schema is version \(found), newer than this program's \(Schema.version)")
        }
        for step in Schema.migrations[found...] { try connection.execute(step) }
        try connection.execute("PRAGMA application_id = \(Schema.applicationID)")
        try connection.execute("PRAGMA user_version = \(Schema.version)")
        try connection.execute("COMMIT; PRAGMA temp_store = MEMORY")
    }

    static func openFailure(_ failure: SQLiteFailure, _ path: String) -> MetadataOpenFailure {
        MetadataOpenFailure(
            description: explain(failure, path),
            damage: [SQLITE_NOTADB, SQLITE_CORRUPT].contains(failure.code & 0xFF) ? failure.message : nil)
    }

    static func explain(_ failure: SQLiteFailure, _ path: String) -> String {
        let cause = "metadata \(path): \(failure.message)"
        switch failure.code & 0xFF {
        case SQLITE_BUSY, SQLITE_LOCKED:
            return cause + "; another server has this volume open: use its mount, or stop it first"
        case SQLITE_NOTADB, SQLITE_CORRUPT:
            return cause + "; mend it with: berth volume check --repair"
        case SQLITE_MISMATCH:
            return cause + "; use the newer program"
        default:
            return cause + "; make sure the directory exists, is yours and has room"
        }
    }

    // MARK: MetadataStore

    public func transaction<Result>(
        _ body: (any MetadataTransaction) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        try run(isRequest: true, body)
    }

    public func maintenance<Result>(
        _ body: (any MetadataTransaction) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        try run(isRequest: false, body)
    }

    private func run<Result>(
        isRequest: Bool, _ body: (any MetadataTransaction) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        lock.lock()
        defer { lock.unlock() }
        guard !isClosed, !isAway else { throw .io }
        if current.fault != nil { try settleFault() }
        let isFaulty = current.fault != nil
        current.changesOfBody = 0
        current.isMaintenance = !isRequest
        do throws(Errno) {
            let result = try body(current)
            try requireSoundReads()
            if current.changesOfBody != 0 {
                // SQLite takes no changes then, and the caches do.
                guard !isFaulty else { throw .readOnly }
                current.log?.endBody(isRequest: isRequest)
            }
            return result
        } catch {
            current.log?.dropBody()
            if isFaulty && current.changesOfBody != 0 { try takeBackRefused() }
            // What it answers may come from a page that was not there.
            try requireSoundReads()
            if current.changesOfBody != 0 && current.fault == nil {
                let cause = "a refused operation (\(error)) left changes behind; this is a defect, please report it"
                current.fault = MetadataFault(cause: cause, remedy: .repair)
                assertionFailure(cause)
            }
            throw error
        }
    }

    public func commit(prepare: () throws(Errno) -> Void) throws(Errno) {
        lock.lock()
        defer { lock.unlock() }
        guard !isClosed else { return }
        guard current.fault == nil else { throw .io }
        guard current.isDirty else { return }
        try endTransaction(prepare)
        do {
            if log.size >= Self.checkpointBytes { try checkpoint() }
        } catch {
            if current.fault == nil { current.fault = MetadataFault(error) }
            throw .io
        }
        try beginTransaction()
    }

    /// Under the lock: commits what bodies have changed. No transaction is open then.
    func endTransaction(_ prepare: () throws(Errno) -> Void) throws(Errno) {
        var generation: UInt64?
        if current.isDirty {
            do {
                try prepare()
            } catch {
                // Committed records would name bytes that may be lost: also those that a later process would commit.
                current.log?.abandon()
                current.fault = MetadataFault(cause: "file data could not be written: \(error)", remedy: .reopening)
                throw error
            }
            try current.flush()
            generation = try countGeneration()
        }
        try requireSoundReads()
        do {
            try connection.execute("COMMIT")
            current.isDirty = false
            current.writtenInodes.removeAll(keepingCapacity: true)
            if let generation { current.log?.begin(generation: generation) }
        } catch {
            if current.fault == nil { current.fault = MetadataFault(error) }
            throw .io
        }
    }

    /// Under the lock.
    func beginTransaction() throws(Errno) {
        do {
            try connection.execute("BEGIN IMMEDIATE")
        } catch {
            if current.fault == nil { current.fault = MetadataFault(error) }
            throw .io
        }
    }

    /// Without room for it the log goes on growing, and nothing is lost.
    private func checkpoint() throws(SQLiteFailure) {
        do {
            try checkpointAll()
        } catch  where error.code & 0xFF == SQLITE_FULL {
        }
    }

    /// Without the lock: other bodies run while the disk writes.
    public func synchronize() throws(Errno) {
        let log = lock.withLock { self.log }
        guard log.synchronize() else {
            let error = Errno.current
            lock.withLock {
                current.fault =
                    current.fault ?? MetadataFault(cause: "the log could not be written: \(error)", remedy: .reopening)
            }
            throw error
        }
    }

    public var failure: String? { lock.withLock { current.fault?.cause } }

    public func close() throws(Errno) {
        try commit(prepare: { () throws(Errno) in })
        lock.lock()
        defer { lock.unlock() }
        guard !isClosed else { return }
        isClosed = true
        if current.fault == nil { try current.flush(all: true) }
        do {
            try connection.execute("COMMIT")
            try connection.checkpoint()
        } catch {
            throw .io
        }
        // Now, and not when the last reference goes: whoever opens the volume next needs the lock.
        connection.close()
    }

    // MARK: For tests

    /// Runs a body and takes everything back: what a retried body meets.
    package func rehearse<Result>(
        _ body: (any MetadataTransaction) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        lock.lock()
        defer { lock.unlock() }
        try current.flush()
        let saved = (current.used, current.nextInode, current.packRecords, current.isDirty)
        let space = (current.trashed, current.nextTrash, current.quotaRecords, current.links)
        do { try connection.execute("SAVEPOINT rehearsal") } catch { throw .io }
        defer {
            current.log?.dropBody()
            try? connection.execute("ROLLBACK TO rehearsal")
            try? connection.execute("RELEASE rehearsal")
            (current.used, current.nextInode, current.packRecords, current.isDirty) = saved
            (current.trashed, current.nextTrash, current.quotaRecords, current.links) = space
            current.forgetCache()
        }
        return try body(current)
    }
}

/// A descriptor of our own for the write-ahead log, for fdatasync outside the lock, or for the database, for copies.
///
/// SQLite takes its POSIX locks on the database file, never on the log, so closing the log's descriptor drops none of
/// them; the database's lives as long as the connection.
final class FileDescriptorBox: Sendable {
    let descriptor: Int32

    init(_ path: String) throws(SQLiteFailure) {
        descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw SQLiteFailure(code: SQLITE_CANTOPEN, message: Errno.current.description)
        }
    }

    deinit { close(descriptor) }

    /// Bytes; 0 where the file cannot be asked.
    var size: Int {
        var status = Glibc.stat()
        return fstat(descriptor, &status) == 0 ? Int(status.st_size) : 0
    }

    func synchronize() -> Bool { fdatasync(descriptor) == 0 }
}
