import FileModel
import LinuxSystem
import Packs
import Synchronization

/// Reads of data that failed lately, for `berth status`, and so that the log says each once and not each time.
// SAFETY: every mutable member is guarded by `monitor`.
final class ReadFailures: @unchecked Sendable {
    private let monitor = Monitor()
    private var recent = RecentTrouble()
    /// Whose read failed last, where the bytes should be, and whether it was for a store that did not answer.
    private var last: (id: InodeID, part: VolumeFault.Part, isUnanswered: Bool)?
    /// Whether `last` is there: nearly never, and asked at each read.
    private let isAny = Atomic<Bool>(false)

    /// What cannot be read, until a read has shown that it can, or none has failed for a minute.
    var current: VolumeFault? {
        monitor.withLock {
            guard let last, let line = recent.current else { return nil }
            return VolumeFault(last.part, "data cannot be read: \(line)")
        }
    }

    /// Answers the line for the log; nil where it was said lately.
    func note(_ id: InodeID, _ failure: PackReadFailure) -> String? {
        let words: String
        // What is said once for all files; what is damaged, for each.
        var kind: String?
        var part = VolumeFault.Part.store
        var isUnanswered = false
        switch failure {
        case .store(.failed(_, let cause)):
            words = cause
            kind = cause
            isUnanswered = true
        case .store, .damage:
            words = "its pack \(failure); run `berth volume check --data`"
        case .cache(let errno):
            // Where the cache fails the store is read: this is a pack that has not left staging.
            words = "staging: \(errno); each read tries it again"
            kind = words
            part = .staging
        }
        return monitor.withLock {
            last = (id, part, isUnanswered)
            isAny.store(true, ordering: .releasing)
            recent.note("inode \(id.rawValue): \(words)")
            let isNew = recent.firstTime(kind ?? "\(id.rawValue)")
            return isNew ? "inode \(id.rawValue): data cannot be read: \(words)" : nil
        }
    }

    /// What the store was asked for came.
    func storeAnswered() { clear { $0.isUnanswered } }

    /// All that was wanted of a file could be read.
    func succeeded(_ id: InodeID) { clear { $0.id == id } }

    /// Forgets the failure where it is over, or is told no more: reads need not look for it then.
    @inline(__always)
    private func clear(_ isOver: ((id: InodeID, part: VolumeFault.Part, isUnanswered: Bool)) -> Bool) {
        guard isAny.load(ordering: .relaxed) else { return }
        monitor.withLock {
            guard let failed = last, isOver(failed) || recent.current == nil else { return }
            recent.isOver()
            last = nil
            isAny.store(false, ordering: .relaxed)
        }
    }
}
