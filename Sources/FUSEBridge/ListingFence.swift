import LinuxSystem

/// Lets the notice of a changed directory follow the answers to listings that were read before the change: a kernel keeps
/// what it is told of a directory for good, also what comes just after the notice.
///
/// Invariants
/// - A listing is in one of two passes, the current one when it began. One thread, that of the notices, turns them.
// SAFETY: every mutable member is guarded by `monitor`.
final class ListingFence: @unchecked Sendable {
    /// A listing takes milliseconds, but where a snapshot is opened for it; then its directory is not the changed one.
    private static let patience = Duration.seconds(1)

    private let monitor = Monitor()
    private var current = 0
    private var underWay = [0, 0]

    /// A listing begins. Give the answer to `leave`.
    func enter() -> Int {
        monitor.withLock {
            underWay[current] += 1
            return current
        }
    }

    /// The kernel has its answer.
    func leave(_ pass: Int) {
        monitor.withLock {
            underWay[pass] -= 1
            if underWay[pass] == 0 && pass != current { monitor.signalAll() }
        }
    }

    /// Returns when the listings that had begun are over.
    func passEarlier() {
        monitor.lock()
        defer { monitor.unlock() }
        let earlier = current
        current = 1 - current
        let deadline = Deadline(after: Self.patience)
        while underWay[earlier] > 0 && monitor.wait(until: deadline) {}
    }
}
