import CSQLite
import Metadata

/// Why a database takes no more changes.
struct MetadataFault: Equatable {
    let cause: String
    let remedy: FaultRemedy

    init(cause: String, remedy: FaultRemedy) {
        self.cause = cause
        self.remedy = remedy
    }

    init(_ failure: SQLiteFailure) {
        let ofDisk = [SQLITE_IOERR, SQLITE_FULL, SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_NOMEM]
        self.init(cause: failure.message, remedy: ofDisk.contains(failure.code & 0xFF) ? .reopening : .repair)
    }
}
