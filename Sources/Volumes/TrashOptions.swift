import LinuxSystem

/// What a volume keeps of what is deleted, and how long. Nil: the default.
public struct TrashOptions: Equatable, Sendable, Codable {
    public static let defaultSeconds: UInt64 = 7 * 86_400
    /// Ten years: far from what a count of nanoseconds can hold.
    private static let maximumSeconds: UInt64 = 3653 * 86_400

    /// How long it is kept; 0: not at all.
    public var seconds: UInt64?
    /// The volume's size, inodes and free room count it.
    public var isCounted: Bool?
    /// What a file held before it was truncated to nothing is kept, too.
    public var keepsTruncated: Bool?

    public init() {}

    /// False for a word that is not about trash.
    mutating func set(_ key: String, _ value: String) throws(SystemFailure) -> Bool {
        switch key {
        case "trash": seconds = try Self.seconds(value, key: key)
        case "trash-quota": isCounted = try Self.flag(key, value)
        case "trash-truncate": keepsTruncated = try Self.flag(key, value)
        default: return false
        }
        return true
    }

    /// Takes an option back.
    mutating func reset(_ key: String) {
        switch key {
        case "trash": seconds = nil
        case "trash-quota": isCounted = nil
        default: keepsTruncated = nil
        }
    }

    var words: [String: String] {
        var words: [String: String] = [:]
        words["trash"] = seconds.map(Self.text)
        words["trash-quota"] = isCounted.map { $0 ? "on" : "off" }
        words["trash-truncate"] = keepsTruncated.map { $0 ? "on" : "off" }
        return words
    }

    static func flag(_ key: String, _ value: String) throws(SystemFailure) -> Bool {
        guard value == "on" || value == "off" else { throw VolumeOptions.bad(key, value, "is not one of on, off") }
        return value == "on"
    }

    private static let units: [(letter: Character, seconds: UInt64)] = [
        ("w", 7 * 86_400), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1),
    ]

    /// Digits and one of s, m, h, d, w; or 0.
    public static func seconds(_ value: String, key: String) throws(SystemFailure) -> UInt64 {
        if value == "0" { return 0 }
        let digits = value.prefix { $0.isASCII && $0.isNumber }
        let unit = value.dropFirst(digits.count)
        guard let count = UInt64(digits), unit.count == 1, let factor = units.first(where: { $0.letter == unit.first })
        else { throw VolumeOptions.bad(key, value, "is not a time, such as 7d, 12h or 0") }
        let (seconds, overflow) = count.multipliedReportingOverflow(by: factor.seconds)
        guard !overflow, seconds <= maximumSeconds else {
            throw VolumeOptions.bad(key, value, "is more than ten years")
        }
        return seconds
    }

    private static func text(_ seconds: UInt64) -> String {
        guard seconds > 0, let unit = units.dropFirst().first(where: { seconds.isMultiple(of: $0.seconds) }) else {
            return "0"
        }
        return "\(seconds / unit.seconds)\(unit.letter)"
    }
}
