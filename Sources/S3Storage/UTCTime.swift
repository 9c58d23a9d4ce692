/// Civil time as seconds since 1970.
enum UTCTime {
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
