import FileModel
import LinuxSystem

/// Something to fetch. What it answers is done next, before what was asked for after it: a pack answers its parts.
struct FetchJob: Sendable {
    let run: @Sendable () -> [FetchJob]
}

/// Threads that fetch what nobody waits for yet.
///
/// Invariants
/// - A pack is in the queue once, until its parts are.
/// - The queue is in the order of the packs' asking, the parts of one in their own order.
/// - Each thread holds the bytes of one request: `threadLimit` times what `CachedPack.runLimit` says, 32 MiB, is the
///   memory of a queue. Packs have one, imported objects another. What is fetched lies in the cache's files.
// SAFETY: every mutable member is guarded by `monitor`.
final class FetchQueue: @unchecked Sendable {
    private struct Entry {
        /// Nil: a part of a pack.
        var id: PackID?
        var ticket: UInt64
        var job: FetchJob
    }

    private static let threadLimit = 8
    /// Past it nothing is added: what is read later is asked for again.
    private static let queueLimit = 256

    private let monitor = Monitor()
    private var queue: [Entry] = []
    private var lastTicket: UInt64 = 0
    private var threads = 0
    private var idle = 0
    private var isStopping = false

    func add(_ id: PackID, _ job: FetchJob) {
        monitor.lock()
        defer { monitor.unlock() }
        guard !isStopping, queue.count < Self.queueLimit, !queue.contains(where: { $0.id == id }) else { return }
        lastTicket += 1
        queue.append(Entry(id: id, ticket: lastTicket, job: job))
        wake(1)
    }

    /// Nothing is begun any more; what runs goes on to its end.
    func stop() {
        monitor.lock()
        isStopping = true
        queue.removeAll()
        monitor.signalAll()
        monitor.unlock()
    }

    /// Under the monitor.
    private func wake(_ count: Int) {
        for _ in 0..<max(0, min(count - idle, Self.threadLimit - threads)) {
            threads += 1
            _ = WorkerThread(name: "berth-fetch") { self.run() }
        }
        monitor.signalAll()
    }

    private func run() {
        while let entry = next() {
            let parts = entry.job.run()
            guard !parts.isEmpty else { continue }
            monitor.lock()
            let place = queue.firstIndex { $0.ticket > entry.ticket } ?? queue.endIndex
            if !isStopping {
                queue.insert(contentsOf: parts.map { Entry(id: nil, ticket: entry.ticket, job: $0) }, at: place)
                // This thread takes one itself.
                wake(parts.count - 1)
            }
            monitor.unlock()
        }
    }

    private func next() -> Entry? {
        monitor.lock()
        defer { monitor.unlock() }
        idle += 1
        while queue.isEmpty && !isStopping { monitor.wait() }
        idle -= 1
        return queue.isEmpty ? nil : queue.removeFirst()
    }
}
