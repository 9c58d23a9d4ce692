import FileModel
import Testing
import VFS

@Suite("expiry and the clock")
struct SteadyTimeTests {
    private static let day: Int64 = 86_400_000_000_000

    private func time(_ days: Int64) -> Timestamp { Timestamp(nanoseconds: days * Self.day) }

    @Test(
        "a clock that jumps forward makes nothing older than it is, one that jumps back is believed, and time passes again"
    )
    func jumps() {
        let clock = SteadyTime()
        #expect(clock.now(time(100), 0) == time(100))
        #expect(clock.now(time(101), Self.day) == time(101))
        // Ten days forward at once, and a day after that.
        #expect(clock.now(time(111), Self.day) == time(101))
        #expect(clock.now(time(112), 2 * Self.day) == time(102))
        // It is set right.
        #expect(clock.now(time(102), 2 * Self.day) == time(102))
        // A day back, a day passes, and it is set right again: what is not known to have passed has not.
        #expect(clock.now(time(101), 2 * Self.day) == time(101))
        #expect(clock.now(time(102), 3 * Self.day) == time(102))
        #expect(clock.now(time(103), 3 * Self.day) == time(102))
    }
}
