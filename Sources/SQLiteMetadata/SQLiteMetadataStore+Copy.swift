import CSQLite
import FileModel
import Glibc
import LinuxSystem
import Metadata

/// Copies of the whole database, between two commits.
extension SQLiteMetadataStore {
    /// Between two steps others get the lock for this long at least.
    private static let pauseMicroseconds: UInt32 = 2_000

    public func copy(to path: String, prepare: () throws(Errno) -> Void) throws(Errno) {
        try copy(to: path, asSnapshot: false, prepare) { _ in }
    }

    public func copy(
        to path: String, prepare: () throws(Errno) -> Void,
        change: (any MetadataTransaction) throws(Errno) -> Void
    ) throws(Errno) {
        try copy(to: path, asSnapshot: true, prepare, change)
    }

    private func copy(
        to path: String, asSnapshot: Bool, _ prepare: () throws(Errno) -> Void,
        _ change: (any MetadataTransaction) throws(Errno) -> Void
    ) throws(Errno) {
        let copy = DatabaseCopy(path: path)
        if sharesBlocks(copy) {
            // The log goes into the file first, while others need not wait for all of it.
            try betweenCommits(prepare) { () throws(SQLiteFailure) in try checkpointAll() }
            try betweenCommits(prepare, change) { () throws(SQLiteFailure) in
                try checkpointAll()
                try copying { () throws(Errno) in try copy.clone(file) }
            }
        } else {
            try betweenCommits(prepare) { () throws(SQLiteFailure) in
                try copy.begin(from: connection)
                _ = try copy.step(of: connection, all: false)
            }
            while !copy.isNearEnd {
                usleep(Self.pauseMicroseconds)
                try betweenCommits(prepare) { () throws(SQLiteFailure) in _ = try copy.step(of: connection, all: false)
                }
            }
            try betweenCommits(prepare, change) { () throws(SQLiteFailure) in
                _ = try copy.step(of: connection, all: true)
            }
        }
        do {
            try copy.finish(asSnapshot: asSnapshot)
        } catch {
            throw Self.errno(of: error)
        }
    }

    func checkpointAll() throws(SQLiteFailure) {
        try connection.checkpoint()
        logLength.frames = 0
    }

    /// Whether the file system can share the database's blocks: found out by doing it. What is copied means nothing yet.
    private func sharesBlocks(_ copy: DatabaseCopy) -> Bool {
        do {
            try copy.clone(file)
            return true
        } catch {
            return false
        }
    }

    private func copying(_ body: () throws(Errno) -> Void) throws(SQLiteFailure) {
        do {
            try body()
        } catch {
            throw SQLiteFailure(
                code: error == .noSpace ? SQLITE_FULL : SQLITE_IOERR, message: "the copy cannot be made: \(error)")
        }
    }

    private static func errno(of failure: SQLiteFailure) -> Errno {
        failure.code & 0xFF == SQLITE_FULL ? .noSpace : .io
    }

    /// Runs `change` as the last body before a commit, and `body` right after it, with no transaction open. What `body`
    /// cannot do is the copy's trouble, and not the volume's.
    private func betweenCommits(
        _ prepare: () throws(Errno) -> Void,
        _ change: (any MetadataTransaction) throws(Errno) -> Void = { _ in },
        _ body: () throws(SQLiteFailure) -> Void
    ) throws(Errno) {
        lock.lock()
        defer { lock.unlock() }
        guard !isClosed, current.fault == nil else { throw .io }
        current.changesOfBody = 0
        current.isMaintenance = false
        // Refused before it changed anything: nothing is to be taken back.
        try change(current)
        // Nobody is told of it before it is committed.
        current.log?.dropBody()
        try endTransaction(prepare)
        var failure: SQLiteFailure?
        do {
            try body()
        } catch {
            failure = error
        }
        // A copy of a page that could not be read is none.
        try requireSoundReads()
        try beginTransaction()
        if let failure { throw Self.errno(of: failure) }
    }

    /// For tests: commits, with `before` and `after` as near to it as nothing else can come.
    package func commit(before: () -> Void, after: () -> Void) throws(Errno) {
        try betweenCommits({ () throws(Errno) in }, { _ in before() }) { after() }
    }

    public func replaceContent(withCopyAt path: String, prepare: () throws(Errno) -> Void) throws(Errno) {
        lock.lock()
        defer { lock.unlock() }
        guard !isClosed, current.fault == nil else { throw .io }
        try endTransaction(prepare)
        var failure: SQLiteFailure?
        do {
            try SQLiteSnapshot.migrate(path)
            try replaceTables(path)
            try current.reload()
        } catch {
            failure = error
        }
        try beginTransaction()
        if let failure { throw Self.errno(of: failure) }
    }

    /// Every table of the copy but those that say what is stored and who needs it: so tables that are added later come
    /// along, and counters stay right. Sources, users and groups keep the numbers that they were given: other snapshots name them, too.
    private func replaceTables(_ path: String) throws(SQLiteFailure) {
        let attach = try connection.prepare("ATTACH DATABASE ? AS copy")
        attach.bind(1, SQLiteConnection.throughLinks(path))
        let code = attach.step()
        attach.reset()
        guard code == SQLITE_DONE else { throw connection.failure(code) }
        defer { try? connection.execute("DETACH DATABASE copy") }
        let names = try connection.texts(
            "SELECT name FROM copy.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
                + "AND name NOT IN ('hold', 'held', 'pack', 'setting', 'source', 'account')")
        do {
            try connection.execute("BEGIN IMMEDIATE")
            for name in names {
                try connection.execute(
                    "DELETE FROM main.\"\(name)\"; INSERT INTO main.\"\(name)\" SELECT * FROM copy.\"\(name)\"")
            }
            try connection.execute(
                """
                INSERT OR IGNORE INTO main.setting SELECT * FROM copy.setting;
                INSERT OR IGNORE INTO main.source SELECT * FROM copy.source;
                INSERT OR IGNORE INTO main.account SELECT * FROM copy.account;
                UPDATE main.pack SET live = 0;
                UPDATE main.pack SET live = n.bytes FROM
                    (SELECT pack, SUM(length) AS bytes FROM main.extent GROUP BY pack) n WHERE n.pack = main.pack.id;
                COMMIT
                """)
        } catch {
            if sqlite3_get_autocommit(connection.handle) == 0 { try? connection.execute("ROLLBACK") }
            throw error
        }
    }
}
