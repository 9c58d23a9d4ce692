import FileModel
import LinuxSystem
import ObjectStorage

/// Full staged packs on their way to the store: what is next, and who waits for it. `SealerThreads` does the work.
///
/// Invariants
/// - A pack is in `queue` once, from `enqueue` until it is in the store or found empty. The oldest come first; one whose
///   put failed goes to the end.
/// - Objects that are made and not yet put have `memoryLimit` bytes together at most; `held` counts them, and a whole
///   pack for each that is being made.
/// - A put that failed is tried again, with growing pauses, for as long as the process lives: staging is the only copy.
///   Until one goes well there is one at a time, and nothing more is compressed meanwhile.
// SAFETY: every mutable member, and those of the jobs, are guarded by `monitor`.
final class Sealer: @unchecked Sendable {
    enum State {
        case waiting
        case compressing
        case compressed([UInt8])
        case sending
    }

    /// A pack in the queue.
    final class Job {
        let pack: StagedPack
        let due: ContinuousClock.Instant
        /// Somebody waits for this one.
        var isUrgent = false
        var state = State.waiting

        init(_ pack: StagedPack, due: ContinuousClock.Instant) {
            self.pack = pack
            self.due = due
        }
    }

    /// A full pack rests this long, as long as no more than so many do: what is written in a burst is compressed after it.
    /// Where the store is far away, its network would stand idle meanwhile: packs go at once.
    private static let restingTime = Duration.seconds(2)
    private static let restingLimit = 16
    /// Objects in memory: seven of incompressible packs and an eighth being made.
    private static let memoryLimit = 136 << 20
    private static let firstPause = 0.1
    /// Short enough that a store that is back is used soon.
    private static let longestPause = 30.0

    let monitor = Monitor()
    private var queue: [Job] = []
    private var held = 0
    private(set) var sending = 0
    private(set) var isStopping = false
    /// Writers and those who wait for the store are let go.
    private var isEnding = false
    /// Those who wait for the queue to become empty.
    private var drains = 0
    private var lastFailure: String?
    private var pause = firstPause
    private var nextTry = ContinuousClock.now

    private let mayRest: Bool

    // MARK: For the owner

    init(mayRest: Bool) {
        self.mayRest = mayRest
    }

    func enqueue(_ pack: StagedPack) {
        monitor.lock()
        queue.append(Job(pack, due: mayRest ? .now + Self.restingTime : .now))
        monitor.signalAll()
        monitor.unlock()
    }

    /// Waits until staging has room for another pack, or the end has begun: then staging takes what was asked for
    /// already, and the session's end brings no more.
    func waitForRoom(_ beforeWaiting: () -> Void) {
        monitor.lock()
        defer { monitor.unlock() }
        if queue.count > PackStore.sealQueueLimit && !isEnding { beforeWaiting() }
        while queue.count > PackStore.sealQueueLimit && !isEnding { monitor.wait() }
    }

    /// Waits until all that was enqueued is stored, or with `untilEnd` the end has begun. Answers the last failure when it
    /// is not by then.
    func drain(seconds: Double, untilEnd: Bool) -> String? {
        monitor.lock()
        defer { monitor.unlock() }
        drains += 1
        defer { drains -= 1 }
        if !untilEnd {
            // The last chance of this process: a store that is back is not found out after a pause that has grown.
            nextTry = .now
            pause = Self.firstPause
        }
        monitor.signalAll()
        // Of the whole wait: each try that fails may wake us.
        let deadline = Deadline(after: .seconds(seconds))
        while !queue.isEmpty && !(untilEnd && isEnding) && monitor.wait(until: deadline) {}
        return queue.isEmpty ? nil : lastFailure ?? "the store did not take \(queue.count) packs in time"
    }

    /// As `drain`, for some packs, which go before others.
    func drain(_ ids: Set<PackID>, seconds: Double) -> String? {
        monitor.lock()
        defer { monitor.unlock() }
        for job in queue where ids.contains(job.pack.id) { job.isUrgent = true }
        monitor.signalAll()
        let deadline = Deadline(after: .seconds(seconds))
        func isQueued() -> Bool { queue.contains { ids.contains($0.pack.id) } }
        while isQueued() && !isEnding && monitor.wait(until: deadline) {}
        guard isQueued() else { return nil }
        if isEnding { return "the volume's server is ending" }
        return lastFailure ?? "the store did not take it within \(Int(seconds)) s"
    }

