import FileModel
import Glibc
import LinuxSystem
import Logging
import MetadataCopies
import Packs
import VFS
import Volumes

/// The thread that copies a volume's metadata into its store: at an interval while it changes, and when it is closed.
///
/// Invariants
/// - Data goes first: what a copy names is in the store, as far as the store took it.
/// - `<volume>/copied` is there only while the closed database is what the newest copy holds.
// SAFETY: `writer` and `copied` belong to the thread, and after `stop` to whoever called it; the rest is guarded by
// `monitor` or constant.
final class MetadataCopier: @unchecked Sendable {
    /// What storing packs may take before each copy. A store that is away is tried again at the next interval.
    private static let storeSeconds = 60.0

    private let volume: OpenVolume
    private let paths: VolumePaths
    private let interval: Duration
    private let logger: Logger
    private let writer: CopyWriter
    private let monitor = Monitor()
    private var isStopping = false
    private var thread: WorkerThread?
    private var hasFailed = false
    /// The count of changes that the newest copy has; nil: an older process's, which may be missing.
    private var copied: UInt64?

    /// Nil where the volume makes no copies: its store is on the same disk, or the user wants none.
    init?(_ record: VolumeRecord, _ volume: OpenVolume, _ paths: VolumePaths, logger: Logger) throws(SystemFailure) {
        guard let interval = record.copyInterval else { return nil }
        self.volume = volume
        self.paths = paths
        self.interval = interval
        self.logger = logger
        writer = CopyWriter(
            store: volume.store, record: try AtomicFile.read(paths.record) ?? [],
            generation: try volume.generation(paths))
        if access(paths.copiedMark, F_OK) == 0 {
            unlink(paths.copiedMark)
            copied = volume.fileSystem.changeCount
        }
        volume.fileSystem.noteCopied(copied ?? 0)
    }

    func start() {
        thread = WorkerThread(name: "berth-copy") { self.run() }
    }

    /// Begins no copy any more: before those who wait for the store are let go.
    func prepareToStop() {
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

    private func run() {
        while true {
            let deadline = Deadline(after: interval)
            monitor.lock()
            while !isStopping && monitor.wait(until: deadline) {}
            let isOver = isStopping
            monitor.unlock()
            if isOver { return }
            let reached = volume.fileSystem.changeCount
            guard reached != copied else { continue }
            // What cannot be stored now is in the copy as staged, and is missed if this node is lost.
            if let failure = volume.packs.flush(seconds: Self.storeSeconds) {
                logger.debug("copied before all data is stored", metadata: ["cause": "\(failure)"])
            }
            // One that was let go at the end must not wait for the store once more.
            if monitor.withLock({ isStopping }) { return }
            attempt(reached) {
                unlink(paths.copy)
                try volume.fileSystem.copyMetadata(to: paths.copy)
                defer { unlink(paths.copy) }
                try writer.copy(paths.copy, at: .now())
            }
        }
    }

    /// After `stop` and once the volume is closed: the last copy, of the database itself.
    func copyClosed() {
        let reached = volume.fileSystem.changeCount
        if reached != copied { attempt(reached) { try writer.copy(paths.database, at: .now()) } }
        guard reached == copied else { return }
        // Only a saving: without it the next process copies once more.
        try? AtomicFile.replace(paths.copiedMark, [])
    }

    private func attempt(_ reached: UInt64, _ copy: () throws -> Void) {
        do {
            try copy()
            copied = reached
            volume.fileSystem.noteCopied(reached)
            if hasFailed { logger.info("the metadata is copied into the store again") }
            hasFailed = false
        } catch {
            // Once, until it succeeds again.
            if !hasFailed {
                logger.error("the metadata cannot be copied into the store", metadata: ["cause": "\(error)"])
            }
            hasFailed = true
        }
    }
}
