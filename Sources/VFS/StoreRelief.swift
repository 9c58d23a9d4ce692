import FileModel
import LinuxSystem
import Metadata

/// How far the trash has given way to a store that is short of room.
///
/// Invariants
/// - Nothing goes that brings no room back: an item goes with a pack of the store that is deleted, or can be compacted,
///   because of it.
/// - Nothing goes unless the volume itself wants room. To another program that fills the disk the trash is no answer.
/// - A step is awaited before the next. One whose room did not come, or was taken by others, is the last of this shortage.
/// - `work` is held by whoever looks; the members below it are theirs.
// SAFETY: guarded as said above.
final class StoreRelief: @unchecked Sendable {
    enum State {
        /// So many packs may be given up next.
        case ready(packs: Int)
        case waiting(ReliefStep)
        /// What went brought nothing.
        case useless
    }

    /// A step grows as long as it helps: 1 GiB of raw bytes at most.
    static let mostPacks = 64
    /// 20 minutes: a pack may have to wait for the next copy of the metadata, every 15 minutes.
    static let mostLooks = 240
    /// After a look that found nothing to give up: a minute.
    static let restingLooks = 12

    let work = Monitor()
    var state = State.ready(packs: 1)
    /// What the volume held when it was looked at last; nil before the first look of a shortage.
    var lastUsage: UInt64?
    var rest = 0

    /// There is no shortage, or none any more.
    func reset() {
        state = .ready(packs: 1)
        lastUsage = nil
        rest = 0
    }
}

/// What was discarded at once, and what was there before.
struct ReliefStep {
    /// Which go, or are emptied, because of it.
    var packs: Set<PackID>
    /// Of their objects, that come back.
    var bytes: UInt64
    /// Of the store's file system, before.
    var free: UInt64
    /// Of the volume's own packs, before.
    var own: UInt64
    var looks = 0
}

/// What would bring room back in the store, and how much.
struct ReliefPlan {
    var records: [TrashRecord] = []
    var packs: Set<PackID> = []
    /// Of the store's objects.
    var bytes: UInt64 = 0
}

/// Looks through the trash for packs that nothing but the trash needs.
struct ReliefSearch {
    let limit: Int
    /// A pack of which less than this share would be live can be compacted: 0 where there is no room for that.
    let compactedShare: Double
    let isOwn: (PackID) -> Bool
    private var inTrash: [PackID: UInt64] = [:]
    private var items: [(record: TrashRecord, packs: [PackID])] = []
    private var found = ReliefPlan()

    init(limit: Int, compactedShare: Double, isOwn: @escaping (PackID) -> Bool) {
        self.limit = limit
        self.compactedShare = compactedShare
        self.isOwn = isOwn
    }

    var isEnough: Bool { found.packs.count >= limit }

    /// Takes in one thing of the trash, with its bytes of each pack.
    mutating func add(_ record: TrashRecord, _ parts: [(pack: PackRecord, bytes: UInt64)]) {
        let useful = parts.filter { $0.pack.state == .stored && !$0.pack.isHeld && isOwn($0.pack.id) }
        guard !useful.isEmpty else { return }
        items.append((record, useful.map(\.pack.id)))
        for (pack, bytes) in useful {
            let all = inTrash[pack.id, default: 0].addingReportingOverflow(bytes).partialValue
            inTrash[pack.id] = all
            let left = pack.liveBytes - min(pack.liveBytes, all)
            let isFreed = left == 0 || Double(left) < Double(pack.rawLength) * compactedShare
            guard isFreed, found.packs.insert(pack.id).inserted else { continue }
            let share = left == 0 ? 1 : min(1, Double(all) / Double(max(1, pack.rawLength)))
            found.bytes += UInt64(Double(pack.storedLength) * share)
        }
    }

    /// Nil where nothing would help.
    func plan() -> ReliefPlan? {
        guard !found.packs.isEmpty else { return nil }
        var plan = found
        plan.records = items.filter { !found.packs.isDisjoint(with: $0.packs) }.map(\.record)
        return plan
    }
}
