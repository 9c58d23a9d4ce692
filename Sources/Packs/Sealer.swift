import CLinux
import FileModel
import Glibc
import LinuxSystem
import ObjectStorage

/// The thread that turns full staged packs into objects of the store.
///
/// Invariants
/// - A pack is in `queue` at most once and leaves it only when it is in the store or found empty.
/// - A put that failed is tried again, with growing pauses, for as long as the process lives: staging is the
///   only copy.
// SAFETY: every mutable member is guarded by `monitor`.
final class Sealer: @unchecked Sendable {
    /// A quarter of what a request thread gets where cores are short; not less, or a full staging area would hold
    /// writers up on a busy node.
    private static let niceness: Int32 = 5

    /// A full pack rests this long, as long as no more than so many do: what is written in a burst is compressed after it.
    private static let restingTime = Duration.seconds(2)
    private static let restingLimit = 16

    private let monitor = Monitor()
    private var queue: [(pack: StagedPack, due: ContinuousClock.Instant)] = []
    private var isStopping = false
    /// Somebody waits for the queue to become empty.
    private var drains = 0
    private var lastFailure: String?
    private var thread: WorkerThread?

    /// `process` is asked to store one pack and answers why it could not.
    /// `report` takes a line when the store begins to refuse packs, and one when it takes them again.
    func start(_ process: @escaping @Sendable (StagedPack) -> String?, report: @escaping @Sendable (String) -> Void) {
        thread = WorkerThread(name: "berth-sealer") { self.run(process, report) }
    }

    func enqueue(_ pack: StagedPack) {
        monitor.lock()
        queue.append((pack, .now + Self.restingTime))
        monitor.signalAll()
        monitor.unlock()
    }

    /// Waits until staging has room for another pack.
    func waitForRoom(_ beforeWaiting: () -> Void) {
        monitor.lock()
        defer { monitor.unlock() }
        if queue.count > PackStore.sealQueueLimit { beforeWaiting() }
        while queue.count > PackStore.sealQueueLimit && !isStopping { monitor.wait() }
    }

    /// Waits until all that was enqueued is stored. Answers the last failure when it is not by then.
    func drain(seconds: Double) -> String? {
        monitor.lock()
        defer { monitor.unlock() }
        drains += 1
        defer { drains -= 1 }
        monitor.signalAll()
        // Of the whole wait: each try that fails may wake us.
        let deadline = Deadline(after: .seconds(seconds))
        while !queue.isEmpty && monitor.wait(until: deadline) {}
        return queue.isEmpty ? nil : lastFailure ?? "the store did not take \(queue.count) packs in time"
    }

    func stop() {
        monitor.lock()
        isStopping = true
        monitor.signalAll()
        monitor.unlock()
        thread?.join()
        thread = nil
    }

    private func run(_ process: @Sendable (StagedPack) -> String?, _ report: @Sendable (String) -> Void) {
        // Requests first: sealing is work for moments when nobody asks for anything.
        setpriority(__priority_which_t(PRIO_PROCESS.rawValue), id_t(berth_gettid()), Self.niceness)
        var pause = 0.1
        while let pack = next() {
            pack.seal()
            let failure = process(pack)
            monitor.lock()
            let before = lastFailure
            lastFailure = failure
            let waiting = queue.count
            let first = queue.removeFirst()
            // To the end: a pack that cannot be stored must not hold up others that can, or that are empty by now.
            if failure != nil { queue.append(first) }
            monitor.signalAll()
            monitor.unlock()
            if let failure {
                if before == nil {
                    report("the store takes no packs: \(failure); \(waiting) are kept in staging and tried again")
                }
                waitBeforeRetry(pause)
                // At most 30 s, so that a store that is back is used soon.
                pause = min(pause * 2, 30)
            } else {
                if before != nil { report("the store takes packs again") }
                pause = 0.1
            }
        }
    }

    /// Waits, whatever is enqueued meanwhile, but not past the end.
    private func waitBeforeRetry(_ seconds: Double) {
        let deadline = Deadline(after: .seconds(seconds))
        monitor.lock()
        defer { monitor.unlock() }
        while !isStopping && monitor.wait(until: deadline) {}
    }

    private func next() -> StagedPack? {
        monitor.lock()
        defer { monitor.unlock() }
        while !isStopping {
            guard let first = queue.first else {
                monitor.wait()
                continue
            }
            if drains > 0 || queue.count > Self.restingLimit || first.due <= .now { return first.pack }
            _ = monitor.wait(seconds: ContinuousClock.now.duration(to: first.due) / .seconds(1))
        }
        return nil
    }
}
