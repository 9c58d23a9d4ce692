import CSQLite
import FileModel
import Glibc

/// A refusal or fault of SQLite, with its own words.
struct SQLiteFailure: Error {
    let code: Int32
    let message: String

    /// A sum was more than 64 bits hold.
    var isOverflow: Bool { code & 0xFF == SQLITE_ERROR && message == "integer overflow" }
}

/// One open database. Not thread-safe: the owner holds a lock around every call.
final class SQLiteConnection {
    let handle: OpaquePointer
    /// False after `close`: its statements are finalized then.
    private(set) var isOpen = true

    init(path: String, flags: Int32) throws(SQLiteFailure) {
        var opened: OpaquePointer?
        let code = sqlite3_open_v2(
            Self.throughLinks(path), &opened, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, nil)
        guard code == SQLITE_OK, let opened else {
            let message = opened.map { String(cString: sqlite3_errmsg($0)) } ?? String(cString: sqlite3_errstr(code))
            sqlite3_close_v2(opened)
            throw SQLiteFailure(code: code, message: message)
        }
        handle = opened
        sqlite3_extended_result_codes(handle, 1)
    }

    deinit { close() }

    /// The path with the links of its directories followed, as homes are often behind one: SQLite's own refusal is of a link
    /// anywhere, and ours of one in the place of the file.
    static func throughLinks(_ path: String) -> String {
        let bytes = Array(path.utf8)
        guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")), slash > 0,
            let real = realpath(String(decoding: bytes[..<slash], as: UTF8.self), nil)
        else { return path }
        defer { free(real) }
        return String(cString: real) + String(decoding: bytes[slash...], as: UTF8.self)
    }

    /// Ends every statement and lets go of the file and its locks. Nothing may be run after it.
    func close() {
        guard isOpen else { return }
        isOpen = false
        while let statement = sqlite3_next_stmt(handle, nil) { sqlite3_finalize(statement) }
        sqlite3_close_v2(handle)
    }

    /// Runs statements that answer nothing.
    func execute(_ sql: String) throws(SQLiteFailure) {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw failure(code) }
    }

    func prepare(_ sql: String) throws(SQLiteFailure) -> SQLiteStatement {
        var statement: OpaquePointer?
        let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard code == SQLITE_OK, let statement else { throw failure(code) }
        return SQLiteStatement(statement, self)
    }

    func failure(_ code: Int32) -> SQLiteFailure {
        SQLiteFailure(code: code, message: String(cString: sqlite3_errmsg(handle)))
    }

    /// The first column of the first row as text; nil where there is no row.
    func text(_ sql: String) throws(SQLiteFailure) -> String? {
        let statement = try prepare(sql)
        switch statement.step() {
        case SQLITE_ROW: return statement.text(0)
        case SQLITE_DONE: return nil
        case let code: throw failure(code)
        }
    }

    /// The first column of every row.
    func texts(_ sql: String) throws(SQLiteFailure) -> [String] {
        try prepare(sql).texts(self)
    }

    /// Moves what the write-ahead log holds into the database file.
    func checkpoint() throws(SQLiteFailure) {
        let code = sqlite3_wal_checkpoint_v2(handle, nil, SQLITE_CHECKPOINT_TRUNCATE, nil, nil)
        guard code == SQLITE_OK else { throw failure(code) }
    }
}

/// A prepared statement. Bound BLOBs are not copied: they must live until the statement is reset.
final class SQLiteStatement {
    private let statement: OpaquePointer
    private let connection: SQLiteConnection

    init(_ statement: OpaquePointer, _ connection: SQLiteConnection) {
        self.statement = statement
        self.connection = connection
    }

    deinit {
        if connection.isOpen { sqlite3_finalize(statement) }
    }

    func step() -> Int32 { sqlite3_step(statement) }

    /// Ends a run: lets go of rows and locks, keeps the plan.
    func reset() { sqlite3_reset(statement) }

    func bind(_ index: Int32, _ value: Int64) { sqlite3_bind_int64(statement, index, value) }

    func bind(_ index: Int32, _ value: UInt64) { sqlite3_bind_int64(statement, index, Int64(bitPattern: value)) }

    func bind(_ index: Int32, _ value: Int64?) {
        if let value { sqlite3_bind_int64(statement, index, value) } else { sqlite3_bind_null(statement, index) }
    }

    /// Copies: for values that do not outlive the call.
    func bind(_ index: Int32, _ bytes: [UInt8]) {
        _ = bytes.withUnsafeBytes { buffer in
            // A null pointer would bind NULL, and an empty value is not NULL.
            if buffer.isEmpty {
                return sqlite3_bind_zeroblob(statement, index, 0)
            } else {
                return sqlite3_bind_blob(
                    statement, index, buffer.baseAddress, Int32(buffer.count), berth_sqlite_transient())
            }
        }
    }

    func bind(_ index: Int32, _ text: String) {
        sqlite3_bind_text(statement, index, text, -1, berth_sqlite_transient())
    }

    func type(_ column: Int32) -> Int32 { sqlite3_column_type(statement, column) }
    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(statement, column) == SQLITE_NULL }
    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }
    func unsigned(_ column: Int32) -> UInt64 { UInt64(bitPattern: sqlite3_column_int64(statement, column)) }

    func bytes(_ column: Int32) -> [UInt8] {
        let count = Int(sqlite3_column_bytes(statement, column))
        guard count > 0, let start = sqlite3_column_blob(statement, column) else { return [] }
        return [UInt8](UnsafeRawBufferPointer(start: start, count: count))
    }

    func text(_ column: Int32) -> String? {
        sqlite3_column_text(statement, column).map { String(cString: $0) }
    }
}
