import FileModel
import Synchronization

/// What a volume keeps of what is deleted. It may change while the volume is served.
public final class TrashSettings: Sendable {
    private let retention: Atomic<Int64>
    private let isCounted: Atomic<Bool>
    private let isTruncationKept: Atomic<Bool>

    /// `retentionNanoseconds`: how long it is kept; 0: not at all.
    public init(retentionNanoseconds: Int64 = 0, countsInLimits: Bool = false, keepsTruncated: Bool = false) {
        retention = Atomic(retentionNanoseconds)
        isCounted = Atomic(countsInLimits)
        isTruncationKept = Atomic(keepsTruncated)
    }

    /// Nothing is kept.
    public static var off: TrashSettings { TrashSettings() }

    public var retentionNanoseconds: Int64 { retention.load(ordering: .relaxed) }
    public var isOn: Bool { retentionNanoseconds > 0 }
    /// The volume's size, inodes and `statfs` count the trash.
    public var countsInLimits: Bool { isCounted.load(ordering: .relaxed) }
    /// What a file held before it was truncated to nothing is kept, too.
    public var keepsTruncated: Bool { isTruncationKept.load(ordering: .relaxed) }

    public func set(retentionNanoseconds: Int64, countsInLimits: Bool, keepsTruncated: Bool) {
        retention.store(retentionNanoseconds, ordering: .relaxed)
        isCounted.store(countsInLimits, ordering: .relaxed)
        isTruncationKept.store(keepsTruncated, ordering: .relaxed)
    }
}

extension FileSystem {
    /// What is kept, to be changed while the volume is served.
    public var trashSettings: TrashSettings { configuration.trash }
}
