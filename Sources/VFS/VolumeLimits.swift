import FileModel
import Metadata
import Synchronization

/// What a volume may hold. It may change while the volume is served.
public final class VolumeLimits: Sendable {
    /// What a limit is of.
    enum Kind {
        case bytes
        case inodes
        /// Names beyond the first of each file.
        case links
    }

    /// What was refused last, and whether that was said.
    private struct Refusal {
        var kind: Kind
        var need: UInt64
        var isReported = false
    }

    private struct State {
        var bytes: UInt64?
        var inodes: UInt64?
        var refusal: Refusal?
    }

    private let state: Mutex<State>
    /// Most volumes have no limit, and need not take the lock.
    private let isSet: Atomic<Bool>

    /// Nil: no limit.
    public init(bytes: UInt64? = nil, inodes: UInt64? = nil) {
        state = Mutex(State(bytes: bytes, inodes: inodes))
        isSet = Atomic(bytes != nil || inodes != nil)
    }

    public var bytes: UInt64? { isSet.load(ordering: .relaxed) ? state.withLock { $0.bytes } : nil }
    public var inodes: UInt64? { isSet.load(ordering: .relaxed) ? state.withLock { $0.inodes } : nil }

    public func set(bytes: UInt64?, inodes: UInt64?) {
        state.withLock { ($0.bytes, $0.inodes) = (bytes, inodes) }
        isSet.store(bytes != nil || inodes != nil, ordering: .relaxed)
    }

    /// Something that needs so much did not fit.
    func refused(_ kind: Kind, _ need: UInt64) {
        state.withLock { state in
            let isReported = state.refusal.map { $0.kind == kind && $0.isReported } ?? false
            state.refusal = Refusal(kind: kind, need: need, isReported: isReported)
        }
    }

    /// In words what is full, where what was refused last would be still; nil where it would fit by now.
    func fullness(_ used: Usage, links: UInt64) -> String? {
        state.withLock { state in
            guard let refusal = state.refusal else { return nil }
            let held =
                switch refusal.kind {
                case .bytes: used.bytes
                case .inodes: used.files
                case .links: links
                }
            let limit = refusal.kind == .bytes ? state.bytes : state.inodes
            guard let limit, held.addingReportingOverflow(refusal.need).partialValue > limit else {
                state.refusal = nil
                return nil
            }
            switch refusal.kind {
            case .bytes:
                return "the volume is full: it holds \(held) of \(limit) bytes (size); make room in it, or allow more: "
                    + "berth volume set NAME size=BYTES"
            case .inodes:
                return
                    "the volume is full: it holds \(held) of \(limit) files and directories (inodes); remove some, or "
                    + "allow more: berth volume set NAME inodes=COUNT"
            case .links:
                return
                    "the volume is full: files have \(held) names beyond their first, of \(limit) (inodes); remove some, "
                    + "or allow more: berth volume set NAME inodes=COUNT"
            }
        }
    }

    /// True once for each time that the volume is full.
    func mayReport() -> Bool {
        state.withLock { state in
            guard state.refusal?.isReported == false else { return false }
            state.refusal?.isReported = true
            return true
        }
    }
}

extension FileSystem {
    /// What the volume may hold, to be changed while it is served.
    public var volumeLimits: VolumeLimits { configuration.limits }

    /// Says once that the volume's own limits refuse what programs ask.
    func noteFullness() {
        guard let words = fullness, configuration.limits.mayReport() else { return }
        configuration.report(words)
    }

    /// In words which limit refuses what programs ask; nil where none does.
    var fullness: String? {
        let found = try? read { transaction throws(Errno) in
            (try self.counted(transaction), try transaction.linkUsage())
        }
        return found.flatMap { configuration.limits.fullness($0, links: $1) }
    }
}
