import FileModel
import Glibc
import Synchronization

/// The time that expiry goes by: the wall clock's, but it never passes faster than a clock that nobody sets.
///
/// Where the wall clock jumps forward, what was in the trash stays for as long as was promised, and what is deleted after
/// it stays longer by the jump, until the process ends. Where it jumps back, all stays longer.
public final class SteadyTime: Sendable {
    private let last = Mutex<(time: Timestamp, steady: Int64)?>(nil)

    public init() {}

    public func now(_ wall: Timestamp, _ steady: Int64) -> Timestamp {
        last.withLock { last in
            var time = wall
            if let before = last {
                let passed = max(0, steady.subtractingClamped(before.steady))
                time = min(wall, before.time.adding(nanoseconds: passed))
            }
            last = (time, steady)
            return time
        }
    }

    /// Since the machine started, with the time that it slept.
    @Sendable public static func boot() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
