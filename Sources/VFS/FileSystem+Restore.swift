import FileModel
import Metadata

/// What is to come back, and where to.
public struct RestoreOrder: Sendable {
    public enum Choice: Sendable {
        /// What the path named last.
        case latest
        /// What the path named at a time: what was deleted first since then.
        case at(Timestamp)
        case id(UInt64)
    }

    public enum Target: Sendable {
        case inPlace
        /// In place, or beside what is there now, as `NAME.restored`.
        case beside
        /// A path whose last name is free; its directory is there.
        case path([FileName])
    }

    public var path: [FileName]
    public var choice: Choice
    public var target: Target

    public init(path: [FileName], choice: Choice = .latest, target: Target = .inPlace) {
        self.path = path
        self.choice = choice
        self.target = target
    }
}

public struct RestoreOutcome: Sendable {
    /// Files, links and directories that are back.
    public var count = 0
    public var path: [UInt8] = []
    /// Paths below it where something is now; that stays, and what was deleted stays in the trash. The first few.
    public var occupied: [[UInt8]] = []
    public var occupiedCount = 0
    /// Why the rest did not come back, where something ended it early: it is in the trash still.
    public var ended: Errno?
    /// Directories that came back, each before those in it.
    var directories: [TrashRecord] = []
}

/// Files come back as the inodes they were. Directories come back as new ones, with the mode, owner, and attributes of
/// what was removed: the kernel never lets anything into a directory that it has seen removed. A directory that is
/// there is used as it is.
extension FileSystem {
    private static let namesPerPage = 200
    private static let occupiedLimit = 10
    private static let besideLimit = 1000

    /// Restores what a path named, with all that was deleted in it, and the directories above it. Answers ENOENT where
    /// the trash holds nothing of the path, and EEXIST where something is in its place.
    public func restore(_ order: RestoreOrder) throws(Errno) -> RestoreOutcome {
        if hasReportedProblem { throw .readOnly }
        try requireRoom()
        let session = Session(name: "trash", identity: .oneToOne, isReadOnly: false, invalidate: { _, _ in })
        // From here on what sessions have cached is good for a second at most, and they are told.
        attach(session)
        defer { detach(session) }
        var outcome = RestoreOutcome()
        guard let record = try find(order) else {
            // Nothing of that name was deleted; perhaps something in it was.
            guard case .inPlace = order.target else { throw .noEntry }
            let directory = try read { transaction throws(Errno) in try transaction.walk(order.path) }
            guard directory.isDirectory else { throw .noEntry }
            outcome.path = Array(order.path.map(\.bytes).joined(separator: [0x2F]))
            try restoreAll(in: directory.id, to: directory.id, order.choice, &outcome)
            // A directory that was deleted and is there again is no answer of "nothing".
            guard outcome.count + outcome.occupiedCount + outcome.directories.count > 0 else { throw .noEntry }
            return try settled(outcome)
        }
        let (parent, name) = try place(record, order, &outcome)
        // A directory that is there is used, in place: a part of this one may have come back before.
        var mayMerge = false
        if case .inPlace = order.target { mayMerge = record.isDirectory }
        let above = outcome.count
        let target = try bringBack(record, to: parent, as: name, mayMerge: mayMerge, &outcome)
        if outcome.count == above, case .latest = order.choice {
            // What was deleted in the one that is there was deleted last.
            try restoreAll(in: target, to: target, .latest, &outcome)
        }
        outcome.path = try path(of: name, in: parent)
        if record.isDirectory {
            outcome.directories.append(record)
            try restoreAll(in: record.inode, to: target, order.choice, &outcome)
        }
        return try settled(outcome)
    }

    /// Whether the volume takes no changes any more.
    private var hasReportedProblem: Bool { metadata.failure != nil }

    /// Directories came back as new ones: what they were leaves the trash, unless something is left in it.
    private func settled(_ outcome: RestoreOutcome) throws(Errno) -> RestoreOutcome {
        for record in outcome.directories.reversed() { _ = try discard([record]) }
        try synchronize()
        return outcome
    }

