import LinuxSystem
import VFS

/// What one session's kernel must still be told, in order.
///
/// Invariants
/// - At most `capacity` changes wait. A request that finds it full waits a moment and then gives up: two full
///   queues that wait for each other must not stop the volume.
// SAFETY: every member is guarded by `monitor`.
final class InvalidationQueue: @unchecked Sendable {
    /// A few megabytes of memory, and more than a thousand requests can change.
    private static let capacity = 65536
    private static let patience = 1.0

    private let monitor = Monitor()
    private var waiting: [Invalidation] = []
    private var isClosed = false

    func add(_ changes: [Invalidation]) {
        monitor.lock()
        defer { monitor.unlock() }
        if waiting.count >= Self.capacity { _ = monitor.wait(seconds: Self.patience) }
        guard !isClosed, waiting.count < Self.capacity else { return }
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

    func close() {
        monitor.lock()
        isClosed = true
        monitor.signalAll()
        monitor.unlock()
    }
}
