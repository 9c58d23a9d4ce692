import LinuxSystem
import VFS

/// What one session's kernel must still be told, in order.
///
/// Invariants
/// - No change is lost: what a kernel cached while the volume had one session stays valid without a bound.
/// - A request that finds `capacity` changes waiting waits a moment before it adds its own: two full queues that wait
///   for each other must not stop the volume, and what is over the capacity grows by a few changes a second.
// SAFETY: every member is guarded by `monitor`.
final class InvalidationQueue: @unchecked Sendable {
    /// A few megabytes of memory, and more than a thousand requests can change.
    private static let capacity = 65536
    private static let patience = Duration.seconds(1)

    private let monitor = Monitor()
    private var waiting: [Invalidation] = []
    private var isClosed = false

    func add(_ changes: [Invalidation], beforeWaiting: () -> Void) {
        monitor.lock()
        defer { monitor.unlock() }
        if waiting.count >= Self.capacity {
            beforeWaiting()
            let deadline = Deadline(after: Self.patience)
            while waiting.count >= Self.capacity && !isClosed && monitor.wait(until: deadline) {}
        }
        guard !isClosed else { return }
        waiting.append(contentsOf: changes)
        monitor.signalAll()
    }

    /// All that waits, oldest first; nil at the end. Blocks while there is nothing.
    func nextBatch() -> [Invalidation]? {
        monitor.lock()
        defer { monitor.unlock() }
        while waiting.isEmpty && !isClosed { monitor.wait() }
        guard !isClosed else { return nil }
        defer { waiting = [] }
        monitor.signalAll()
        return waiting
    }

    var hasClosed: Bool { monitor.withLock { isClosed } }

    func close() {
        monitor.lock()
        isClosed = true
        monitor.signalAll()
        monitor.unlock()
    }
}
