import Control
import FileModel
import Glibc
import LinuxSystem
import Logging
import MetadataCopies
import ObjectStorage
import Packs
import VFS
import Volumes

/// The thread that copies a volume's metadata into its store: at an interval while it changes, when somebody asks, and when the
/// volume is closed.
///
/// Invariants
/// - Data goes first: what a copy names is in the store, as far as the store took it.
/// - `<volume>/copied` is there only while the closed database, and the record whose checksum it holds, are what the newest copy has.
/// - Each copy has an errand of its own: the end of what programs read ends no copy.
// SAFETY: `writer` belongs to the thread, and after `stop` to whoever called it; the rest is guarded by `monitor` or constant.
final class MetadataCopier: @unchecked Sendable {
    /// What storing packs may take before each copy. A store that is away is tried again at the next interval.
    private static let storeSeconds = 60.0

    private let volume: OpenVolume
    private let paths: VolumePaths
    private let logger: Logger
    private let writer: CopyWriter
    /// Of the copies while the volume is served.
    private let errand = StoreErrand()
    private let monitor = Monitor()
    /// Nil: none are made.
    private var interval: Duration?
    private var record: [UInt8]
    private var isStopping = false
    private var thread: WorkerThread?
    /// Somebody wants one now, and gives the data so many seconds before it.
    private var askedSeconds: Double?
    /// The count of changes that the newest copy has; nil: an older process's, which may be missing.
    private var copied: UInt64?
    private var copiedRecord: [UInt8]?
    /// Why the last one that was due could not be made; nil while it is being made, too.
    private var failure: String?
    /// The log has it.
    private var hasReported = false

    /// Nil where the volume never makes copies: its store is on the same disk.
    init?(_ record: VolumeRecord, _ volume: OpenVolume, _ paths: VolumePaths, logger: Logger) throws(SystemFailure) {
        guard record.options.store != nil else { return nil }
        self.volume = volume
        self.paths = paths
        self.logger = logger
        interval = record.copyInterval
        self.record = try AtomicFile.read(paths.record) ?? []
        writer = CopyWriter(store: volume.store, record: self.record, generation: try volume.generation(paths))
        let mark = try AtomicFile.read(paths.copiedMark)
        if mark != nil { unlink(paths.copiedMark) }
        if mark == Self.mark(self.record) {
            copied = volume.fileSystem.changeCount
            copiedRecord = self.record
        }
        tellCollector()
    }

    private static func mark(_ record: [UInt8]) -> [UInt8] {
        Array("\(record.withUnsafeBytes { PackFormat.checksum($0) })\n".utf8)
    }

    /// Packs that nobody needs stay until a copy knows it. Under the monitor, or before the thread is there.
    private func tellCollector() { volume.fileSystem.noteCopied(interval == nil ? .max : copied ?? 0) }

    /// Whether the volume makes copies.
    var isOn: Bool { monitor.withLock { interval != nil } }

    /// Takes over what changed in the volume's record, which is in the copies, too.
    func reload(_ new: VolumeRecord) throws(SystemFailure) {
        let bytes = try AtomicFile.read(paths.record) ?? []
        monitor.lock()
        defer { monitor.unlock() }
        record = bytes
        guard interval != new.copyInterval else { return }
        interval = new.copyInterval
        if interval == nil { volume.fileSystem.noteCopyTrouble(nil) }
        tellCollector()
        monitor.signalAll()
    }

    // MARK: While the volume is served

    func start() {
        thread = WorkerThread(name: "berth-copy") { self.run() }
    }

    /// Begins no copy any more, and ends the one that is under way: before those who wait for the store are let go.
    func prepareToStop() {
        errand.finish()
        monitor.lock()
        isStopping = true
        monitor.signalAll()
        monitor.unlock()
    }

    func stop() {
        prepareToStop()
        thread?.join()
        thread = nil
    }

