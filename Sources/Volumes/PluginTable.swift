import FileModel
import LinuxSystem

/// The `[engine.volume_plugins]` table of a containers.conf, found line by line.
///
/// Only the plain form is understood: the table's header on a line of its own, and a `name = "path"` per line.
/// Anything else that speaks of volume plugins is refused, never guessed at: the file is the user's.
struct PluginTable {
    static let header = "[engine.volume_plugins]"
    private static let key = "volume_plugins"

    /// The line of the header.
    let headerLine: Int
    /// Names and paths.
    let entries: [String: String]

    /// Nil where the file has no such table.
    init?(in text: String, path: String) throws(SystemFailure) {
        var found: Int?
        var isInside = false
        var entries: [String: String] = [:]
        for (number, line) in text.parts(at: "\n").enumerated() {
            let words = Self.withoutComment(line)
            if words.isEmpty { continue }
            if words.startsWithBytes(of: "[") {
                isInside = words.filter { $0 != " " && $0 != "\t" } == Self.header
                if isInside && found != nil { throw Self.unclear(path, number) }
                if isInside { found = number } else if words.contains(Self.key) { throw Self.unclear(path, number) }
                continue
            }
            guard isInside else {
                if words.contains(Self.key) { throw Self.unclear(path, number) }
                continue
            }
            guard let (name, value) = Self.entry(words) else { throw Self.unclear(path, number) }
            entries[name] = value
        }
        guard let found else { return nil }
        headerLine = found
        self.entries = entries
    }

    private static func unclear(_ path: String, _ number: Int) -> SystemFailure {
        SystemFailure(
            "\(path), line \(number + 1)", "has volume plugins in a form that cannot be changed safely",
            fix: "write them as a table \(header) with one name = \"path\" a line, then run `berth setup` again",
            status: .configuration)
    }

    /// The line less its comment and the space around it. A '#' in quotes is no comment.
    static func withoutComment(_ line: Substring) -> Substring {
        var quote: UInt8?
        var end = line.endIndex
        for index in line.utf8.indices {
            let byte = line.utf8[index]
            if let open = quote {
                if byte == open { quote = nil }
            } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
                quote = byte
            } else if byte == UInt8(ascii: "#") {
                end = index
                break
            }
        }
        return trimmed(line[..<end])
    }

    static func trimmed(_ text: Substring) -> Substring {
        var text = text
        while let first = text.first, first.isWhitespace { text.removeFirst() }
        while let last = text.last, last.isWhitespace { text.removeLast() }
        return text
    }

    /// `name = "value"`, with either in either kind of quotes and no escapes.
    private static func entry(_ line: Substring) -> (String, String)? {
        let parts = line.parts(at: "=", atMost: 1)
        guard parts.count == 2, let name = unquoted(trimmed(parts[0]), mayBeBare: true),
            let value = unquoted(trimmed(parts[1]), mayBeBare: false)
        else { return nil }
        return (name, value)
    }

    static func unquoted(_ text: Substring, mayBeBare: Bool) -> String? {
        for quote in ["\"", "'"]
        where text.utf8.count >= 2 && text.startsWithBytes(of: quote) && text.endsWithBytes(of: quote) {
            let inner = text.droppingBytes(first: 1, last: 1)
            return inner.utf8.contains(where: { $0 == quote.utf8.first }) || inner.hasByte("\\") ? nil : String(inner)
        }
        let isBare =
            !text.isEmpty && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == "-") }
        return mayBeBare && isBare ? String(text) : nil
    }
}
