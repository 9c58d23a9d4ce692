import FileModel
import LinuxSystem

/// What a user sets in `<configuration>/berth.conf`: lines `key = value`, and comments after '#'.
///
///     session-idle = 30s     how long a volume stays mounted after its last container (s, m or h)
///     server-idle = 10s      how long its server goes on after its last mount
///     annotation-tokens = images   which annotations need the volume's token: always, images or off (decision 0070)
///     log-format = json      of the logs: text or json
///     metrics-listen = 127.0.0.1:9567   where Prometheus may ask, beside the socket
///     cache-dir = LIST       as the option of a volume, for those that have none of their own
///     cache-size = 20G       the same
///     free-space = 10%       the same
///     volume-trash = 7d      how long volumes that podman removes are kept (s, m, h, d, w); 0 or off: not at all
///     cache-total = 100G     what the caches of all volumes on a node may take together
public struct UserSettings: Equatable, Sendable {
    /// Long enough for the next container of a script to find everything in memory.
    public static let defaultSessionIdle = Duration.seconds(30)
    /// Long enough for the next container of a script, short enough not to leave processes behind.
    public static let defaultServerIdle = Duration.seconds(10)
    /// A day: nothing may stay for ever.
    private static let maximumSeconds: Int64 = 86_400

    public var sessionIdle = defaultSessionIdle
    public var serverIdle = defaultServerIdle
    public var logFormat: LogFormat?
    public var annotationTokens = AnnotationTokens.images
    public var metricsListen: LoopbackAddress?
    public var cacheDirectory: String?
    public var cacheSize: UInt64?
    public var freeSpace: FreeSpace?
    public var cacheTotal: UInt64?
    /// Seconds.
    public var volumeTrash = TrashOptions.defaultSeconds

    public init() {}

    public static func load(_ paths: SitePaths) throws(SystemFailure) -> UserSettings {
        guard let bytes = try AtomicFile.read(paths.settings) else { return UserSettings() }
        return try UserSettings(text: String(decoding: bytes, as: UTF8.self), path: paths.settings)
    }

    public init(text: String, path: String) throws(SystemFailure) {
        for (number, line) in text.parts(at: "\n").enumerated() {
            let words = line.prefix { $0 != "#" }.split { $0.isWhitespace }
            if words.isEmpty { continue }
            let subject = "\(path), line \(number + 1)"
            guard words.count == 3, words[1] == "=" else {
                throw SystemFailure(subject, "is not \"key = value\"", status: .configuration)
            }
            try set(String(words[0]), words[2], subject)
        }
    }

    private mutating func set(_ key: String, _ value: Substring, _ subject: String) throws(SystemFailure) {
        do throws(SystemFailure) {
            switch key {
            case "session-idle": sessionIdle = try Self.duration(value, subject)
            case "server-idle": serverIdle = try Self.duration(value, subject)
            case "log-format": logFormat = try Self.logFormat(value, subject)
            case "annotation-tokens": annotationTokens = try Self.tokens(value, subject)
            case "metrics-listen": metricsListen = try LoopbackAddress(String(value), subject: subject)
            case "volume-trash":
                volumeTrash = value == "off" ? 0 : try TrashOptions.seconds(String(value), key: key)
            case "cache-dir": cacheDirectory = try CachePlaces.checked(String(value))
            case "cache-size": cacheSize = try VolumeOptions.cacheBytes(String(value), key: key)
            case "cache-total": cacheTotal = try VolumeOptions.cacheBytes(String(value), key: key)
            case "free-space": freeSpace = try FreeSpace(String(value))
            default:
                throw SystemFailure(
                    subject, "\"\(key)\" is unknown",
                    fix:
                        "the keys are session-idle, server-idle, log-format, annotation-tokens, metrics-listen, volume-trash, \(Self.cacheKeys.joined(separator: ", "))",
                    status: .configuration)
            }
        } catch {
            if error.subject == subject { throw error }
            throw SystemFailure(subject, "\"\(value)\" \(error.cause)", status: .configuration)
        }
    }

    private static func logFormat(_ text: Substring, _ subject: String) throws(SystemFailure) -> LogFormat {
        guard let format = LogFormat(rawValue: String(text)) else {
            throw SystemFailure(subject, "\"\(text)\" is no form of logs: text or json", status: .configuration)
        }
        return format
    }

    private static func tokens(_ text: Substring, _ subject: String) throws(SystemFailure) -> AnnotationTokens {
        guard let tokens = AnnotationTokens(rawValue: String(text)) else {
            throw SystemFailure(subject, "\"\(text)\" is not always, images or off", status: .configuration)
        }
        return tokens
    }

    /// What `berth setup` can set.
    public static let cacheKeys = ["cache-dir", "cache-size", "cache-total", "free-space"]

    /// The file's text with other values; an empty one takes a key out. Comments and all other lines stay.
    public static func changed(_ text: String, _ values: [String: String], path: String) throws(SystemFailure) -> String
    {
        var left = values
        var lines: [String] = []
        for line in text.parts(at: "\n").map(String.init) {
            let key = line.prefix { $0 != "#" }.split { $0.isWhitespace }.first.map(String.init) ?? ""
            guard let value = values[key] else {
                lines.append(line)
                continue
            }
            if left.removeValue(forKey: key) != nil, !value.isEmpty { lines.append("\(key) = \(value)") }
        }
        while lines.last?.isEmpty == true { lines.removeLast() }
        lines += left.filter { !$0.value.isEmpty }.sorted { $0.key < $1.key }.map { "\($0.key) = \($0.value)" }
        let changed = lines.map { $0 + "\n" }.joined()
        _ = try UserSettings(text: changed, path: path)
        return changed
    }

    static func duration(_ text: Substring, _ subject: String) throws(SystemFailure) -> Duration {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let factors: [Substring: Int64] = ["": 1, "s": 1, "m": 60, "h": 3600]
        guard let count = Int64(digits), let factor = factors[text.dropFirst(digits.count)], count <= maximumSeconds,
            count * factor <= maximumSeconds
        else {
            throw SystemFailure(
                subject, "\"\(text)\" is not a time of a day at most, such as 30s or 5m", status: .configuration)
        }
        return .seconds(count * factor)
    }
}
