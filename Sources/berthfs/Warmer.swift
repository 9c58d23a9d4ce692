import Control
import FileModel
import Glibc
import LinuxSystem
import Packs
import VFS

/// Brings packs near before somebody waits for them, and lets go of them. It never goes through FUSE: which packs hold a
/// path is in the metadata.
///
/// Invariants
/// - A job's `progress` only grows; its queue holds packs in order, each once.
/// - A job whose client has gone silent ends, unless it is in the background.
// SAFETY: every mutable member is guarded by `monitor`.
final class Warmer: @unchecked Sendable {
    private struct Job {
        var progress: WarmProgress
        var queue: ArraySlice<PackID>
        var packs: [PackID]
        var threads: Int
        var order: WarmOrder
        var lastAsked = ContinuousClock.now
    }

    /// At once; a node has few users of a volume.
    private static let jobLimit = 8
    /// More would be more than the store has connections for.
    static let threadLimit = 16
    private static let silence = Duration.seconds(30)
    /// What one request waits for the store at most.
    static let longestStore = 60.0
    private static let failureLimit = 5
    private static let listLimit = 256 << 20

    private let volume: String
    private let fileSystem: FileSystem
    private let packs: PackStore
    private let monitor = Monitor()
    private var jobs: [Int: Job] = [:]
    private var lastJob = 0
    private var stores = 0

    init(volume: String, fileSystem: FileSystem, packs: PackStore) {
        self.volume = volume
        self.fileSystem = fileSystem
        self.packs = packs
    }

    /// Whether the server is needed though it may have no session.
    var isBusy: Bool { monitor.withLock { stores > 0 || jobs.values.contains { !$0.progress.isOver } } }

    // MARK: Warming

    func start(_ order: WarmOrder, list: consuming FileDescriptor?) throws(SystemFailure) -> WarmProgress {
        let packs = try packsToLookAt(order, list)
        monitor.lock()
        defer { monitor.unlock() }
        jobs = jobs.filter { !$0.value.progress.isOver || $0.value.lastAsked.duration(to: .now) < Self.silence }
        guard jobs.values.count(where: { !$0.progress.isOver }) < Self.jobLimit else {
            throw SystemFailure(
                "volume \"\(volume)\"", "is being warmed by \(jobs.count) commands", fix: "wait for one of them",
                errno: .busy, status: .temporaryFailure)
        }
        lastJob += 1
        let number = lastJob
        let threads = max(1, min(order.threads, Self.threadLimit, packs.count))
        let progress = WarmProgress(job: number, packs: packs.count)
        jobs[number] = Job(progress: progress, queue: packs[...], packs: packs, threads: threads, order: order)
        guard !packs.isEmpty else { return progress }
        for _ in 0..<threads { _ = WorkerThread(name: "berth-warm") { self.run(number) } }
        return progress
    }

    func progress(_ number: Int) throws(SystemFailure) -> WarmProgress {
        monitor.lock()
        defer { monitor.unlock() }
        guard let job = jobs[number] else {
            throw SystemFailure(
                "volume \"\(volume)\"", "has no warm-up \(number)", fix: "start it again", status: .noInput)
        }
        jobs[number]?.lastAsked = .now
        return job.progress
    }

    /// What an order is about. Pins first: what is fetched must not be pushed out by what is fetched next.
    private func packsToLookAt(
        _ order: WarmOrder, _ list: consuming FileDescriptor?
    ) throws(SystemFailure) -> [PackID] {
        switch order.purpose {
        case .check: return try find(order.selection, list).filter { $0.state == .stored }.map(\.id)
        case .fetch:
            let found = try find(order.selection, list)
            // Those on their way, too: they become copies.
            packs.ask(for: found.map(\.id))
            return found.filter { $0.state == .stored }.map(\.id)
        case .verify: return packs.cachedPacks.filter { !$0.isForeign }.sorted()
        case .pin:
            let found = try find(order.selection, list)
            guard !found.contains(where: \.id.isForeign) else {
                throw SystemFailure(
                    "volume \"\(volume)\"", "holds imported data there, which cannot be pinned",
                    fix: "warm it without --pin, or pin other paths", errno: .notSupported, status: .unavailable)
            }
            do {
                try packs.pin(found)
            } catch {
                throw SystemFailure(
                    "volume \"\(volume)\"", "\(error)",
                    fix: "unpin others (`berth cache unpin`), or raise cache-size (`berth volume set`)",
                    errno: .noSpace, status: .cannotCreate)
            }
            return found.map(\.id)
        }
    }

    private func run(_ number: Int) {
        while let (pack, purpose) = next(number) {
            var fetched = 0
            var verdict = CopyVerdict()
            var failure: String?
            do {
                switch purpose {
                case .fetch, .pin: fetched = try packs.warm(pack)
                case .verify: verdict = try packs.verify(pack)
                case .check: break
                }
            } catch {
                failure = "pack \(pack): \(error)"
            }
            if verdict.badFrames > 0 { failure = "pack \(pack): \(verdict.badFrames) frames were damaged; dropped" }
            let isWhole = purpose == .verify ? verdict.badFrames + verdict.missingFrames == 0 : packs.isWarm(pack)
            monitor.lock()
            jobs[number]?.progress.done += 1
            jobs[number]?.progress.local += failure == nil && isWhole ? 1 : 0
            jobs[number]?.progress.fetchedBytes += UInt64(fetched)
            jobs[number]?.progress.provedFrames += UInt64(verdict.provedFrames)
            jobs[number]?.progress.damaged += verdict.badFrames > 0 ? 1 : 0
            if let failure { note(failure, number) }
            monitor.unlock()
        }
        threadEnded(number)
    }

