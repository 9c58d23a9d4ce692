import LinuxSystem
import ObjectStorage

/// What is known of a store's conditional requests.
///
/// Invariants
/// - It is found out at most once at a time, and without a lock held; until then `hold` answers false.
// SAFETY: every mutable member is guarded by `monitor`.
final class Conditions: @unchecked Sendable {
    enum Answer: Equatable {
        /// A put with `If-None-Match: *` is refused where an object is.
        case hold
        /// It is carried out all the same.
        case ignored
        /// The request is refused for its header.
        case unknown
    }

    private enum State: Equatable {
        case open
        case asking
        case known(Answer)
    }

    private let witness: ObjectName?
    private let monitor = Monitor()
    private var state = State.open

    init(witness: ObjectName?) {
        self.witness = witness
    }

    /// Whether the store refuses to overwrite. Where nobody knows, `learn` asks it; nil: it could not be asked now.
    func hold(learning learn: (ObjectName) -> Answer?) -> Bool {
        guard let witness else { return false }
        let mustAsk = monitor.withLock {
            guard state == .open else { return false }
            state = .asking
            return true
        }
        guard mustAsk else { return monitor.withLock { state == .known(.hold) } }
        let answer = learn(witness)
        monitor.withLock { if state == .asking { state = answer.map { .known($0) } ?? .open } }
        return answer == .hold
    }

    /// Whether a put may carry a condition.
    var areUnderstood: Bool { monitor.withLock { state != .known(.unknown) } }

    func note(_ answer: Answer) { monitor.withLock { state = .known(answer) } }
}
