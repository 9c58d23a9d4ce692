import LinuxSystem

/// What a user sets in `<configuration>/berth.conf`: lines `key = value`, and comments after '#'.
///
///     session-idle = 30s     how long a volume stays mounted after its last container (s, m or h)
///     server-idle = 10s      how long its server goes on after its last mount
public struct UserSettings: Equatable, Sendable {
    /// Long enough for the next container of a script to find everything in memory.
    public static let defaultSessionIdle = Duration.seconds(30)
    /// Long enough for the next container of a script, short enough not to leave processes behind.
    public static let defaultServerIdle = Duration.seconds(10)
    /// A day: nothing may stay for ever.
    private static let maximumSeconds: Int64 = 86_400

    public var sessionIdle = defaultSessionIdle
    public var serverIdle = defaultServerIdle

    public init() {}

    public static func load(_ paths: SitePaths) throws(SystemFailure) -> UserSettings {
        guard let bytes = try AtomicFile.read(paths.settings) else { return UserSettings() }
        return try UserSettings(text: String(decoding: bytes, as: UTF8.self), path: paths.settings)
    }

    public init(text: String, path: String) throws(SystemFailure) {
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.prefix { $0 != "#" }.split { $0.isWhitespace }
            if words.isEmpty { continue }
            let subject = "\(path), line \(number + 1)"
            guard words.count == 3, words[1] == "=" else {
                throw SystemFailure(subject, "is not \"key = value\"", status: .configuration)
            }
            switch words[0] {
            case "session-idle": sessionIdle = try Self.duration(words[2], subject)
            case "server-idle": serverIdle = try Self.duration(words[2], subject)
            default:
                throw SystemFailure(
                    subject, "\"\(words[0])\" is unknown", fix: "the keys are session-idle, server-idle",
                    status: .configuration)
            }
        }
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
