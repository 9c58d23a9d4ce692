import FileModel
import LinuxSystem

/// Threads that fetch what nobody waits for yet.
///
/// Invariants
/// - A pack is in the queue once, and taken out before it is fetched.
/// - There are fewer threads than the store has connections, so that who waits is never behind who does not.
// SAFETY: every mutable member is guarded by `monitor`.
final class FetchQueue: @unchecked Sendable {
    private static let threadLimit = 4
    /// Past it nothing is added: what is read later is asked for again.
    private static let queueLimit = 256

    private let monitor = Monitor()
    private var queue: [(id: PackID, job: @Sendable () -> Void)] = []
    private var threads = 0
    private var idle = 0
    private var isStopping = false

    func add(_ id: PackID, _ job: @escaping @Sendable () -> Void) {
        monitor.lock()
        defer { monitor.unlock() }
        guard !isStopping, queue.count < Self.queueLimit, !queue.contains(where: { $0.id == id }) else { return }
        queue.append((id, job))
        if idle == 0 && threads < Self.threadLimit {
            threads += 1
            _ = WorkerThread(name: "berth-fetch") { self.run() }
        }
        monitor.signalOne()
    }

    /// Nothing is begun any more; what runs goes on to its end.
    func stop() {
        monitor.lock()
        isStopping = true
        queue.removeAll()
        monitor.signalAll()
        monitor.unlock()
    }

    private func run() {
        while true {
            monitor.lock()
            idle += 1
            while queue.isEmpty && !isStopping { monitor.wait() }
            idle -= 1
            let next = queue.isEmpty ? nil : queue.removeFirst()
            monitor.unlock()
            guard let next else { return }
            next.job()
        }
    }
}
