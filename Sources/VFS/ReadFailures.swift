import FileModel
import LinuxSystem
import Packs
import Synchronization

/// Reads of data that failed lately, for `berth status`, and so that the log says each once and not each time.
// SAFETY: every mutable member is guarded by `monitor`.
final class ReadFailures: @unchecked Sendable {
    private let monitor = Monitor()
    private var recent = RecentTrouble()
    private var last: InodeID?
    private var part = VolumeFault.Part.store
    /// The store did not answer: over once it does.
    private var isPassing = false
    /// Nearly always false, and asked at each read.
    private let isAny = Atomic<Bool>(false)

    /// What cannot be read, until a read has shown that it can, or none has failed for a minute.
    var current: VolumeFault? {
        monitor.withLock { recent.current.map { VolumeFault(part, "data cannot be read: \($0)") } }
    }

    /// Answers the line for the log; nil where it was said lately.
    func note(_ id: InodeID, _ failure: PackReadFailure) -> String? {
        let words: String
        /// What is said once for all files, and what for each.
        let kind: String
        var part = VolumeFault.Part.store
        var mayPass = false
        switch failure {
        case .store(.failed(_, let cause)):
            words = cause
            kind = cause
            mayPass = true
        case .store, .damage:
            words = "its pack \(failure); run `berth volume check --data`"
            kind = "\(id.rawValue)"
        case .cache(let errno):
            // Where the cache fails the store is read: this is a pack that has not left staging.
            part = .staging
            words = "staging: \(errno); each read tries it again"
            kind = "staging \(errno)"
        }
        return monitor.withLock {
            isPassing = mayPass
            recent.note("inode \(id.rawValue): \(words)")
            last = id
            self.part = part
            isAny.store(true, ordering: .releasing)
            return recent.firstTime(kind) ? "inode \(id.rawValue): data cannot be read: \(words)" : nil
        }
    }

    /// What the store was asked for came.
    func storeAnswered() {
        guard isAny.load(ordering: .relaxed) else { return }
        monitor.withLock { if isPassing { clear() } }
    }

    /// All that was wanted of a file could be read.
    func succeeded(_ id: InodeID) {
        guard isAny.load(ordering: .relaxed) else { return }
        monitor.withLock { if last == id { clear() } }
    }

    /// Under the monitor.
    private func clear() {
        recent.isOver()
        last = nil
        isAny.store(false, ordering: .relaxed)
    }
}
