import FileModel
import Metadata
import Packs

/// What of a snapshot is to be in the volume again, and where: names from the root on.
public struct SnapshotRestoreOrder: Sendable {
    public var source: [FileName]
    public var target: [FileName]
    /// What is at the target goes.
    public var replaces: Bool

    public init(source: [FileName], target: [FileName], replaces: Bool) {
        self.source = source
        self.target = target
        self.replaces = replaces
    }
}

extension FileSystem {
    /// Makes a file or a tree of a snapshot part of the volume again, sharing its packs: no data is copied. It gets its
    /// name once it is whole; until then it has a hidden one beside it. What is replaced is deleted, and so goes to the
    /// trash where there is one. Quotas must have room for both. Answers ENOENT for a source, or a target's
    /// directory, that is not there, and EEXIST for a target that is, unless it is to be replaced.
    public func restore(_ order: SnapshotRestoreOrder, from snapshot: FileSystem) throws(Errno) -> Usage {
        try snapshotLock.withLock { () throws(Errno) in try restoreAlone(order, from: snapshot) }
    }

    private func restoreAlone(_ order: SnapshotRestoreOrder, from snapshot: FileSystem) throws(Errno) -> Usage {
        guard let name = order.target.last else { throw .invalidArgument }
        let source = try snapshot.find(order.source)
        let parent = try find(Array(order.target.dropLast()))
        guard parent.isDirectory else { throw .notDirectory }
        let isTaken = try exists(name, in: parent.id)
        guard order.replaces || !isTaken else { throw .alreadyExists }
        try requireRoom()
        let session = Session(name: "restore", identity: .oneToOne, isReadOnly: false, invalidate: { _, _ in })
        // A session like others, so that theirs hear of what changes.
        attach(session)
        defer { detach(session) }
        let caller = Caller(session: session, userID: 0, groupID: 0, isSuperuser: true, umask: 0)
        let hidden = FileName(
            trusted: Array(".berth-restore-\(String(UInt64.random(in: .min ... .max), radix: 16))".utf8))
        var work = RestoreUnderWay(parent: parent.id, hidden: hidden, name: name)
        try note(work)
        var copy = TreeCopy(from: snapshot, to: self)
        do throws(Errno) {
            try copy.run(source, as: hidden, in: parent.id)
            work.copy = try entry(hidden, in: parent.id)
            try note(work)
            try give(hidden, name, in: parent.id, order.replaces, caller)
            try note(nil)
        } catch {
            try? settle(work, caller)
            throw error
        }
        return copy.made
    }

    // MARK: One that was cut short

    private func note(_ work: RestoreUnderWay?) throws(Errno) {
        try maintain { transaction throws(Errno) in
            try transaction.setSetting(SettingKey.restoreUnderWay, to: work?.words ?? "")
        }
    }

    /// Takes away what a restoration that a crash cut short left beside its target.
    func settleRestore() throws(Errno) {
        let words = try read { transaction throws(Errno) in try transaction.setting(SettingKey.restoreUnderWay) }
        guard let words, let work = RestoreUnderWay(words) else { return }
        let session = Session(name: "restore", identity: .oneToOne, isReadOnly: false, invalidate: { _, _ in })
        attach(session)
        defer { detach(session) }
        try settle(work, Caller(session: session, userID: 0, groupID: 0, isSuperuser: true, umask: 0))
    }

    /// Under the hidden name is the copy, which nobody was told of, or else what it has replaced.
    private func settle(_ work: RestoreUnderWay, _ caller: Caller) throws(Errno) {
        if let left = try entry(work.hidden, in: work.parent) {
            let isReplaced = work.copy != nil && work.copy != left
            try removeTree(work.hidden, in: work.parent, isReplaced ? .kept(as: work.name) : .discarded, caller)
        }
        try note(nil)
    }

    private func entry(_ name: FileName, in parent: InodeID) throws(Errno) -> InodeID? {
        try read { transaction throws(Errno) in try transaction.entry(name, in: parent) }
    }

    private func exists(_ name: FileName, in parent: InodeID) throws(Errno) -> Bool {
        try entry(name, in: parent) != nil
    }

    /// Gives the restored tree its name, in one step; what had it goes then.
    private func give(
        _ hidden: FileName, _ name: FileName, in parent: InodeID, _ replaces: Bool, _ caller: Caller
    ) throws(Errno) {
        let names = RenameNames(oldParent: parent, oldName: hidden, newParent: parent, newName: name)
        let isTaken = try exists(name, in: parent)
        guard replaces, isTaken else { return try rename(names, mode: .keep, caller: caller) }
        try rename(names, mode: .exchange, caller: caller)
        try removeTree(hidden, in: parent, .kept(as: name), caller)
    }

    /// Removes a name and all below it.
    private func removeTree(
        _ name: FileName, in parent: InodeID, _ departure: Departure, _ caller: Caller
    ) throws(Errno) {
        guard try exists(name, in: parent) else { return }
        // Depth first; each directory is looked at again when what was below it is gone.
        var path: [(parent: InodeID, name: FileName)] = [(parent, name)]
        while let last = path.last {
            let (inode, child) = try read { transaction throws(Errno) in
                guard let id = try transaction.entry(last.name, in: last.parent) else { throw .noEntry }
                let inode = try transaction.required(id)
                return (
                    inode, inode.isDirectory ? try transaction.entries(in: id, after: nil, limit: 1).first?.name : nil
                )
            }
            if let child {
                path.append((inode.id, child))
                continue
            }
            path.removeLast()
            // Only the name at the top is another than it had.
            let fate = path.isEmpty || departure == .discarded ? departure : .kept(as: nil)
            if inode.isDirectory {
                try removeDirectory(last.name, in: last.parent, fate, caller)
            } else {
                try unlink(last.name, in: last.parent, fate, caller)
            }
        }
    }
}

/// A restoration from a snapshot that has not ended, as the metadata keeps it. One at a time: `snapshotLock`.
private struct RestoreUnderWay {
    var parent: InodeID
    var hidden: FileName
    var name: FileName
    /// What the hidden name stands for once the copy is whole; nil before.
    var copy: InodeID?

    init(parent: InodeID, hidden: FileName, name: FileName) {
        self.parent = parent
        self.hidden = hidden
        self.name = name
    }

    /// Names are any bytes, and go as numbers.
    var words: String {
        let names = [hidden, name].map { $0.bytes.map { String($0) }.joined(separator: ".") }
        return "\(parent.rawValue) \(copy?.rawValue ?? 0) \(names[0]) \(names[1])"
    }

    init?(_ words: String) {
        let parts = words.split(separator: " ")
        guard parts.count == 4, let parent = UInt64(parts[0]), let copy = UInt64(parts[1]) else { return nil }
        let names = parts[2...].map { $0.split(separator: ".").compactMap { UInt8($0) } }
        self.parent = InodeID(rawValue: parent)
        self.copy = copy == 0 ? nil : InodeID(rawValue: copy)
        hidden = FileName(trusted: names[0])
        name = FileName(trusted: names[1])
    }
}