    /// From now on nobody waits for room, or for single packs.
    func letGo() {
        monitor.lock()
        isEnding = true
        monitor.signalAll()
        monitor.unlock()
    }

    /// Begins nothing any more.
    func stop() {
        monitor.lock()
        isStopping = true
        isEnding = true
        monitor.signalAll()
        monitor.unlock()
    }

    /// The last refusal of the store; nil since it took a pack.
    var trouble: String? {
        monitor.withLock { lastFailure.map { "\($0); \(queue.count) packs are kept in staging and tried again" } }
    }

    // MARK: For the threads

    /// The next pack to compress; nil at the end.
    func nextToCompress() -> Job? {
        monitor.lock()
        defer { monitor.unlock() }
        while !isStopping {
            let now = ContinuousClock.now
            guard held == 0 || (lastFailure == nil && held + PackFormat.maximumRawBytes <= Self.memoryLimit),
                let first = queue.first(where: { $0.isWaiting && $0.isUrgent }) ?? queue.first(where: \.isWaiting)
            else {
                monitor.wait()
                continue
            }
            let isDue = drains > 0 || queue.count > Self.restingLimit || first.isUrgent || first.due <= now
            let start = max(isDue ? now : first.due, lastFailure == nil ? now : nextTry)
            guard start > now else {
                first.state = .compressing
                held += PackFormat.maximumRawBytes
                return first
            }
            _ = monitor.wait(seconds: now.duration(to: start) / .seconds(1))
        }
        return nil
    }

    /// `object` is nil where nothing of the pack was left to store.
    func compressed(_ job: Job, _ object: [UInt8]?) {
        monitor.lock()
        held -= PackFormat.maximumRawBytes
        if let object {
            held += object.count
            job.state = .compressed(object)
        } else {
            queue.removeAll { $0 === job }
        }
        monitor.signalAll()
        monitor.unlock()
    }

    /// The next object to put; nil at the end.
    func nextToSend() -> (Job, [UInt8])? {
        monitor.lock()
        defer { monitor.unlock() }
        while !isStopping {
            let now = ContinuousClock.now
            guard lastFailure == nil || sending == 0,
                let (job, object) = firstCompressed(where: \.isUrgent) ?? firstCompressed(where: { _ in true })
            else {
                monitor.wait()
                continue
            }
            guard lastFailure != nil, nextTry > now else {
                job.state = .sending
                sending += 1
                return (job, object)
            }
            _ = monitor.wait(seconds: now.duration(to: nextTry) / .seconds(1))
        }
        return nil
    }

    /// Under the monitor.
    private func firstCompressed(where isWanted: (Job) -> Bool) -> (Job, [UInt8])? {
        for job in queue where isWanted(job) {
            if case .compressed(let object) = job.state { return (job, object) }
        }
        return nil
    }

    func sent(_ job: Job, bytes: Int) -> Change? {
        monitor.lock()
        defer { monitor.unlock() }
        sending -= 1
        held -= bytes
        queue.removeAll { $0 === job }
        defer {
            lastFailure = nil
            pause = Self.firstPause
        }
        monitor.signalAll()
        return lastFailure == nil ? nil : .recovered
    }

    /// A pack could not be compressed (`bytes` nil) or put.
    func failed(_ job: Job, bytes: Int?, _ cause: String) -> Change? {
        monitor.lock()
        defer { monitor.unlock() }
        if bytes != nil { sending -= 1 }
        held -= bytes ?? PackFormat.maximumRawBytes
        job.state = .waiting
        // To the end: a pack that cannot be stored must not hold up others that can, or that are empty by now.
        queue.removeAll { $0 === job }
        queue.append(job)
        let isNew = lastFailure == nil
        // Of several that were under way together, one counts.
        if isNew || nextTry <= .now {
            nextTry = .now + .seconds(pause)
            pause = min(pause * 2, Self.longestPause)
        }
        lastFailure = cause
        monitor.signalAll()
        return isNew ? .refused(waiting: queue.count) : nil
    }

    /// What the volume's user must know.
    enum Change {
        case refused(waiting: Int)
        case recovered
    }
}

extension Sealer.Job {
    var isWaiting: Bool {
        if case .waiting = state { return true }
        return false
    }
}
