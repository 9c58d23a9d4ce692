import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem

/// Prints a line for people, in place of Swift's own `print` everywhere in this module: names in it come from anywhere, and
/// neither a terminal nor a reader of lines may take a part of them for anything else.
func print(_ line: String, terminator: String = "\n") {
    Swift.print(PrintableText.escaped(line), terminator: terminator)
}

/// What commands print.
enum Output {
    /// Prints a value as JSON, keys sorted, for scripts.
    static func json(_ value: some Encodable) throws(SystemFailure) { Swift.print(try encoded(value, .prettyPrinted)) }

    /// As `json`, on one line: for lists that are printed as they come.
    static func jsonLine(_ value: some Encodable) throws(SystemFailure) { Swift.print(try encoded(value)) }

    static func encoded(
        _ value: some Encodable, _ form: JSONEncoder.OutputFormatting = []
    ) throws(SystemFailure) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, form]
        do {
            return PrintableText.escapedJSON(String(decoding: try encoder.encode(value), as: UTF8.self))
        } catch {
            throw SystemFailure("the answer", "cannot be written as JSON: \(error)", status: .software)
        }
    }

    /// Prints rows in columns as wide as they need to be.
    static func table(_ rows: [[String]]) { Swift.print(columns(rows), terminator: "") }

    /// Rows in columns as wide as they need to be, each with its newline.
    static func columns(_ rows: [[String]]) -> String {
        let rows = rows.map { $0.map { PrintableText.escaped($0) } }
        let count = rows.map(\.count).max() ?? 0
        let widths = (0..<count).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
        return rows.map { row in
            let cells = row.enumerated().map { index, cell in
                index == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[index] - cell.count)
            }
            return cells.joined(separator: "  ") + "\n"
        }.joined()
    }

    /// Writes all of it at once: `print` would keep it back where nobody looks at a terminal.
    static func write(_ text: String) throws(SystemFailure) {
        try explaining("standard output", "cannot be written") { () throws(Errno) in
            try FileDescriptor.copy(of: 1).write(Array(text.utf8))
        }
    }

    /// 1536 as "1.5 KiB".
    static func bytes(_ count: UInt64) -> String {
        var value = Double(count)
        for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
            if value < 1024 || unit == "TiB" {
                let tenths = Int((value * 10).rounded())
                return unit == "B" || tenths % 10 == 0
                    ? "\(tenths / 10) \(unit)" : "\(tenths / 10).\(tenths % 10) \(unit)"
            }
            value /= 1024
        }
        return "\(count) B"
    }

    /// A path for people, on one line whatever its bytes are.
    static func name(_ bytes: [UInt8]) -> String { PrintableText.escaped(bytes) }

    /// RFC 3339, UTC.
    static func timestamp() -> String { Timestamp.now().description }
}
