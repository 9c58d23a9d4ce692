import CSQLite
import FileModel
import LinuxSystem
import Metadata

/// A copy of a database that nobody changes any more, opened to be read.
///
/// Invariants
/// - `lock` guards the connection; bodies run one after the other, and change nothing.
// SAFETY: every access to the non-Sendable members is between lock.lock() and lock.unlock().
public final class SQLiteSnapshot: MetadataStore, @unchecked Sendable {
    private let lock = Monitor()
    private let connection: SQLiteConnection
    private let current: SQLiteTransaction
    private var isClosed = false

    /// Opens the copy at `path`, which an older program may have made.
    public init(path: String) throws(MetadataOpenFailure) {
        do {
            try Self.migrate(path)
            connection = try SQLiteConnection(path: path, flags: SQLITE_OPEN_READONLY)
            // Not mapped: a page that the disk cannot read is an error here, and no signal.
            try connection.execute(
                """
                PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -16384; PRAGMA mmap_size = 0;
                PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON; BEGIN
                """)
            current = try SQLiteTransaction(connection: connection)
        } catch {
            throw SQLiteMetadataStore.openFailure(error, path)
        }
    }

    /// Brings a copy to this program's schema: one transaction, the copy as a whole before or after.
    static func migrate(_ path: String) throws(SQLiteFailure) {
        let connection = try SQLiteMetadataStore.connect(path)
        defer { connection.close() }
        guard try connection.text("SELECT 1 FROM sqlite_master LIMIT 1") != nil else {
            throw SQLiteFailure(code: SQLITE_NOTADB, message: "it is empty")
        }
        let found = try connection.text("PRAGMA user_version").flatMap { Int($0) } ?? 0
        if found != Schema.version { try SQLiteMetadataStore.migrate(connection) }
    }

    public func transaction<Result>(
        _ body: (any MetadataTransaction) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        lock.lock()
        defer { lock.unlock() }
        guard !isClosed else { throw .io }
        return try body(current)
    }

    public func commit(prepare: () throws(Errno) -> Void) throws(Errno) {}
    public func synchronize() throws(Errno) {}
    public var failure: String? { lock.withLock { current.fault?.cause } }

    public func close() throws(Errno) {
        lock.lock()
        defer { lock.unlock() }
        isClosed = true
        connection.close()
    }
}

/// Makes the copy of a database that is to be a volume of its own: nothing of it is in staging any more.
public enum ClonedDatabase {
    /// `lengths` are of the packs that the original has stored since, in raw bytes and in bytes of the object.
    public static func settle(
        _ path: String, packs: [PackRecord]
    ) throws(MetadataOpenFailure) {
        do throws(SQLiteFailure) {
            try SQLiteSnapshot.migrate(path)
            let connection = try SQLiteMetadataStore.connect(path)
            defer { connection.close() }
            try connection.execute(
                "BEGIN IMMEDIATE; DELETE FROM pack WHERE live = 0; DELETE FROM held; DELETE FROM hold")
            let update = try connection.prepare("UPDATE pack SET state = 1, raw = ?, stored = ? WHERE id = ?")
            for pack in packs {
                update.bind(1, pack.rawLength)
                update.bind(2, pack.storedLength)
                update.bind(3, pack.id.packed)
                let code = update.step()
                update.reset()
                guard code == SQLITE_DONE else { throw connection.failure(code) }
            }
            try connection.execute("COMMIT")
        } catch {
            throw SQLiteMetadataStore.openFailure(error, path)
        }
    }
}
