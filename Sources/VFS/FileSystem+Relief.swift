import FileModel
import Metadata
import Packs

/// The trash gives way where the store is short of room.
extension FileSystem {
    /// A store with less room than this, or than a twentieth of it, is short.
    private static let smallestRoom: UInt64 = 256 << 20
    /// Things looked at for one step: some tenths of a second, in short transactions.
    private static let searchedPages = 40

    /// One look of housekeeping.
    func giveWayToStore(hasTrash: Bool) throws(Errno) {
        try relief.work.withLock { () throws(Errno) in
            // A bucket says nothing of its room, and what is elsewhere than the data of the trash is no matter here.
            guard let room = packs.capacity(), room.free < min(Self.smallestRoom, room.total / 20) else {
                return relief.reset()
            }
            // Packs go only where somebody collects them.
            guard hasTrash, configuration.space.isAutomatic else { return }
            switch relief.state {
            case .useless: return
            case .waiting(let step): try assess(step, free: room.free)
            case .ready(let limit):
                guard try wantsRoom() else { return }
                guard relief.rest == 0 else { return relief.rest -= 1 }
                try giveUp(packs: limit, free: room.free)
            }
        }
    }

    /// Whether this volume has something to store that it did not have at the last look, or cannot store what it has.
    private func wantsRoom() throws(Errno) -> Bool {
        let used = try usage().bytes
        defer { relief.lastUsage = used }
        if wasRefused.exchange(false, ordering: .relaxed) || packs.storeTrouble != nil { return true }
        return relief.lastUsage.map { used > $0 } ?? false
    }

    private func giveUp(packs limit: Int, free: UInt64) throws(Errno) {
        guard let plan = try reliefPlan(packs: limit) else { return relief.rest = StoreRelief.restingLooks }
        let own = try ownBytes()
        var gone = 0
        for start in stride(from: 0, to: plan.records.count, by: Self.discardBatch) {
            gone += try discard(Array(plan.records[start..<min(start + Self.discardBatch, plan.records.count)])).count
        }
        relief.lastUsage = try usage().bytes
        relief.state = .waiting(ReliefStep(packs: plan.packs, bytes: plan.bytes, free: free, own: own))
        configuration.report(
            "the store is short of room: \(gone) of the oldest things in the trash are discarded, which gives "
                + "\(plan.bytes) bytes back; make room in the store")
    }

    /// The oldest things without which packs can go.
    private func reliefPlan(packs limit: Int) throws(Errno) -> ReliefPlan? {
        // Compaction needs room for what it moves.
        let share = configuration.hasRoom() ? configuration.space.liveShare : 0
        var search = ReliefSearch(limit: limit, compactedShare: share, isOwn: packs.isOwn)
        var last: UInt64 = 0
        for _ in 0..<Self.searchedPages where !search.isEnough {
            let page = try read { transaction throws(Errno) in
                let records = try transaction.trash(after: last, limit: Self.discardBatch)
                return (try records.map { record throws(Errno) in (record, try transaction.parts(of: record)) })
            }
            // What a program holds open takes its room until it is closed.
            for (record, parts) in page where !parts.isEmpty && !isHeld(record.inode) && !search.isEnough {
                search.add(record, parts)
            }
            guard page.count == Self.discardBatch, let end = page.last?.0.id else { break }
            last = end
        }
        return search.plan()
    }

    /// Whether the last step has brought room: the next may be larger. Else it was the last.
    private func assess(_ step: ReliefStep, free: UInt64) throws(Errno) {
        let left = try read { transaction throws(Errno) in
            var left = 0
            for id in step.packs where try transaction.pack(id) != nil { left += 1 }
            return left
        }
        guard left == 0 else {
            var step = step
            step.looks += 1
            relief.state = .waiting(step)
            if step.looks >= StoreRelief.mostLooks { noteUseless() }
            return
        }
        // What others have taken since, or given back: all that the volume's own packs do not explain.
        let others =
            Int64(clamping: free) - Int64(clamping: step.free)
            + (Int64(clamping: try ownBytes()) - Int64(clamping: step.own))
        guard others >= -Int64(clamping: step.bytes / 2) else { return noteUseless() }
        relief.state = .ready(packs: min(step.packs.count * 2, StoreRelief.mostPacks))
    }

    private func noteUseless() {
        relief.state = .useless
        configuration.report(
            "the store is short of room, and what was discarded from the trash brings none: the rest stays there; make "
                + "room in the store")
    }

    /// Of the volume's own packs, stored and staged.
    private func ownBytes() throws(Errno) -> UInt64 {
        let records = try read { transaction throws(Errno) in try transaction.packs() }
        let stored = records.filter { packs.isOwn($0.id) }.reduce(0) { $0 + $1.storedLength }
        return stored + UInt64(packs.stagedTotal().bytes)
    }
}

extension MetadataTransaction {
    /// The packs a file in the trash has bytes in, with how many.
    fileprivate func parts(of record: TrashRecord) throws(Errno) -> [(pack: PackRecord, bytes: UInt64)] {
        guard !record.isDirectory, let inode = try inode(record.inode), inode.kind == .regular, inode.size > 0
        else { return [] }
        var bytes: [PackID: UInt64] = [:]
        for extent in try extents(of: inode.id, overlapping: 0..<inode.size) {
            bytes[extent.pack, default: 0] += extent.length
        }
        var parts: [(pack: PackRecord, bytes: UInt64)] = []
        for (id, count) in bytes {
            if let record = try pack(id) { parts.append((record, count)) }
        }
        return parts
    }
}
