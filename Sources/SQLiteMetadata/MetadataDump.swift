import CSQLite
import FileModel

/// Writes a database that nobody has open as text: see `DumpFormat`. Takes the same memory at any size.
public struct MetadataDump {
    private static let bufferBytes = 1 << 20

    private let connection: SQLiteConnection
    private let sink: ([UInt8]) throws -> Void
    private var buffer: [UInt8] = []
    private var checksum = RunningChecksum()
    private var rows: UInt64 = 0

    /// Dumps the database at `path` in pieces to `sink`. Answers the number of rows.
    public static func write(path: String, to sink: ([UInt8]) throws -> Void) throws -> UInt64 {
        try withoutActuallyEscaping(sink) { sink in
            let connection: SQLiteConnection
            do throws(SQLiteFailure) {
                connection = try SQLiteMetadataStore.openForCheck(path)
            } catch {
                throw DumpFailure(SQLiteMetadataStore.explain(error, path))
            }
            defer { connection.close() }
            var dump = MetadataDump(connection: connection, sink: sink)
            do {
                try dump.run()
            } catch let failure as SQLiteFailure {
                throw DumpFailure(SQLiteMetadataStore.explain(failure, path))
            }
            return dump.rows
        }
    }

    private init(connection: SQLiteConnection, sink: @escaping ([UInt8]) throws -> Void) {
        self.connection = connection
        self.sink = sink
    }

    private mutating func run() throws {
        buffer += Array(DumpFormat.header(schema: Schema.version).utf8)
        for table in try Self.tables(connection) { try dump(table) }
        checksum.add(buffer)
        buffer += Array("end\t\(rows)\t\(checksum.text)\n".utf8)
        try sink(buffer)
    }

    /// The names of the volume's tables, sorted.
    static func tables(_ connection: SQLiteConnection) throws(SQLiteFailure) -> [String] {
        let statement = try connection.prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
        )
        return try statement.texts(connection)
    }

    /// The columns of a table, in their order.
    static func columns(_ table: String, _ connection: SQLiteConnection) throws(SQLiteFailure) -> [String] {
        let statement = try connection.prepare("SELECT name FROM pragma_table_info(?) ORDER BY cid")
        statement.bind(1, table)
        return try statement.texts(connection)
    }

    private mutating func dump(_ table: String) throws {
        let columns = try Self.columns(table, connection)
        buffer += Array((["table", table] + columns).joined(separator: "\t").utf8) + [DumpFormat.newline]
        // In the order of the table itself: reading it in another one would sort all of it first.
        let statement = try connection.prepare("SELECT * FROM \"\(table)\" NOT INDEXED")
        while true {
            switch statement.step() {
            case SQLITE_ROW: try writeRow(statement, Int32(columns.count))
            case SQLITE_DONE: return
            case let code: throw connection.failure(code)
            }
        }
    }

    private mutating func writeRow(_ statement: SQLiteStatement, _ columns: Int32) throws {
        for column in 0..<columns {
            if column > 0 { buffer.append(DumpFormat.tab) }
            switch statement.type(column) {
            case SQLITE_NULL: buffer.append(DumpFormat.null)
            case SQLITE_INTEGER: buffer += Array("\(statement.integer(column))".utf8)
            case SQLITE_TEXT: write(statement.bytes(column), after: DumpFormat.text)
            case SQLITE_BLOB: write(statement.bytes(column), after: DumpFormat.blob)
            case let type: throw DumpFailure("a value of type \(type) belongs in no table")
            }
        }
        buffer.append(DumpFormat.newline)
        rows += 1
        guard buffer.count >= Self.bufferBytes else { return }
        checksum.add(buffer)
        try sink(buffer)
        buffer.removeAll(keepingCapacity: true)
    }

    private static let digits = Array("0123456789ABCDEF".utf8)

    private mutating func write(_ bytes: [UInt8], after mark: UInt8) {
        buffer.append(mark)
        if bytes.allSatisfy(DumpFormat.isPlain) {
            buffer += bytes
            return
        }
        for byte in bytes {
            if DumpFormat.isPlain(byte) {
                buffer.append(byte)
            } else {
                buffer += [DumpFormat.percent, Self.digits[Int(byte >> 4)], Self.digits[Int(byte & 15)]]
            }
        }
    }
}

extension RunningChecksum {
    mutating func add(_ bytes: [UInt8]) { bytes.withUnsafeBytes { add($0) } }
}

extension SQLiteStatement {
    /// The first column of every row.
    func texts(_ connection: SQLiteConnection) throws(SQLiteFailure) -> [String] {
        var texts: [String] = []
        while true {
            switch step() {
            case SQLITE_ROW: texts.append(text(0) ?? "")
            case SQLITE_DONE: return texts
            case let code: throw connection.failure(code)
            }
        }
    }
}
