import FileModel
import Metadata

/// What `renameat2` asks beyond a rename.
public enum RenameMode: Sendable {
    case replace
    /// RENAME_NOREPLACE
    case keep
    /// RENAME_EXCHANGE
    case exchange
}

/// Both names of a rename.
public struct RenameNames: Sendable {
    public var oldParent: InodeID
    public var oldName: FileName
    public var newParent: InodeID
    public var newName: FileName

    public init(oldParent: InodeID, oldName: FileName, newParent: InodeID, newName: FileName) {
        self.oldParent = oldParent
        self.oldName = oldName
        self.newParent = newParent
        self.newName = newName
    }
}

extension FileSystem {
    /// Moves a name, in one step. What had the new name loses it, or gets the old one in an exchange.
    public func rename(_ names: RenameNames, mode: RenameMode, caller: Caller) throws(Errno) {
        let now = configuration.now()
        let (moved, replaced) = try write(caller.session) { transaction throws(Errno) in
            let move = try Move(names, mode, transaction)
            guard !move.isNothing else { return ([InodeID](), Inode?.none) }
            // What was renamed has a new time of change, what was replaced fewer links: other names show both.
            try move.requireQuota(transaction)
            return (
                [move.source.id] + (move.target.map { [$0.id] } ?? []),
                try self.carryOut(move, caller, now, transaction)
            )
        }
        if let replaced { unnamed(replaced) }
        announce(
            caller.session,
            [
                .entry(parent: names.oldParent, name: names.oldName), .listing(names.oldParent),
                .entry(parent: names.newParent, name: names.newName), .listing(names.newParent),
            ] + moved.map { .attributes($0) })
    }

    /// Answers the inode that lost a name.
    private func carryOut(
        _ move: Move, _ caller: Caller, _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) -> Inode? {
        let names = move.names
        var replaced: Inode?
        if let target = move.target, move.mode != .exchange {
            replaced = try dropLink(
                target, named: names.newName, in: names.newParent, .kept(as: nil), caller, now, transaction)
        }
        try transaction.link(names.newName, in: names.newParent, to: move.source.id)
        if let target = move.target, move.mode == .exchange {
            try transaction.link(names.oldName, in: names.oldParent, to: target.id)
            try settle(target, from: names.newParent, to: names.oldParent, now, transaction)
        } else {
            try transaction.unlink(names.oldName, in: names.oldParent)
        }
        try settle(move.source, from: names.oldParent, to: names.newParent, now, transaction)
        for (id, difference) in move.linkDifferences {
            guard var directory = try transaction.inode(id) else { throw .io }
            directory.changeLinks(by: difference)
            directory.touchEntries(now)
            try transaction.update(directory)
        }
        return replaced
    }

    private func settle(
        _ moved: Inode, from old: InodeID, to new: InodeID, _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) {
        // Read again: the moved directory may be the parent of the other name, too.
        var inode = try transaction.required(moved.id)
        if inode.isDirectory { inode.parent = new } else { try transaction.nameMoved(of: &inode, from: old, to: new) }
        inode.changed = now
        try transaction.update(inode)
    }
}

/// A rename that passed every check.
private struct Move {
    let names: RenameNames
    let mode: RenameMode
    let source: Inode
    let target: Inode?
    /// Both names stand for one inode: POSIX says to do nothing.
    let isNothing: Bool

    init(_ names: RenameNames, _ mode: RenameMode, _ transaction: any MetadataTransaction) throws(Errno) {
        self.names = names
        self.mode = mode
        _ = try transaction.directory(names.oldParent)
        _ = try transaction.liveDirectory(names.newParent)
        guard let sourceID = try transaction.entry(names.oldName, in: names.oldParent) else { throw .noEntry }
        let targetID = try transaction.entry(names.newName, in: names.newParent)
        if mode == .keep && targetID != nil { throw .alreadyExists }
        if mode == .exchange && targetID == nil { throw .noEntry }
        source = try transaction.required(sourceID)
        target = if let targetID { try transaction.required(targetID) } else { nil }
        isNothing = sourceID == targetID
        guard !isNothing else { return }
        if source.isDirectory { try Self.refuseCycle(source.id, names.newParent, transaction) }
        if mode == .exchange, let target, target.isDirectory {
            try Self.refuseCycle(target.id, names.oldParent, transaction)
        }
        guard mode == .replace, let target else { return }
        if source.isDirectory {
            guard target.isDirectory else { throw .notDirectory }
            guard try !transaction.hasEntries(in: target.id) else { throw .directoryNotEmpty }
        } else if target.isDirectory {
            throw .isDirectory
        }
    }

    /// A directory cannot move below itself. The kernel checks its own mount; two sessions may race.
    private static func refuseCycle(
        _ moved: InodeID, _ destination: InodeID, _ transaction: any MetadataTransaction
    ) throws(Errno) {
        var step = destination
        // A ring in damaged metadata comes back to a place that was passed: one more is remembered after each twice as
        // many steps.
        var passed = step
        var (steps, limit) = (0, 1)
        while true {
            guard step != moved else { throw .invalidArgument }
            guard step != .root, let parent = try transaction.inode(step)?.parent else { return }
            guard parent != passed else { throw .io }
            step = parent
            steps += 1
            if steps == limit { (passed, steps, limit) = (step, 0, limit * 2) }
        }
    }

    /// What moves must have room in the quotas it comes to, less what is moved away or replaced there.
    func requireQuota(_ transaction: any MetadataTransaction) throws(Errno) {
        guard transaction.hasQuotas else { return }
        let (old, new) = (names.oldParent, names.newParent)
        var changes: [QuotaChange] = []
        try add(source, from: old, to: new, &changes, transaction)
        if let target {
            if mode == .exchange {
                try add(target, from: new, to: old, &changes, transaction)
            } else if target.isDirectory || target.linkCount == 1 {
                changes.append(.init(bytes: -Int64(clamping: target.allocated), inodes: -1, place: new))
            }
        }
        try transaction.requireQuota(changes)
    }

    private func add(
        _ moved: Inode, from old: InodeID, to new: InodeID, _ changes: inout [QuotaChange],
        _ transaction: any MetadataTransaction
    ) throws(Errno) {
        guard old != new else { return }
        // Its other names stay where they are.
        if !moved.isDirectory && moved.linkCount > 1 { return try transaction.requireSameQuotas(old, new) }
        let usage =
            moved.isDirectory ? try transaction.usage(below: moved.id) : Usage(files: 1, bytes: moved.allocated)
        let (bytes, inodes) = (Int64(clamping: usage.bytes), Int64(clamping: usage.files))
        changes.append(.init(bytes: bytes, inodes: inodes, place: new))
        changes.append(.init(bytes: -bytes, inodes: -inodes, place: old))
    }

    /// By how much the link counts of both parents change: each subdirectory's ".." is a link.
    var linkDifferences: [InodeID: Int64] {
        // Assigned, not a literal: both parents may be one directory.
        var differences: [InodeID: Int64] = [:]
        differences[names.oldParent] = 0
        differences[names.newParent] = 0
        if source.isDirectory {
            differences[names.oldParent, default: 0] -= 1
            differences[names.newParent, default: 0] += 1
        }
        if let target, target.isDirectory {
            differences[names.newParent, default: 0] -= 1
            if mode == .exchange { differences[names.oldParent, default: 0] += 1 }
        }
        return differences
    }
}