    private func path(of name: FileName, in parent: InodeID) throws(Errno) -> [UInt8] {
        let directory = try read { transaction throws(Errno) in try transaction.path(of: parent) ?? [] }
        return directory.isEmpty ? name.bytes : directory + [0x2F] + name.bytes
    }

    /// What the order names in the trash. A path may have been that of several directories.
    private func find(_ order: RestoreOrder) throws(Errno) -> TrashRecord? {
        try read { transaction throws(Errno) in
            if case .id(let id) = order.choice { return try transaction.trash(id) }
            guard let name = order.path.last else { return nil }
            var places: [InodeID] = [.root]
            for step in order.path.dropLast() {
                var next: [InodeID] = []
                for place in places {
                    if let living = try transaction.entry(step, in: place) { next.append(living) }
                    next += try transaction.trash(named: step, in: place).filter(\.isDirectory).map(\.inode)
                }
                places = next
            }
            var found: [TrashRecord] = []
            for place in places { found += try transaction.trash(named: name, in: place) }
            return Self.choose(found, order.choice)
        }
    }

    private static func choose(_ records: [TrashRecord], _ choice: RestoreOrder.Choice) -> TrashRecord? {
        let sorted = records.sorted { $0.id < $1.id }
        guard case .at(let time) = choice else { return sorted.last }
        return sorted.first { $0.deleted >= time }
    }

    /// Where a record goes. Directories above it that are gone come back first.
    private func place(
        _ record: TrashRecord, _ order: RestoreOrder, _ outcome: inout RestoreOutcome
    ) throws(Errno) -> (InodeID, FileName) {
        if case .path(let path) = order.target {
            guard let name = path.last else { throw .alreadyExists }
            let parent = try read { transaction throws(Errno) in try transaction.walk(Array(path.dropLast())) }
            guard parent.isDirectory else { throw .notDirectory }
            return (parent.id, name)
        }
        let parent = try living(record.parent, &outcome)
        guard case .beside = order.target else { return (parent, record.name) }
        let free = try read { transaction throws(Errno) in try Self.freeName(record.name, in: parent, transaction) }
        return (parent, free)
    }

    private static func freeName(
        _ name: FileName, in parent: InodeID, _ transaction: any MetadataTransaction
    ) throws(Errno) -> FileName {
        if try transaction.entry(name, in: parent) == nil { return name }
        for number in 1...besideLimit {
            let suffix = Array((number == 1 ? ".restored" : ".restored-\(number)").utf8)
            let candidate = FileName(trusted: name.bytes.prefix(FileName.maximumLength - suffix.count) + suffix)
            if try transaction.entry(candidate, in: parent) == nil { return candidate }
        }
        throw .alreadyExists
    }

    /// The directory itself where it is there, or what is in its place now, or a new one like it.
    private func living(_ directory: InodeID, _ outcome: inout RestoreOutcome) throws(Errno) -> InodeID {
        var missing: [TrashRecord] = []
        var step = directory
        while true {
            let record = try read { transaction throws(Errno) -> TrashRecord? in
                let inode = try transaction.required(step)
                guard inode.linkCount == 0 else { return nil }
                guard let record = try transaction.trashedDirectory(step) else { throw .noEntry }
                return record
            }
            guard let record else { break }
            // A ring in damaged metadata has no end.
            guard !missing.contains(record) else { throw .io }
            missing.append(record)
            step = record.parent
        }
        for record in missing.reversed() {
            let before = step
            do throws(Errno) {
                step = try bringBack(record, to: before, as: record.name, mayMerge: true, &outcome)
            } catch .alreadyExists {
                throw .notDirectory
            }
            outcome.directories.append(record)
        }
        return step
    }

    /// Everything that was deleted in a directory, the last of each name, with all below.
    private func restoreAll(
        in directory: InodeID, to target: InodeID, _ choice: RestoreOrder.Choice, _ outcome: inout RestoreOutcome
    ) throws(Errno) {
        // One that was deleted by its id brings back what was in it last.
        var choice = choice
        if case .id = choice { choice = .latest }
        var work = [(directory, target)]
        while let (source, target) = work.popLast() {
            var last: FileName?
            repeat {
                let names = try read { transaction throws(Errno) in
                    try transaction.trashedNames(in: source, after: last, limit: Self.namesPerPage)
                }
                for name in names {
                    do throws(Errno) {
                        guard let found = try restoreOne(name, in: source, to: target, choice, &outcome) else {
                            continue
                        }
                        work.append(found)
                    } catch {
                        outcome.ended = error
                        return
                    }
                }
                last = names.count < Self.namesPerPage ? nil : names.last
            } while last != nil
        }
    }

