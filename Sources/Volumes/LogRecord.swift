import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem

/// The forms a log has.
public enum LogFormat: String, CaseIterable, Sendable {
    /// `TIME LEVEL PROGRAM: key=value key=value [PROGRAM] MESSAGE`
    case text
    /// One JSON object a line: `time`, `level`, `program`, `message` and the fields, all of them strings.
    case json

    public static let variable = "BERTH_LOG_FORMAT"

    /// What was asked for on the command line, else in the environment, else in the settings. A word that is no form
    /// counts as not said: a log is better in the wrong form than not written.
    public static func chosen(
        _ asked: LogFormat?, _ environment: [String: String], _ settings: UserSettings?
    ) -> LogFormat {
        asked ?? environment[variable].flatMap { LogFormat(rawValue: $0) } ?? settings?.logFormat ?? .text
    }
}

/// The keys of what a line of a log says beside its message. There are no others.
public enum LogField: String, CaseIterable, Sendable {
    case volume
    /// A session's name.
    case session
    /// Who made the session, as `berth status` shows it: host, podman, hook, run, apptainer. Of a server's own lines:
    /// slurm where a job started it, else host.
    case runtime
    /// The Slurm job, where there is one.
    case job
    case mountpoint
    /// Why something failed.
    case cause
    case pid
    case socket
    case address
    /// Who was turned away.
    case uid
    /// Of an OCI hook.
    case stage
    /// The container that a hook is about, and its image.
    case container
    case name
    case image
}

/// One line of a log, before it is written.
public struct LogRecord: Sendable {
    public var program: String
    public var level: String
    public var message: String
    public var fields: [String: String]

    public init(program: String, level: String, message: String, fields: [String: String]) {
        self.program = program
        self.level = level
        self.message = message
        self.fields = fields
    }

    /// The line with its newline.
    public func line(_ format: LogFormat) -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        switch format {
        case .text: return text(time: Self.localTime(now.tv_sec)) + "\n"
        case .json:
            let time = Timestamp(seconds: Int64(now.tv_sec), nanoseconds: Int64(now.tv_nsec))
            return json(time: time.preciseDescription) + "\n"
        }
    }

    func text(time: String) -> String {
        let words = fields.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        return PrintableText.escaped("\(time) \(level) \(program):\(words) [\(program)] \(message)")
    }

    private func json(time: String) -> String {
        let head = [("time", time), ("level", level), ("program", program), ("message", message)]
        let pairs = head + fields.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        return PrintableText.escapedJSON(
            "{" + pairs.map { "\(Self.quoted($0.0)):\(Self.quoted($0.1))" }.joined(separator: ",") + "}")
    }

    private static func quoted(_ text: String) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes]
        guard let data = try? encoder.encode(text) else { return "\"\"" }
        return String(decoding: data, as: UTF8.self)
    }

    /// Local time with its zone.
    private static func localTime(_ seconds: Int) -> String {
        var seconds = seconds
        var parts = tm()
        localtime_r(&seconds, &parts)
        return formatted("%Y-%m-%dT%H:%M:%S%z", &parts)
    }

    private static func formatted(_ form: String, _ parts: inout tm) -> String {
        var buffer = [CChar](repeating: 0, count: 40)
        let count = strftime(&buffer, buffer.count, form, &parts)
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
