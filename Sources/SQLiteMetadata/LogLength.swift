import CSQLite

/// How many frames the write-ahead log has after the last commit: what must be found in it again when it is reopened.
///
/// Invariants
/// - Only the holder of the store's lock touches it; SQLite calls back within a commit.
final class LogLength {
    var frames: Int32 = 0

    /// Takes the place of SQLite's automatic checkpoints, which must be off.
    func follow(_ connection: SQLiteConnection) {
        sqlite3_wal_hook(
            connection.handle,
            { context, _, _, frames in
                if let context {
                    Unmanaged<LogLength>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.frames = frames }
                }
                return SQLITE_OK
            }, Unmanaged.passUnretained(self).toOpaque())
    }
}
