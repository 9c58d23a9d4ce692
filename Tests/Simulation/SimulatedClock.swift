import CSimulation
import FileModel
import Synchronization

/// The wall clock that a volume sees: the simulation's, and ahead of it by what passes between two operations. It goes on
/// from one life to the next.
final class SimulatedClock: Sendable {
    private let ahead: Atomic<Int64>

    init(ahead: Int64) { self.ahead = Atomic(ahead) }

    @Sendable func now() -> Timestamp {
        Timestamp(nanoseconds: Timestamp.now().nanoseconds &+ ahead.load(ordering: .relaxed))
    }

    func pass(seconds: Int64) { ahead.add(seconds * 1_000_000_000, ordering: .relaxed) }

    var nanosecondsAhead: Int64 { ahead.load(ordering: .relaxed) }
}
