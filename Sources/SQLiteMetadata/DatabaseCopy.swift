import CSQLite
import FileModel
import Glibc
import LinuxSystem

/// A copy of a volume's database in the making: a file with another name until it is whole and, as a snapshot, durable.
///
/// Two ways: the file system shares the file's blocks (`FICLONE`: at once, whatever the size), or SQLite copies pages in
/// steps, and brings what is committed between two steps along by itself.
final class DatabaseCopy {
    /// 8 MiB of pages of 4 KiB: some milliseconds in which nobody else can work.
    static let stepPages: Int32 = 2048

    private let path: String
    private let temporary: String
    private var connection: SQLiteConnection?
    private var backup: OpaquePointer?
    private var source: SQLiteConnection?

    /// Takes away what an earlier try left at the same place.
    init(path: String) {
        self.path = path
        temporary = path + ".new"
        unlink(temporary)
        unlink(temporary + "-journal")
    }

    deinit { abandon() }

    /// Shares the blocks of the file that is open as `source`. Answers EOPNOTSUPP or the like where that cannot be.
    func clone(_ source: FileDescriptorBox) throws(Errno) {
        let target = try FileDescriptor.open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW)
        try FileCopy.shareBlocks(of: source.descriptor, with: target.rawValue)
    }

    /// Begins to copy pages of `source`.
    func begin(from source: SQLiteConnection) throws(SQLiteFailure) {
        let descriptor = Glibc.open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw SQLiteFailure(code: SQLITE_CANTOPEN, message: "\(Errno.current)") }
        Glibc.close(descriptor)
        let target = try SQLiteConnection(path: temporary, flags: SQLITE_OPEN_READWRITE)
        // A copy that is cut short is thrown away: it needs no journal, and is synced once, at its end.
        try target.execute("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        connection = target
        self.source = source
        backup = sqlite3_backup_init(target.handle, "main", source.handle, "main")
        guard backup != nil else { throw target.failure(sqlite3_errcode(target.handle)) }
    }

    /// Copies some pages, or all that are left. True when none is. The source is between two transactions, and must be
    /// the one that the copy began with.
    func step(of current: SQLiteConnection, all: Bool) throws(SQLiteFailure) -> Bool {
        guard let backup, let connection else { return true }
        guard source === current else { throw SQLiteFailure(code: SQLITE_ABORT, message: "the database was reopened") }
        let code = sqlite3_backup_step(backup, all ? -1 : Self.stepPages)
        switch code {
        case SQLITE_OK: return false
        case SQLITE_DONE: return true
        default: throw connection.failure(code)
        }
    }

    /// One more step would be the last.
    var isNearEnd: Bool { backup.map { sqlite3_backup_remaining($0) <= Self.stepPages } ?? true }

    /// The copied bytes are complete: the copy gets its name. A snapshot is a database of its own, and durable first.
    func finish(asSnapshot: Bool) throws(SQLiteFailure) {
        if let backup { sqlite3_backup_finish(backup) }
        backup = nil
        connection?.close()
        connection = nil
        guard asSnapshot else {
            guard rename(temporary, path) == 0 else { throw Self.failure(.current) }
            return
        }
        try Self.settle(temporary)
        do throws(Errno) {
            let file = try FileDescriptor.open(temporary, O_RDONLY | O_NOFOLLOW)
            guard fsync(file.rawValue) == 0 else { throw Errno.current }
            guard rename(temporary, path) == 0 else { throw Errno.current }
            let directory = path.parts(at: "/").dropLast()
            try AtomicFile.synchronizeDirectory(directory.joined(separator: "/"))
        } catch {
            throw Self.failure(error)
        }
    }

    private static func failure(_ errno: Errno) -> SQLiteFailure {
        SQLiteFailure(code: errno == .noSpace ? SQLITE_FULL : SQLITE_IOERR, message: "\(errno)")
    }

    /// A rollback journal instead of a log, so that the copy is one file; and no holds, which are the original's.
    private static func settle(_ path: String) throws(SQLiteFailure) {
        let connection = try SQLiteConnection(path: path, flags: SQLITE_OPEN_READWRITE)
        defer { connection.close() }
        try connection.execute(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE; DELETE FROM held; DELETE FROM hold")
    }

    private func abandon() {
        if let backup { sqlite3_backup_finish(backup) }
        backup = nil
        connection?.close()
        connection = nil
        for suffix in ["", "-journal", "-wal", "-shm"] { unlink(temporary + suffix) }
    }
}
