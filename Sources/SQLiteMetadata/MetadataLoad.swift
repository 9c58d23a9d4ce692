import CSQLite
import FileModel

/// Makes a database of a dump: see `DumpFormat`. Feed it the dump's bytes in pieces of any size.
///
/// Invariants
/// - The database is made at the schema of the dump, and brought to this program's at the end.
/// - What was loaded is committed together with how much of the dump it was, so that a load that was stopped goes on.
/// - A database is usable only after `finish`: until then it has no application id.
public final class MetadataLoad {
    private static let rowsPerCommit: UInt64 = 50_000

    private let connection: SQLiteConnection
    private var line: [UInt8] = []
    private var lines: UInt64 = 0
    private var rows: UInt64 = 0
    private var checksum = RunningChecksum()
    private var columns = 0
    private var insert: SQLiteStatement?
    private var hasEnd = false
    /// Bytes of the dump that an earlier load has taken.
    public private(set) var taken: UInt64 = 0

    /// Opens or makes the database at `path`. One that an earlier load of the same dump left is gone on with: skip `taken`
    /// bytes of the dump first.
    public init(path: String) throws {
        do {
            connection = try SQLiteConnection(path: path, flags: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
            try connection.execute(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; "
                    + "CREATE TABLE IF NOT EXISTS load (taken INTEGER, lines INTEGER, rows INTEGER, checksum INTEGER, \"table\" TEXT, columns TEXT)"
            )
            let progress = try connection.prepare("SELECT taken, lines, rows, checksum, \"table\", columns FROM load")
            guard progress.step() == SQLITE_ROW else { return }
            taken = progress.unsigned(0)
            lines = progress.unsigned(1)
            rows = progress.unsigned(2)
            checksum.state = progress.unsigned(3)
            let words = [progress.text(4) ?? ""] + (progress.text(5) ?? "").split(separator: "\t").map(String.init)
            progress.reset()
            if words[0] != "" { try begin(table: words[0], Array(words.dropFirst())) }
        } catch {
            throw DumpFailure(SQLiteMetadataStore.explain(error, path))
        }
    }

    deinit { connection.close() }

    /// Takes more of the dump.
    public func add(_ bytes: UnsafeRawBufferPointer) throws {
        var start = 0
        while start < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
            guard let end = rest.firstIndex(of: DumpFormat.newline) else {
                line += Array(rest)
                guard line.count <= DumpFormat.lineLimit else { throw damage("is longer than a line can be") }
                return
            }
            if line.isEmpty {
                try take(UnsafeRawBufferPointer(rebasing: rest[...end]))
            } else {
                line += Array(rest[...end])
                let whole = line
                line = []
                try whole.withUnsafeBytes { try take($0) }
            }
            start += end + 1
        }
    }

