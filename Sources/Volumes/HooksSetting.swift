import FileModel
import LinuxSystem

/// The `hooks_dir` of a containers.conf, found line by line.
///
/// Only the plain form is understood: `hooks_dir = ["…", "…"]` on one line below `[engine]`. Anything else that
/// speaks of it is refused, never guessed at: the file is the user's.
struct HooksSetting {
    private static let key = "hooks_dir"
    private static let table = "[engine]"

    let lineNumber: Int
    let directories: [String]

    /// Nil where the file does not set it.
    init?(in text: String, path: String) throws(SystemFailure) {
        if text.utf8.contains(0x0D), text.contains(Self.key) {
            throw SystemFailure(
                path, "sets \(Self.key), and has lines that end in CR LF",
                fix: "give it lines that end in LF (dos2unix), then run `berth setup` again", status: .configuration)
        }
        var found: (line: Int, directories: [String])?
        var isInside = false
        for (number, line) in text.parts(at: "\n").enumerated() {
            let words = PluginTable.withoutComment(line)
            if words.startsWithBytes(of: "[") {
                isInside = words.filter { $0 != " " && $0 != "\t" } == Self.table
                continue
            }
            guard words.contains(Self.key) else { continue }
            guard isInside, found == nil, let directories = Self.value(words) else {
                throw SystemFailure(
                    "\(path), line \(number + 1)", "sets \(Self.key) in a form that cannot be changed safely",
                    fix:
                        "write it below \(Self.table) as \(Self.key) = [\"…\"] on one line, then run `berth setup` again",
                    status: .configuration)
            }
            found = (number, directories)
        }
        guard let found else { return nil }
        lineNumber = found.line
        directories = found.directories
    }

    /// `hooks_dir = ["a", "b"]` with either kind of quotes and no escapes.
    private static func value(_ words: Substring) -> [String]? {
        let parts = words.parts(at: "=", atMost: 1)
        guard parts.count == 2, PluginTable.trimmed(parts[0]) == key else { return nil }
        let list = PluginTable.trimmed(parts[1])
        guard list.startsWithBytes(of: "["), list.endsWithBytes(of: "]"), list.utf8.count > 1 else { return nil }
        var items = list.droppingBytes(first: 1, last: 1).parts(at: ",")
            .map(PluginTable.trimmed)
        if items.last == "" { items.removeLast() }
        var directories: [String] = []
        for item in items {
            guard let text = PluginTable.unquoted(item, mayBeBare: false), !text.hasByte("[") else { return nil }
            directories.append(text)
        }
        return directories
    }

    /// The text with one more directory at the end of the list; every other byte stays.
    func adding(_ directory: String, to text: String) -> String {
        change(text) { line in
            let end = PluginTable.withoutComment(line).endIndex
            guard let close = line[..<end].lastIndex(of: "]") else { return String(line) }
            var before = line[..<close]
            while let last = before.last, last.isWhitespace { before.removeLast() }
            let needsComma = before.last != "[" && before.last != ","
            let item = (needsComma ? ", " : "") + "\"\(directory)\""
            return line[..<before.endIndex] + item + line[before.endIndex...]
        }
    }

    /// The text without that directory, as it was before.
    func removing(_ directory: String, from text: String) -> String {
        change(text) { line in
            let item = "\"\(directory)\""
            guard let place = line.firstRange(of: ", \(item)") ?? line.firstRange(of: item) else { return String(line) }
            return String(line[..<place.lowerBound] + line[place.upperBound...])
        }
    }

    private func change(_ text: String, _ body: (Substring) -> String) -> String {
        let lines = text.parts(at: "\n")
        return lines.enumerated().map { $0.offset == lineNumber ? body($0.element) : String($0.element) }
            .joined(separator: "\n")
    }
}
