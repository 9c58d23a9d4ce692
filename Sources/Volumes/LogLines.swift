import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem

/// A line of one of the logs, taken apart.
public struct LogLine: Encodable, Sendable, Equatable {
    /// The file's name without its ending: `serve`, `hook`, or a volume.
    public var log: String
    /// RFC 3339, as written; empty for a line that has none.
    public var time: String
    public var level: String
    public var message: String
    public var fields: [String: String]
    /// The line as it is in the file.
    public var text: String

    /// Both forms of `LogFormat`; `text` is then what people read. Anything else is a line without a time.
    init(log: String, text: String) {
        if let found = Self(log: log, json: text) {
            self = found
            return
        }
        self.log = log
        self.text = text
        let words = text.parts(at: " ", atMost: 2)
        guard words.count == 3, words[0].count >= 20, words[0].utf8.first.map({ (0x30...0x39).contains($0) }) == true,
            words[0].hasByte("T")
        else {
            (time, level, message, fields) = ("", "", text, [:])
            return
        }
        time = String(words[0])
        level = String(words[1])
        var rest = words[2]
        if let colon = rest.firstRange(of: ":") { rest = rest[colon.upperBound...] }
        var parts: [String: String] = [:]
        var said = String(rest.drop { $0 == " " })
        if let close = rest.ranges(of: "] ").last, let open = rest[..<close.lowerBound].lastIndex(of: "[") {
            said = String(rest[close.upperBound...])
            parts = Self.fields(rest[..<open])
        }
        message = said
        fields = parts
    }

    private init?(log: String, json: String) {
        guard json.startsWithBytes(of: "{"),
            var fields = try? JSONDecoder().decode([String: String].self, from: Data(json.utf8)),
            let time = fields.removeValue(forKey: "time"), let level = fields.removeValue(forKey: "level"),
            let message = fields.removeValue(forKey: "message")
        else { return nil }
        self.log = log
        self.time = time
        self.level = level
        self.message = message
        let program = fields.removeValue(forKey: "program") ?? log
        self.fields = fields
        text = LogRecord(program: program, level: level, message: message, fields: fields).text(time: time)
    }

    /// `key=value` words; a value may hold spaces, so it goes on until the next word that looks like a key.
    private static func fields(_ text: Substring) -> [String: String] {
        var result: [String: String] = [:]
        var key: String?
        for word in text.words(at: " ") {
            let parts = word.parts(at: "=", atMost: 1)
            if parts.count == 2, !parts[0].utf8.isEmpty, parts[0].utf8.allSatisfy({ (0x61...0x7A).contains($0) }) {
                key = String(parts[0])
                result[String(parts[0])] = String(parts[1])
            } else if let key {
                result[key, default: ""] += " \(word)"
            }
        }
        return result
    }
}

/// The logs of one user: servers, plugin and hooks.
public struct LogLines: Sendable {
    /// What is read of each file, from its end.
    private static let tailBytes = 1 << 20

    private let directory: String

    public init(_ paths: SitePaths) {
        directory = paths.logs
    }

    /// The last lines of all logs together, the oldest first; of one log where it is named.
    public func last(_ count: Int, of log: String? = nil) throws(SystemFailure) -> [LogLine] {
        var lines: [(key: Timestamp, line: LogLine)] = []
        let names = try FileTree.names(in: directory).filter { $0.endsWithBytes(of: ".log") }.sorted()
            .map { String($0.droppingBytes(last: ".log".utf8.count)) }.filter { log == nil || $0 == log }
        if let log, names.isEmpty {
            throw SystemFailure("log \"\(log)\"", "does not exist in \(directory)", status: .noInput)
        }
        for name in names {
            // A line without a time belongs to the one before it. The order of a file stays, whatever its times say: text
            // has no parts of seconds, and a clock may be set back.
            var key = Timestamp(nanoseconds: .min)
            for text in try tail("\(directory)/\(name).log") {
                let line = LogLine(log: name, text: text)
                key = max(key, Timestamp(line.time) ?? key)
                lines.append((key, line))
            }
        }
        let ordered = lines.enumerated().sorted { ($0.element.key, $0.offset) < ($1.element.key, $1.offset) }
        return ordered.suffix(count).map(\.element.line)
    }

    private func tail(_ path: String) throws(SystemFailure) -> [String] {
        let bytes = try explaining(path, "cannot be read") { () throws(Errno) -> [UInt8] in
            let file = try FileDescriptor.open(path, O_RDONLY)
            let size = lseek(file.rawValue, 0, SEEK_END)
            let start = max(0, Int(size) - Self.tailBytes)
            lseek(file.rawValue, start, SEEK_SET)
            let found = try file.readAll(limit: Self.tailBytes + (16 << 20))
            // A line that begins before the tail is half a line.
            return start == 0 ? found : Array(found.drop { $0 != 0x0A })
        }
        return String(decoding: bytes, as: UTF8.self).words(at: "\n").map(String.init)
    }
}
