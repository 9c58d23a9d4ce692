/// A moment by which something must be done, or never.
public struct Deadline: Sendable {
    private let moment: ContinuousClock.Instant?

    /// Nil: no limit.
    public init(after duration: Duration?) {
        moment = duration.map { ContinuousClock.now + $0 }
    }

    /// Nil, and more seconds than anybody waits for: no limit.
    public init(afterSeconds seconds: Double?) {
        let isBounded = seconds.map { $0 <= Self.mostSeconds } ?? false
        self.init(after: isBounded ? seconds.map { .seconds($0) } : nil)
    }

    /// A thousand years.
    private static let mostSeconds = 3.2e10

    public static let never = Deadline(after: nil)

    public var hasPassed: Bool { moment.map { $0 <= ContinuousClock.now } ?? false }

    /// For `poll`: -1 where there is no limit, rounded up so that a wait never ends too early.
    public var remainingMilliseconds: Int32 {
        guard let moment else { return -1 }
        let left = ContinuousClock.now.duration(to: moment)
        guard left > .zero else { return 0 }
        let parts = left.components
        // `poll` knows no longer wait.
        guard parts.seconds < Int64(Int32.max) / 1000 else { return .max }
        let milliseconds = parts.seconds * 1000 + (parts.attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
        return Int32(clamping: milliseconds)
    }
}
