/// How long and how often a request is tried. Each wait is random between nothing and twice the one before, so that
/// many clients that failed together do not come back together.
struct RetryBudget {
    /// What reads of file data get. A reader behind it gets EIO then.
    static let transfer = RetryBudget(attempts: 8, seconds: 40)
    /// What somebody waits for at a prompt.
    static let question = RetryBudget(attempts: 3, seconds: 10)
    /// Who uploads keeps the bytes and comes again for as long as it lives.
    static let upload = RetryBudget(attempts: 4, seconds: 10)

    /// What an upload would like to know and can do without.
    static let learning = RetryBudget(attempts: 1, seconds: 10)

    private static let firstSeconds = 0.1
    private static let longestSeconds = 8.0

    var attempts: Int
    /// No attempt starts later than this after the first. One that makes progress is not cut.
    var seconds: Double

    /// Seconds to wait before the attempt after `attempt` (1 for the first), or nil where the budget is used up.
    /// `asked` is what the store asked for; `chance` is in 0..<1.
    func pause(after attempt: Int, elapsed: Double, asked: Double?, chance: Double) -> Double? {
        guard attempt < attempts else { return nil }
        let bound = min(Self.firstSeconds * Double(1 << min(attempt, 16)), Self.longestSeconds)
        let pause = max(bound * chance, min(asked ?? 0, Self.longestSeconds))
        return elapsed + pause <= seconds ? pause : nil
    }
}

/// What of the world outside the store needs: clock, chance and sleep. Tests bring their own.
public struct S3Surroundings: Sendable {
    /// Seconds since 1970, UTC.
    public var now: @Sendable () -> Int
    /// In 0..<1.
    public var chance: @Sendable () -> Double
    public var sleep: @Sendable (_ seconds: Double) -> Void

    public init(
        now: @escaping @Sendable () -> Int, chance: @escaping @Sendable () -> Double,
        sleep: @escaping @Sendable (_ seconds: Double) -> Void
    ) {
        self.now = now
        self.chance = chance
        self.sleep = sleep
    }
}