    /// Answers a directory whose content is next, and the one it goes to.
    private func restoreOne(
        _ name: FileName, in source: InodeID, to target: InodeID, _ choice: RestoreOrder.Choice,
        _ outcome: inout RestoreOutcome
    ) throws(Errno) -> (InodeID, InodeID)? {
        let record = try read { transaction throws(Errno) in
            Self.choose(try transaction.trash(named: name, in: source), choice)
        }
        guard let record else { return nil }
        do throws(Errno) {
            let inode = try bringBack(record, to: target, as: name, mayMerge: record.isDirectory, &outcome)
            guard record.isDirectory else { return nil }
            outcome.directories.append(record)
            return (record.inode, inode)
        } catch .alreadyExists {
            outcome.occupiedCount += 1
            if outcome.occupied.count < Self.occupiedLimit {
                outcome.occupied.append(try path(of: name, in: target))
            }
            return nil
        } catch {
            // Another restoration brought it back since the look, or it was discarded.
            let isGone = try read { transaction throws(Errno) in try transaction.trash(record.id) != record }
            guard error == .noEntry, isGone else { throw error }
            return nil
        }
    }

    /// One thing comes back under a name, and is counted. With `mayMerge` a directory that is there is answered instead.
    private func bringBack(
        _ record: TrashRecord, to parent: InodeID, as name: FileName, mayMerge: Bool, _ outcome: inout RestoreOutcome
    ) throws(Errno) -> InodeID {
        let now = configuration.now()
        var changes = NameChanges()
        let (id, isBack) = try makingRoom(bytes: .max, inodes: 1) { () throws(Errno) in
            try maintain { transaction throws(Errno) in
                changes = NameChanges()
                if let taken = try transaction.entry(name, in: parent) {
                    guard mayMerge, try transaction.required(taken).isDirectory else { throw .alreadyExists }
                    return (taken, false)
                }
                return (try self.bringBack(record, parent, name, now, &changes, transaction), true)
            }
        }
        guard isBack else { return id }
        outcome.count += 1
        announceToAll(changes.notices + [.attributes(id)])
        return id
    }

    private func bringBack(
        _ record: TrashRecord, _ parent: InodeID, _ name: FileName, _ now: Timestamp, _ changes: inout NameChanges,
        _ transaction: any MetadataTransaction
    ) throws(Errno) -> InodeID {
        var directory = try transaction.liveDirectory(parent)
        guard try transaction.trash(record.id) == record else { throw .noEntry }
        var inode = try transaction.required(record.inode)
        if inode.isDirectory && directory.linkCount >= Self.maximumLinks { throw .tooManyLinks }
        // While the trash counts, nothing of a file is new; a directory is a second one.
        if inode.isDirectory || !configuration.trash.countsInLimits {
            try checkRoom(forInodes: 1, transaction)
            try checkRoom(forBytes: inode.allocated, transaction)
        }
        try transaction.requireQuota([
            .init(bytes: Int64(clamping: inode.allocated), inodes: 1, place: parent)
        ])
        inode.changed = now
        inode.parent = parent
        if inode.isDirectory {
            inode.id = try transaction.allocateInodeID()
            inode.linkCount = 2
            try transaction.insert(inode)
            // They are what its record counts.
            _ = try transaction.copyAttributes(of: record.inode, to: inode.id)
            directory.linkCount += 1
        } else {
            inode.linkCount = 1
            try transaction.removeFromTrash(record)
            try transaction.update(inode)
        }
        try transaction.link(name, in: parent, to: inode.id)
        try transaction.update(directory)
        changes.add(name, in: parent)
        try changes.settle(now, transaction)
        return inode.id
    }
}