    /// Ends the load. The dump must have come to its end.
    public func finish() throws {
        guard hasEnd, line.isEmpty else {
            throw DumpFailure("line \(lines + 1): the dump ends too early; copy it again")
        }
        insert = nil
        do {
            try connection.execute("DROP TABLE load")
            try connection.execute("PRAGMA application_id = \(Schema.applicationID)")
            try connection.execute("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
        } catch {
            throw DumpFailure(error.message)
        }
        connection.close()
    }

    // MARK: Lines

    private func take(_ line: UnsafeRawBufferPointer) throws {
        guard !hasEnd else { throw damage("follows the end") }
        let fields = line.dropLast().split(separator: DumpFormat.tab, omittingEmptySubsequences: false)
            .map { UnsafeRawBufferPointer(rebasing: $0) }
        do {
            if lines == 0 {
                try takeHeader(fields)
            } else if Self.isWord(fields[0], "table") {
                try takeTable(fields.map { String(decoding: $0, as: UTF8.self) })
            } else if Self.isWord(fields[0], "end") {
                try takeEnd(fields.map { String(decoding: $0, as: UTF8.self) })
            } else {
                try takeRow(fields)
            }
        } catch let failure as SQLiteFailure {
            throw damage("cannot be stored: \(failure.message)")
        }
        checksum.add(line)
        lines += 1
        taken += UInt64(line.count)
        if rows > 0 && rows % Self.rowsPerCommit == 0 && insert != nil { try commit() }
    }

    private func takeHeader(_ fields: [UnsafeRawBufferPointer]) throws {
        let words = fields.map { String(decoding: $0, as: UTF8.self) }
        guard words.count == 3, words[0] == DumpFormat.mark, let version = Int(words[1]), let schema = Int(words[2])
        else { throw DumpFailure("is no dump of a volume's metadata") }
        guard version <= DumpFormat.version, schema <= Schema.version else {
            throw DumpFailure(
                "is of version \(version).\(schema), and this program reads up to \(DumpFormat.version).\(Schema.version); use the program that wrote it, or a newer one"
            )
        }
        guard version > 0, schema > 0 else { throw DumpFailure("is no dump of a volume's metadata") }
        for step in Schema.migrations[..<schema] { try connection.execute(step) }
        try connection.execute("PRAGMA user_version = \(schema)")
        // What a new database begins with comes from the dump.
        for table in try MetadataDump.tables(connection) where table != "load" {
            try connection.execute("DELETE FROM \"\(table)\"")
        }
    }

    private func takeTable(_ words: [String]) throws {
        guard words.count > 2 else { throw damage("names no table") }
        let name = words[1]
        let columns = Array(words[2...])
        let known = try MetadataDump.columns(name, connection)
        guard name != "load", !known.isEmpty, columns == known else {
            throw damage("is about a table \"\(name)\" that such a volume does not have")
        }
        try begin(table: name, columns)
    }

    private func begin(table: String, _ columns: [String]) throws(SQLiteFailure) {
        let marks = columns.map { _ in "?" }.joined(separator: ", ")
        insert = try connection.prepare("INSERT INTO \"\(table)\" VALUES (\(marks))")
        self.columns = columns.count
        tableLine = (table, columns.joined(separator: "\t"))
    }

    private var tableLine = (name: "", columns: "")

    private func takeEnd(_ words: [String]) throws {
        guard words.count == 3, words[1] == "\(rows)", words[2] == checksum.text else {
            throw damage("does not prove what came before: the dump is damaged; copy it again")
        }
        hasEnd = true
    }

    private func takeRow(_ fields: [UnsafeRawBufferPointer]) throws {
        guard let insert else { throw damage("belongs to no table") }
        guard fields.count == columns else { throw damage("has \(fields.count) values, not \(columns)") }
        for (index, field) in fields.enumerated() { try bind(field, Int32(index + 1), insert) }
        let code = insert.step()
        insert.reset()
        guard code == SQLITE_DONE else { throw connection.failure(code) }
        rows += 1
    }

    private func bind(_ field: UnsafeRawBufferPointer, _ index: Int32, _ statement: SQLiteStatement) throws {
        switch field.first {
        case DumpFormat.null where field.count == 1: statement.bind(index, Int64?.none)
        case DumpFormat.text:
            guard let text = String(validating: try Self.plain(field.dropFirst()), as: UTF8.self) else {
                throw damage("has text that is not UTF-8")
            }
            statement.bind(index, text)
        case DumpFormat.blob: statement.bind(index, try Self.plain(field.dropFirst()))
        default:
            guard let number = Int64(String(decoding: field, as: UTF8.self)) else { throw damage("has no such value") }
            statement.bind(index, number)
        }
    }

    private static func plain(_ field: Slice<UnsafeRawBufferPointer>) throws -> [UInt8] {
        guard field.contains(DumpFormat.percent) else { return Array(field) }
        var bytes: [UInt8] = []
        var rest = field
        while let byte = rest.popFirst() {
            guard byte == DumpFormat.percent else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
                throw DumpFailure("a line has a '%' without two digits")
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return bytes
    }

    private func commit() throws(DumpFailure) {
        do throws(SQLiteFailure) {
            try connection.execute("DELETE FROM load")
            let progress = try connection.prepare("INSERT INTO load VALUES (?, ?, ?, ?, ?, ?)")
            progress.bind(1, taken)
            progress.bind(2, lines)
            progress.bind(3, rows)
            progress.bind(4, checksum.state)
            progress.bind(5, tableLine.name)
            progress.bind(6, tableLine.columns)
            guard progress.step() == SQLITE_DONE else { throw connection.failure(SQLITE_ERROR) }
            progress.reset()
            try connection.execute("COMMIT; BEGIN IMMEDIATE")
        } catch {
            throw DumpFailure(error.message)
        }
    }

    private func damage(_ words: String) -> DumpFailure { DumpFailure("line \(lines + 1): \(words)") }

    private static func isWord(_ field: UnsafeRawBufferPointer, _ word: StaticString) -> Bool {
        field.count == word.utf8CodeUnitCount
            && field.elementsEqual(UnsafeRawBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount))
    }
}
