/// Civil time as seconds since 1970.
enum UTCTime {
    /// Of `2009-10-12T17:50:30.000Z`, to the second: other answers tell no more. Nil for anything else.
    static func seconds(_ text: String) -> Int64? {
        let parts = text.dropLast().split(whereSeparator: { "-T:.".contains($0) }).map { Int($0) }
        guard text.hasSuffix("Z"), (6...7).contains(parts.count), let year = parts[0], let month = parts[1],
            let day = parts[2], let hour = parts[3], let minute = parts[4], let second = parts[5]
        else { return nil }
        return seconds(year: year, month: month, day: day, hour: hour, minute: minute, second: second).map(Int64.init)
    }

    /// `month` and `day` count from 1. Nil for what is no date.
    static func seconds(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) -> Int? {
        guard (1970...9999).contains(year), (1...12).contains(month), (1...31).contains(day), (0...24).contains(hour),
            (0...60).contains(minute), (0...61).contains(second)
        else { return nil }
        // Days since 1970 of the proleptic Gregorian calendar, with the year beginning in March.
        let shifted = month < 3 ? year - 1 : year
        let era = shifted / 400
        let dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
        let yearOfEra = shifted - era * 400
        let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        return days * 86_400 + hour * 3600 + minute * 60 + second
    }
}
