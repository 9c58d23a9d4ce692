import CSQLite
import FileModel
import Glibc

/// A copy of the database while it is in use.
///
/// SQLite's backup copies pages between two transactions only, and hears of those that this connection changes meanwhile.
/// So the copy is made in slices, each right after a commit; the last one finds it whole.
extension SQLiteMetadataStore {
    /// Pages that one slice copies, 4 MiB: bodies wait for some milliseconds.
    private static let slicePages: Int32 = 1024
    /// Between two slices, so that bodies get their turn.
    private static let pause: UInt32 = 2_000

    public func copy(to path: String, prepare: () throws(Errno) -> Void) throws(Errno) {
        let target = try Self.newDatabase(path)
        defer { target.close() }
        lock.lock()
        let started = sqlite3_backup_init(target.handle, "main", connection.handle, "main")
        lock.unlock()
        guard let backup = started else { throw .io }
        var code = SQLITE_OK
        do throws(Errno) {
            while code == SQLITE_OK {
                try copySlice(backup, prepare, &code)
                if code == SQLITE_OK { usleep(Self.pause) }
            }
        } catch {
            finish(backup)
            throw error
        }
        finish(backup)
        guard code == SQLITE_DONE else { throw code & 0xFF == SQLITE_FULL ? .noSpace : .io }
    }

    private func copySlice(
        _ backup: OpaquePointer, _ prepare: () throws(Errno) -> Void, _ code: inout Int32
    ) throws(Errno) {
        lock.lock()
        defer { lock.unlock() }
        guard !isClosed, current.fault == nil else { throw .io }
        var result = SQLITE_OK
        try endTransaction(prepare) { result = sqlite3_backup_step(backup, Self.slicePages) }
        code = result
    }

    /// Under the lock: it touches the source's connection.
    private func finish(_ backup: OpaquePointer) {
        lock.withLock { _ = sqlite3_backup_finish(backup) }
    }

    private static func newDatabase(_ path: String) throws(Errno) -> SQLiteConnection {
        let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw .current }
        Glibc.close(descriptor)
        do {
            let target = try SQLiteConnection(path: path, flags: SQLITE_OPEN_READWRITE)
            try target.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE")
            return target
        } catch {
            throw .io
        }
    }
}