    /// Begins a copy of all that was changed until now, or says that there is one. Answers what `state` wants to know.
    func ask(_ order: CopyOrder) -> UInt64 {
        let change = order.change ?? volume.fileSystem.changeCount
        monitor.lock()
        defer { monitor.unlock() }
        guard interval != nil, order.change == nil, !holds(change) else { return change }
        askedSeconds = min(max(order.dataSeconds ?? Self.storeSeconds, 0), Self.storeSeconds)
        monitor.signalAll()
        return change
    }

    /// Waits for a copy that was asked for, until the deadline or the copy's end.
    func state(_ change: UInt64, until deadline: Deadline) -> MetadataCopyState {
        monitor.lock()
        defer { monitor.unlock() }
        while true {
            guard interval != nil else { return .off }
            if holds(change) { return .copied }
            if let failure, askedSeconds == nil { return .failed(failure) }
            guard !isStopping, monitor.wait(until: deadline) else { return .copying(change: change) }
        }
    }

    /// Under the monitor.
    private func holds(_ change: UInt64) -> Bool { copied.map { $0 >= change } ?? false && copiedRecord == record }

    private func run() {
        while let seconds = waitForWork() { copy(afterStoring: seconds) }
    }

    /// What storing packs may take before a copy that is due. Nil at the end.
    private func waitForWork() -> Double? {
        monitor.lock()
        defer { monitor.unlock() }
        var (pause, due) = (interval, Deadline(after: interval))
        while !isStopping {
            if interval != pause { (pause, due) = (interval, Deadline(after: interval)) }
            if askedSeconds != nil || (pause != nil && due.hasPassed) {
                defer { (askedSeconds, failure) = (nil, nil) }
                return askedSeconds ?? Self.storeSeconds
            }
            _ = monitor.wait(until: due)
        }
        return nil
    }

    private func copy(afterStoring seconds: Double) {
        let reached = volume.fileSystem.changeCount
        guard monitor.withLock({ interval != nil && !holds(reached) }) else { return }
        // What cannot be stored now is in the copy as staged, and is missed if this node is lost.
        if let failure = volume.packs.flush(seconds: seconds) {
            logger.debug("copied before all data is stored", metadata: ["cause": "\(failure)"])
        }
        // One that was let go at the end must not wait for the store once more.
        if monitor.withLock({ isStopping }) { return }
        attempt(reached) {
            unlink(paths.copy)
            try volume.fileSystem.copyMetadata(to: paths.copy)
            defer { unlink(paths.copy) }
            try writer.copy(paths.copy, at: .now(), on: errand)
        }
    }

    // MARK: At the end

    /// After `stop` and once the volume is closed well: the last copy, of the database itself, within so many seconds.
    func copyClosed(within seconds: Double) {
        guard isOn else { return }
        let reached = volume.fileSystem.changeCount
        if monitor.withLock({ !holds(reached) }) {
            let errand = StoreErrand()
            errand.finish(after: seconds)
            attempt(reached, isLast: true) { try writer.copy(paths.database, at: .now(), on: errand) }
        }
        guard monitor.withLock({ holds(reached) }) else { return }
        // Only a saving: without it the next process copies once more.
        try? AtomicFile.replace(paths.copiedMark, Self.mark(monitor.withLock { record }))
    }

    private func attempt(_ reached: UInt64, isLast: Bool = false, _ copy: () throws -> Void) {
        let record = monitor.withLock { self.record }
        writer.record = record
        var failure: String?
        do {
            try copy()
        } catch {
            failure = "\(error)"
        }
        monitor.lock()
        defer { monitor.unlock() }
        self.failure = failure
        volume.fileSystem.noteCopyTrouble(failure)
        defer { monitor.signalAll() }
        guard let failure else {
            (copied, copiedRecord) = (reached, record)
            tellCollector()
            if hasReported { logger.info("the metadata is copied into the store again") }
            hasReported = false
            return
        }
        if isLast {
            let words = "the metadata is not copied into the store; the volume's next server here does it"
            return logger.error("\(words)", metadata: ["cause": "\(failure)"])
        }
        // Once, until it succeeds again. One that the end has cut is made anew there.
        guard !hasReported, !isStopping else { return }
        hasReported = true
        logger.error("the metadata cannot be copied into the store", metadata: ["cause": "\(failure)"])
    }
}
