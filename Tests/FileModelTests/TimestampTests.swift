import FileModel
import Testing

@Suite("times")
struct TimestampTests {
    @Test("what is written is read again, to the second and to the millisecond")
    func roundTrip() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<5000 {
            // The years 1824 to 2116: half of what a count of nanoseconds can hold.
            let time = Timestamp(nanoseconds: Int64.random(in: Int64.min / 2...Int64.max / 2, using: &random))
            #expect(Timestamp("\(time)")?.seconds == time.seconds, "\(time.nanoseconds)")
            let precise = Timestamp(time.preciseDescription)?.nanoseconds
            #expect(precise.map { time.nanoseconds - $0 }.map { (0..<1_000_000).contains($0) } == true, "\(time)")
        }
    }

    @Test("the earliest and the latest time, and what is beyond them, are times like others")
    func extremes() {
        // Windows' zero date is before what the count can hold: the earliest it can.
        for seconds in [Int64.min, -11_644_473_600, -9_223_372_037, -9_223_372_036, -1, 0, 9_223_372_036, .max] {
            for rest in [Int64(0), 1, 999_999_999] {
                let time = Timestamp(seconds: seconds, nanoseconds: rest)
                #expect((0..<1_000_000_000).contains(time.nanosecondsOfSecond))
                #expect(time.seconds &* 1_000_000_000 &+ time.nanosecondsOfSecond == time.nanoseconds)
                #expect(!time.preciseDescription.isEmpty && !"\(time)".isEmpty)
                #expect(Timestamp(seconds: time.seconds, nanoseconds: time.nanosecondsOfSecond) == time)
                #expect(time >= .earliest && time <= .latest)
            }
        }
        #expect(Timestamp(seconds: -11_644_473_600, nanoseconds: 0) == .earliest)
        #expect(Timestamp(seconds: .min, nanoseconds: 999_999_999) == .earliest)
        #expect(Timestamp(seconds: .max, nanoseconds: -999_999_999) == .latest)
        #expect(Timestamp(nanoseconds: .min) == .earliest && Timestamp.earliest.nanosecondsOfSecond == 0)
        #expect(Timestamp.latest.nanoseconds(since: .earliest) == .max)
        #expect(Timestamp.earliest.nanoseconds(since: .latest) == .min)
        #expect(Timestamp.latest.adding(nanoseconds: 1) == .latest)
        #expect(Timestamp.earliest.adding(nanoseconds: .min) == .earliest)
    }

    @Test("sums, differences and products that do not fit are the nearest numbers that do")
    func clamped() {
        let numbers = [Int64.min, .min + 1, -3, -1, 0, 1, 2, .max - 1, .max]
        for one in numbers {
            for other in numbers {
                let (a, b) = (Int128(one), Int128(other))
                #expect(Int128(one.addingClamped(other)) == Int128(Int64(clamping: a + b)))
                #expect(Int128(one.subtractingClamped(other)) == Int128(Int64(clamping: a - b)))
                #expect(Int128(one.multipliedClamped(by: other)) == Int128(Int64(clamping: a * b)))
                let (c, d) = (UInt64(bitPattern: one), UInt64(bitPattern: other))
                #expect(c.addingClamped(d) == UInt64(clamping: UInt128(c) + UInt128(d)))
                #expect(c.subtractingClamped(d) == UInt64(clamping: Int128(c) - Int128(d)))
                #expect(c.multipliedClamped(by: d) == UInt64(clamping: UInt128(c) * UInt128(d)))
            }
        }
        #expect([UInt64.max, 1].clampedSum { $0 } == .max)
        for (value, whole) in [(-1.0, UInt64(0)), (.nan, 0), (.infinity, .max), (1e300, .max), (2.5, 3)] {
            #expect(UInt64(clamping: value) == whole)
        }
    }

    @Test("zones and fractions of RFC 3339 and of strftime are understood")
    func zones() {
        let noon = Timestamp(seconds: 1_709_208_000, nanoseconds: 0)
        for text in [
            "2024-02-29T12:00:00Z", "2024-02-29T13:00:00+01:00", "2024-02-29T13:00:00+0100", "2024-02-29T03:30:00-0830",
            "2024-02-29T12:00:00.000Z",
        ] {
            #expect(Timestamp(text) == noon, "\(text)")
        }
        #expect(Timestamp("2024-02-29T12:00:00.5Z")?.nanoseconds == noon.nanoseconds + 500_000_000)
        #expect(Timestamp("2024-02-29T12:00:00.0000000019Z")?.nanoseconds == noon.nanoseconds + 1)
    }

    @Test(
        "anything else is no time, dates that are none included",
        arguments: [
            "", "Z", "2024-02-29", "2024-02-29T12:00:00", "2024-02-29 12:00:00Z", "2023-02-29T12:00:00Z",
            "2024-06-31T12:00:00Z", "2024-13-01T12:00:00Z", "2024-00-01T12:00:00Z", "2024-01-00T12:00:00Z",
            "2024-01-01T24:00:00Z", "2024-01-01T12:60:00Z", "2024-01-01T12:00:61Z", "2024-01-01T12:00:00.Z",
            "2024-01-01T12:00:00+1", "2024-01-01T12:00:00+01:000", "2024-01-01T12:00:00+01-00", "-024-01-01T12:00:00Z",
            "0000-01-01T00:00:00Z", "2024-01-01T12:00:00ZZ", "2024-01-01T12:00:00\u{E9}",
        ])
    func refused(text: String) {
        #expect(Timestamp(text) == nil)
    }
}
