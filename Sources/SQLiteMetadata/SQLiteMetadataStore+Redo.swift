import CSQLite
import FileModel
import LinuxSystem

/// What outlives the process: see decision 0061.
extension SQLiteMetadataStore {
    private static let generationKey = "redo_generation"

    /// Where the log cannot be done again it stays: another try may find what it needs.
    static func redo(
        _ log: RedoLog?, _ connection: SQLiteConnection, _ current: SQLiteTransaction
    ) throws(SQLiteFailure) -> RedoOutcome {
        guard let log else { return RedoOutcome(bodies: 0, isWhole: true) }
        let generation = try generation(connection)
        current.log = log
        do {
            return try log.replay(into: current, generation: generation)
        } catch {
            throw SQLiteFailure(
                code: SQLITE_IOERR,
                message:
                    "what an earlier server had not committed cannot be done again: \(current.fault?.cause ?? "\(error)")"
            )
        }
    }

    /// How many commits a database has, for the redo log.
    static func generation(_ connection: SQLiteConnection) throws(SQLiteFailure) -> UInt64 {
        try connection.text("SELECT value FROM setting WHERE key = '\(generationKey)'").flatMap { UInt64($0) } ?? 0
    }

    /// The inodes that were changed last, of which other sessions may not have been told when a process died.
    public func recentInodes() -> Set<InodeID> { lock.withLock { current.log?.recentInodes() ?? [] } }

    /// Every inode that there is, as of the last commit.
    public func allInodes() throws(Errno) -> Set<InodeID> {
        lock.lock()
        defer { lock.unlock() }
        return Set(
            try current.all(try current.prepared("SELECT id FROM inode")) { InodeID(rawValue: $0.unsigned(0)) })
    }

    /// Counts the commit in the database, for the redo log; nil where there is none.
    func countGeneration() throws(Errno) -> UInt64? {
        guard let log = current.log else { return nil }
        // Only whether two are the same matters.
        let next = log.generation == .max ? 0 : log.generation + 1
        try current.putSetting(Self.generationKey, String(next))
        return next
    }
}
