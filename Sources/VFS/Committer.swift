import FileModel
import Glibc
import LinuxSystem
import Synchronization

/// The thread that commits: at most 100 ms after a change, and at once for whoever waits for durability.
///
/// Invariants
/// - `changes` grows with every change; `durable` is a value it had before a commit that is on disk.
/// - Only the thread runs `commit`, so two commits never meet.
// SAFETY: `changes` is atomic, every other mutable member is guarded by `monitor`.
final class Committer: @unchecked Sendable {
    /// The longest time a change stays uncommitted: what a crash of the process may cost.
    private static let interval = 0.1

    private let changes = Atomic<UInt64>(0)
    private let isScheduled = Atomic<Bool>(false)
    private let monitor = Monitor()
    private var durable: UInt64 = 0
    private var waiters = 0
    private var isStopping = false
    /// Commits that failed. One that failed is tried again for each who waits.
    private var failures: UInt64 = 0
    private var lastFailure = Errno.io
    private var thread: WorkerThread?

    /// `commit(mustBeDurable)` makes all that happened before it one step.
    func start(commit: @escaping @Sendable (_ mustBeDurable: Bool) -> Errno?) {
        thread = WorkerThread(name: "berth-commit") { self.run(commit) }
    }

    /// Grows with every change.
    var changeCount: UInt64 { changes.load(ordering: .acquiring) }

    @inline(__always)
    func noteChange() {
        changes.wrappingAdd(1, ordering: .releasing)
        if !isScheduled.exchange(true, ordering: .acquiringAndReleasing) {
            monitor.lock()
            monitor.signalAll()
            monitor.unlock()
        }
    }

    /// Returns once every change before the call is on disk.
    func synchronize() throws(Errno) {
        let wanted = changes.load(ordering: .acquiring)
        monitor.lock()
        defer { monitor.unlock() }
        waiters += 1
        monitor.signalAll()
        defer { waiters -= 1 }
        let before = failures
        while durable < wanted && failures == before && !isStopping { monitor.wait() }
        if failures != before && durable < wanted { throw lastFailure }
    }

    func stop() {
        monitor.lock()
        isStopping = true
        monitor.signalAll()
        monitor.unlock()
        thread?.join()
        thread = nil
    }

    private func run(_ commit: @Sendable (_ mustBeDurable: Bool) -> Errno?) {
        var isLast = false
        while !isLast {
            monitor.lock()
            waitForWork()
            isLast = isStopping
            let mustBeDurable = waiters > 0 || isLast
            monitor.unlock()
            let reached = changes.load(ordering: .acquiring)
            isScheduled.store(false, ordering: .releasing)
            let failure = commit(mustBeDurable)
            monitor.lock()
            if let failure {
                failures += 1
                lastFailure = failure
            } else if mustBeDurable {
                durable = max(durable, reached)
            }
            monitor.signalAll()
            monitor.unlock()
        }
    }

    /// Under the monitor: until someone waits, or a change is old enough, or the end.
    private func waitForWork() {
        func isWanted() -> Bool { isStopping || (waiters > 0 && durable < changes.load(ordering: .acquiring)) }
        while !isWanted() && !isScheduled.load(ordering: .acquiring) { monitor.wait() }
        if !isWanted() { _ = monitor.wait(seconds: Self.interval) }
    }
}
