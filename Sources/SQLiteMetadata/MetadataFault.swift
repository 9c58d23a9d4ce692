import CSQLite

/// Why a database takes no more changes.
struct MetadataFault: Equatable {
    let cause: String
    /// It is the disk's doing: what is committed is sound, and once the disk works again the volume can go on.
    let mayPass: Bool

    init(cause: String, mayPass: Bool) {
        self.cause = cause
        self.mayPass = mayPass
    }

    init(_ failure: SQLiteFailure) {
        let ofDisk = [SQLITE_IOERR, SQLITE_FULL, SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_NOMEM]
        self.init(cause: failure.message, mayPass: ofDisk.contains(failure.code & 0xFF))
    }
}
