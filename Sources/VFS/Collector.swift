import FileModel
import LinuxSystem
import Metadata
import ObjectStorage
import Packs
import Synchronization

/// Gives room back: deletes packs that nobody needs, and empties those that are mostly dead.
///
/// Invariants
/// - A pack is doomed in a transaction that sees that nobody needs it, its object is deleted once that is durable, and
///   its record goes after the object: a crash in between repeats the deletion, and loses nothing.
/// - Nothing that needs a doomed pack can begin: only an extent, or a hold, leads to one.
/// - Packs that this volume did not write are not touched.
/// - `work` is held by whoever collects; the members below it are theirs.
// SAFETY: guarded as said above.
final class Collector: @unchecked Sendable {
    /// A pack that could not be emptied is left alone for so long: somebody may be writing to what it holds.
    private static let patienceNanoseconds: Int64 = 600_000_000_000

    let metadata: any MetadataStore
    let packs: PackStore
    let committer: Committer
    let configuration: FileSystemConfiguration
    private let isStopping = Atomic<Bool>(false)
    let work = Monitor()
    private var unneededBefore: Set<PackID> = []
    private var leftAlone: [PackID: Timestamp] = [:]
    /// Where the metadata is copied into the store: the count of changes that the newest copy has. A pack's object stays
    /// until a copy knows that nobody needs it: what is brought back from an older one may.
    let copiedChanges = Atomic<UInt64>(.max)
    private var doomedAt: [PackID: UInt64] = [:]

    init(
        _ metadata: any MetadataStore, _ packs: PackStore, _ committer: Committer,
        _ configuration: FileSystemConfiguration
    ) {
        self.metadata = metadata
        self.packs = packs
        self.committer = committer
        self.configuration = configuration
    }

    /// What is under way ends soon, and nothing is begun.
    func stop() { isStopping.store(true, ordering: .relaxed) }

    var isOver: () -> Bool { { self.isStopping.load(ordering: .relaxed) } }

    // MARK: In the background

    /// One look: deletes what nobody needed at two looks, and empties one pack.
    func collectInBackground() {
        work.lock()
        defer { work.unlock() }
        do throws(Errno) {
            let records = try read { transaction throws(Errno) in try transaction.packs() }
            let unneeded = Set(records.filter { isUnneeded($0) }.map(\.id))
            try delete(unneeded.intersection(unneededBefore), doomed: records)
            unneededBefore = unneeded
            guard configuration.hasRoom() else { return }
            let now = configuration.now()
            leftAlone = leftAlone.filter { now.nanoseconds(since: $0.value) < Self.patienceNanoseconds }
            guard let pack = deadest(records) else { return }
            var pace = Pace(configuration.space, until: isOver)
            if let failure = empty([pack.id], &pace).failures.first {
                report("pack \(pack.id) is not compacted: \(failure)")
            }
            if try isInUse(pack.id) { leftAlone[pack.id] = now }
        } catch {
            // A failed volume says so by itself.
        }
    }

    private func isUnneeded(_ record: PackRecord) -> Bool {
        record.state == .stored && !record.isNeeded && !isOthers(record.id)
    }

    /// Neither ours nor a base's: of a later writer, or of none.
    private func isOthers(_ id: PackID) -> Bool { id.epoch > packs.epoch }

    private func deadest(_ records: [PackRecord]) -> PackRecord? {
        records.filter { isMovable($0) && $0.liveShare < configuration.space.liveShare && leftAlone[$0.id] == nil }
            .min { $0.liveShare < $1.liveShare }
    }

    /// Something would be won by moving what is live in it.
    func isMovable(_ record: PackRecord) -> Bool {
        record.state == .stored && record.liveBytes > 0 && !record.isHeld && packs.isOwn(record.id)
    }

    func isInUse(_ id: PackID) throws(Errno) -> Bool {
        try read { transaction throws(Errno) in try transaction.pack(id)?.liveBytes ?? 0 > 0 }
    }

    // MARK: Deleting

    /// Deletes these packs, where nobody needs them still, and those whose deletion was cut short. Answers how many and
    /// how many bytes.
    @discardableResult
    func delete(_ unneeded: Set<PackID>, doomed records: [PackRecord]) throws(Errno) -> (packs: Int, bytes: UInt64) {
        let doomed = try metadata.transaction { transaction throws(Errno) in
            // Of those from before: what something names again is not deleted.
            var doomed: [PackRecord] = []
            for record in records where record.state == .doomed {
                guard let now = try transaction.pack(record.id), now.state == .doomed, !now.isNeeded else { continue }
                doomed.append(now)
            }
            for id in unneeded.sorted() {
                guard var record = try transaction.pack(id), isUnneeded(record) else { continue }
                record.state = .doomed
                try transaction.putPack(record)
                doomed.append(record)
            }
            return doomed
        }
        guard !doomed.isEmpty else { return (0, 0) }
        committer.noteChange()
        try committer.synchronize()
        var gone: [PackRecord] = []
        for record in doomed where isKnownToCopies(record.id) {
            do throws(ObjectStoreError) {
                // A base's packs are its own; only what we know of them goes.
                if packs.isOwn(record.id) { try packs.delete(record.id) }
                gone.append(record)
                doomedAt[record.id] = nil
            } catch {
                // At the end of the volume it is left to the next server.
                if isOver() { break }
                report("pack \(record.id) is needed no more and cannot be deleted: \(error); it is tried again")
                break
            }
        }
        try metadata.transaction { transaction throws(Errno) in
            for record in gone { try transaction.removePack(record.id) }
        }
        committer.noteChange()
        return (gone.count, gone.filter { packs.isOwn($0.id) }.clampedSum(of: \.storedLength))
    }

    /// Whether no copy of the metadata that is newest needs the pack.
    private func isKnownToCopies(_ id: PackID) -> Bool {
        let copied = copiedChanges.load(ordering: .acquiring)
        if copied == .max { return true }
        guard let since = doomedAt[id] else {
            doomedAt[id] = committer.changeCount
            return false
        }
        return copied >= since
    }

    /// All that nobody needs, at once: whoever asks for it does not wait for readers, who find data that has moved.
    func deleteUnneeded(_ result: inout CollectionReport) throws(Errno) {
        let records = try read { transaction throws(Errno) in try transaction.packs() }
        let gone = try delete(Set(records.filter { isUnneeded($0) }.map(\.id)), doomed: records)
        result.deletedPacks += gone.packs
        result.freedBytes += gone.bytes
        result.waitingPacks = doomedAt.count
    }

    func read<Result>(_ body: (any MetadataTransaction) throws(Errno) -> Result) throws(Errno) -> Result {
        try metadata.transaction(body)
    }

    func report(_ words: String) { configuration.report(words) }
}

extension PackRecord {
    /// Of the raw bytes, those that extents name.
    var liveShare: Double { rawLength == 0 ? 1 : Double(liveBytes) / Double(rawLength) }
}