    private func next(_ number: Int) -> (PackID, WarmOrder.Purpose)? {
        monitor.lock()
        defer { monitor.unlock() }
        guard let job = jobs[number] else { return nil }
        if !job.order.inBackground, job.lastAsked.duration(to: .now) > Self.silence { jobs[number]?.queue = [] }
        guard let pack = jobs[number]?.queue.popFirst() else { return nil }
        return (pack, job.order.purpose)
    }

    /// Under the monitor.
    private func note(_ failure: String, _ number: Int) {
        guard jobs[number]?.progress.failures.count ?? 0 < Self.failureLimit else { return }
        jobs[number]?.progress.failures.append(failure)
    }

    /// The last thread looks once more: what came first may have been pushed out by what came last.
    private func threadEnded(_ number: Int) {
        monitor.lock()
        jobs[number]?.threads -= 1
        let job = jobs[number]
        monitor.unlock()
        guard let job, job.threads == 0 else { return }
        let local = job.order.purpose == .verify ? job.progress.local : job.packs.count { packs.isWarm($0) }
        monitor.lock()
        defer { monitor.unlock() }
        if local < job.progress.local {
            note("the cache has not room for all of it at once; make the volume's cache-size larger", number)
        }
        jobs[number]?.progress.local = local
        jobs[number]?.progress.isOver = true
    }

    // MARK: Letting go, and storing

    /// Pinned packs stay, and are counted, but for `pinnedToo`.
    func evict(
        _ selection: DataSelection, list: consuming FileDescriptor?, pinnedToo: Bool
    ) throws(SystemFailure) -> (packs: Int, bytes: UInt64, pinned: Int) {
        let found = selection.isAll ? packs.cachedPacks : try find(selection, list).map(\.id)
        let pinned = Set(found.filter { packs.isPinned($0) })
        if pinnedToo { _ = packs.unpin(pinned) }
        let sizes = found.filter { pinnedToo || !pinned.contains($0) }.map { packs.evict($0) }.filter { $0 > 0 }
        return (sizes.count, sizes.reduce(0) { $0 + UInt64($1) }, pinnedToo ? 0 : pinned.count)
    }

    func unpin(_ selection: DataSelection, list: consuming FileDescriptor?) throws(SystemFailure) -> Int {
        packs.unpin(selection.isAll ? nil : Set(try find(selection, list).map(\.id)))
    }

    func cacheReport() -> CacheReport {
        let state = packs.cacheState
        return CacheReport(
            directory: state.directory, bytes: UInt64(state.bytes), limit: UInt64(state.limits.bytes),
            unasked: state.limits.unasked.map { UInt64($0) }, free: UInt64(state.limits.free), packs: state.packs,
            pinnedPacks: state.pinnedPacks,
            pinnedBytes: UInt64(state.pinnedBytes), hits: state.hits, misses: state.misses,
            space: (try? fileSystem.spaceTaken()).map { VolumeSpace($0) })
    }

    /// Seals what is open and waits for the store to take it, and then for what `copy` answers.
    func store(seconds: Double, then copy: () -> MetadataCopyState?) throws(SystemFailure) -> StagedTotal {
        do {
            try fileSystem.synchronize()
        } catch {
            throw SystemFailure("volume \"\(volume)\"", "cannot be synchronized", error)
        }
        monitor.withLock { stores += 1 }
        defer { monitor.withLock { stores -= 1 } }
        let failure = packs.flush(seconds: min(max(seconds, 0), Self.longestStore))
        let metadata = copy()
        let left = packs.stagedTotal()
        var total = StagedTotal(packs: left.packs, bytes: UInt64(left.bytes), failure: left.packs == 0 ? nil : failure)
        total.metadata = metadata
        return total
    }

    // MARK: Paths

    /// In order, each once.
    private func find(
        _ selection: DataSelection, _ list: consuming FileDescriptor?
    ) throws(SystemFailure) -> [PackRecord] {
        var paths = selection.paths
        if selection.hasList {
            guard let file = list.take() else {
                throw SystemFailure("the list of paths", "did not come", status: .dataError)
            }
            do {
                paths += try file.readAll(limit: Self.listLimit).split(separator: 0x0A).map(Array.init)
            } catch {
                throw SystemFailure("the list of paths", "cannot be read", error, status: .noInput)
            }
        }
        var found: [PackID: PackRecord] = [:]
        for path in paths {
            do {
                let names = try path.split(separator: 0x2F).map { part throws(Errno) in try FileName(Array(part)) }
                let needed = try fileSystem.needed(below: names)
                for record in needed.packs { found[record.id] = record }
                // A part of an object that was imported is warmed and evicted as a pack is.
                for id in needed.foreign { found[id] = PackRecord(id: id, state: .stored) }
            } catch {
                let text = String(decoding: path, as: UTF8.self)
                throw SystemFailure("\(volume):/\(text)", "cannot be found", error, status: .noInput)
            }
        }
        return found.values.sorted { $0.id < $1.id }
    }
}
