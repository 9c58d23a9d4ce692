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
        var copy = TreeCopy(from: snapshot, to: self)
        do throws(Errno) {
            try copy.run(source, as: hidden, in: parent.id)
            try give(hidden, name, in: parent.id, order.replaces, caller)
        } catch {
            try? removeTree(hidden, in: parent.id, .discarded, caller)
            throw error
        }
        return copy.made
    }

    private func exists(_ name: FileName, in parent: InodeID) throws(Errno) -> Bool {
        try read { transaction throws(Errno) in try transaction.entry(name, in: parent) != nil }
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
