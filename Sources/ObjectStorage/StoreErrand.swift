import Metrics
import Synchronization

/// A piece of work that asks a store: reading for programs, sending packs, copying the metadata. Each has its own, so that giving
/// one up takes nothing from the others: at the end of a volume those who read are let go first, and packs and metadata are still
/// to be stored.
public final class StoreErrand: Sendable {
    private static let never = Int64.max

    /// Monotonic nanoseconds; its requests end then.
    private let end = Atomic<Int64>(never)

    public init() {}

    public var isOver: Bool {
        let end = end.load(ordering: .acquiring)
        return end != Self.never && end <= Self.now
    }

    /// Ends requests that are under way, and refuses later ones, with an error.
    public func finish() { finish(after: 0) }

    /// The same in so many seconds, unless that is later than it ends already.
    public func finish(after seconds: Double) {
        // Thirty years are enough, and fit.
        let wanted = Self.now + Int64((seconds >= 0 ? min(seconds, 1e9) : 0) * 1e9)
        var found = end.load(ordering: .acquiring)
        while wanted < found {
            let (isDone, now) = end.compareExchange(expected: found, desired: wanted, ordering: .acquiringAndReleasing)
            if isDone { return }
            found = now
        }
    }

    private static var now: Int64 { Int64(clamping: monotonicNanoseconds()) }
}
