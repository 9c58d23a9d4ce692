import FileModel
import Metadata
import ObjectStorage
import Packs

/// A collection that somebody asked for.
extension Collector {
    private static let storeSeconds = 60.0
    /// Packs emptied before their references are looked for in the whole volume: bounds what is held in memory.
    private static let batch = 64

    /// Explains each pack and each object that nothing names, and, but for a dry run, does what is said there.
    func collect(dryRun: Bool) throws(Errno) -> CollectionReport {
        try work.withLock { () throws(Errno) in
            var result = CollectionReport()
            result.packs = try verdicts()
            if !dryRun {
                let doomed = result.packs.filter { $0.action == .compact }.map(\.record.id)
                var pace = Pace(nil, until: isOver)
                for start in stride(from: 0, to: doomed.count, by: Self.batch) where pace.goesOn {
                    let moved = empty(Array(doomed[start..<min(start + Self.batch, doomed.count)]), &pace)
                    result.movedBytes += moved.bytes
                    result.failures += moved.failures
                }
                // What moved is safe in staging; in the store it counts as stored.
                if result.movedBytes > 0, let failure = packs.flush(seconds: Self.storeSeconds) {
                    result.failures.append(failure)
                }
                try deleteUnneeded(&result)
            }
            try collectUnnamed(dryRun: dryRun, &result)
            return result
        }
    }

    // MARK: Verdicts

    private func verdicts() throws(Errno) -> [PackVerdict] {
        let (records, holders) = try read { transaction throws(Errno) in
            var holders: [PackID: [String]] = [:]
            for hold in try transaction.holds() {
                let words = (hold.kind == .snapshot ? "snapshot " : "clone ") + hold.name
                for pack in try transaction.packs(heldBy: hold.id) { holders[pack, default: []].append(words) }
            }
            return (try transaction.packs(), holders)
        }
        let chosen = chosen(records)
        return records.map { record in
            let (action, reason) = verdict(record, holders[record.id] ?? [], chosen.contains(record.id))
            return PackVerdict(record: record, action: action, reason: reason)
        }
    }

    private func verdict(_ record: PackRecord, _ holders: [String], _ isChosen: Bool) -> (PackVerdict.Action, String) {
        // Bytes that several files share count for each of them.
        // A damaged count may be any number of times what the pack holds.
        let percent = Int(min(record.liveShare * 100, 1000).rounded())
        let live = percent > 100 ? "live, some of it shared" : "live \(percent) %"
        if record.state == .staged {
            return (.keep, record.liveBytes > 0 ? "not in the store yet" : "not in the store yet, and empty")
        }
        if record.state == .doomed { return (.delete, "its deletion was cut short") }
        guard packs.isOwn(record.id) else { return (.keep, "not written by this volume, \(live)") }
        if record.isHeld {
            return (
                .keep, "held by " + (holders.isEmpty ? "nobody known" : holders.joined(separator: ", ")) + ", \(live)"
            )
        }
        if record.liveBytes == 0 { return (.delete, "nothing in it is live") }
        return (isChosen ? .compact : .keep, live)
    }

    /// The deadest packs first, as long as they are mostly dead or the store holds too much beside what is live.
    private func chosen(_ records: [PackRecord]) -> Set<PackID> {
        let policy = configuration.space
        let movable = records.filter { isMovable($0) }.sorted { $0.liveShare < $1.liveShare }
        let live = movable.reduce(0.0) { $0 + Double($1.liveBytes) }
        var kept = movable.reduce(0.0) { $0 + Double($1.rawLength) }
        var chosen: Set<PackID> = []
        for record in movable {
            guard record.liveShare < policy.liveShare || kept > live * policy.storedPerLive, record.liveShare < 1
            else { break }
            chosen.insert(record.id)
            kept -= Double(record.rawLength - record.liveBytes)
        }
        return chosen
    }

    // MARK: What nothing names

    /// Objects, copies and half-made files that no metadata names: a crash, or a lost reply, left them.
    private func collectUnnamed(dryRun: Bool, _ result: inout CollectionReport) throws(Errno) {
        let age = configuration.space.unnamedSeconds
        do {
            // The listing first: what is put after it is no object of it.
            let objects = try packs.objects()
            let known = try read { transaction throws(Errno) in Set(try transaction.packs().map(\.id)) }
            for object in objects {
                guard let last = object.name.description.words(at: "/").last, let id = PackID(last),
                    object.name == ObjectName(pack: id), !known.contains(id)
                else { continue }
                let reason = reasonToKeep(object, id, age)
                result.unnamed.append(
                    (
                        object.name.description, object.size, reason == nil ? .delete : .keep,
                        reason ?? "nothing names it"
                    ))
                guard reason == nil, !dryRun else { continue }
                try packs.delete(id)
                result.deletedObjects += 1
                result.freedBytes = result.freedBytes.addingClamped(object.size)
            }
            guard !dryRun else { return }
            result.leftovers += try packs.sweepStore(olderThan: age)
            for id in packs.strayCopies(beside: known) where !packs.isStaged(id) {
                _ = packs.evict(id)
                result.leftovers += 1
            }
        } catch let errno as Errno {
            throw errno
        } catch {
            result.failures.append("the store: \(error)")
        }
    }

    private func reasonToKeep(_ object: ObjectInfo, _ id: PackID, _ age: Int64) -> String? {
        if !packs.isOwn(id) { return "nothing names it, and another writer made it" }
        guard let modified = object.modified else {
            return "nothing names it, and the store does not say how old it is"
        }
        let seconds = configuration.now().seconds.subtractingClamped(modified)
        return seconds < age ? "nothing names it yet: it is \(max(0, seconds)) s old" : nil
    }
}

extension FileSystem {
    /// The metadata is copied into the store: the newest copy has so many changes. Call it before the first copy, too.
    public func noteCopied(_ changes: UInt64) { collector?.copiedChanges.store(changes, ordering: .releasing) }

    /// Gives room back now, or only says what would be done.
    public func collect(dryRun: Bool) throws(Errno) -> CollectionReport {
        guard let collector else { throw .readOnly }
        if let reason = metadata.failure, !dryRun {
            configuration.report("no room can be given back: \(reason)")
            throw .readOnly
        }
        return try collector.collect(dryRun: dryRun)
    }
}
