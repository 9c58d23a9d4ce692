import Glibc

extension Timestamp: CustomStringConvertible {
    /// RFC 3339, UTC, whole seconds.
    public var description: String { date + "Z" }

    /// RFC 3339, UTC, milliseconds.
    public var preciseDescription: String {
        let milliseconds = nanosecondsOfSecond / 1_000_000
        return "\(date).\(String(1000 + milliseconds).dropFirst())Z"
    }

    private var date: String {
        var now = time_t(seconds)
        var parts = tm()
        gmtime_r(&now, &parts)
        var buffer = [CChar](repeating: 0, count: 32)
        let count = strftime(&buffer, buffer.count, "%Y-%m-%dT%H:%M:%S", &parts)
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Reads RFC 3339, its fraction to the nanosecond. The zone may have no colon, as `strftime` writes it. Nil for
    /// anything else, and for a date that is none.
    public init?(_ text: String) {
        let bytes = Array(text.utf8)
        let shape = Array("0000-00-00T00:00:00".utf8)
        guard bytes.count > shape.count,
            zip(bytes, shape).allSatisfy({ $1 == 0x30 ? Self.isDigit($0) : $0 == $1 })
        else { return nil }
        func number(_ start: Int, _ count: Int) -> Int {
            bytes[start..<start + count].reduce(0) { $0 * 10 + Int($1) - 0x30 }
        }
        var rest = bytes[shape.count...]
        var nanoseconds: Int64 = 0
        if rest.first == UInt8(ascii: ".") {
            let digits = rest.dropFirst().prefix(while: Self.isDigit)
            guard !digits.isEmpty else { return nil }
            rest = rest[digits.endIndex...]
            let nine = Array(digits.prefix(9)) + Array(repeating: 0x30, count: max(0, 9 - digits.count))
            nanoseconds = nine.reduce(0) { $0 * 10 + Int64($1) - 0x30 }
        }
        guard let offset = Self.offset(rest),
            let seconds = Self.seconds(
                year: number(0, 4), month: number(5, 2), day: number(8, 2), hour: number(11, 2),
                minute: number(14, 2), second: number(17, 2))
        else { return nil }
        self.init(seconds: seconds - offset, nanoseconds: nanoseconds)
    }

    /// Civil time in UTC as seconds since 1970. `month` and `day` count from 1. Nil for what is no date of the years 1 to
    /// 9999.
    public static func seconds(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) -> Int64? {
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        guard (1...9999).contains(year), (1...12).contains(month), (1...lengths[month - 1]).contains(day),
            // 60 is a leap second.
            (0...23).contains(hour), (0...59).contains(minute), (0...60).contains(second)
        else { return nil }
        // Days since 1970 of the proleptic Gregorian calendar, with the year beginning in March.
        let shifted = month < 3 ? year - 1 : year
        let era = shifted / 400
        let dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
        let yearOfEra = shifted - era * 400
        let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        return Int64(days * 86_400 + hour * 3600 + minute * 60 + second)
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    /// Seconds east of Greenwich.
    private static func offset(_ zone: ArraySlice<UInt8>) -> Int64? {
        if zone.elementsEqual([UInt8(ascii: "Z")]) { return 0 }
        let digits = zone.dropFirst().filter { $0 != UInt8(ascii: ":") }
        guard let sign = zone.first, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-"), digits.count == 4,
            zone.count == 5 || (zone.count == 6 && zone[zone.startIndex + 3] == UInt8(ascii: ":")),
            digits.allSatisfy(isDigit)
        else { return nil }
        let numbers = digits.map { Int64($0) - 0x30 }
        let minutes = (numbers[0] * 10 + numbers[1]) * 60 + numbers[2] * 10 + numbers[3]
        return sign == UInt8(ascii: "-") ? -minutes * 60 : minutes * 60
    }
}
