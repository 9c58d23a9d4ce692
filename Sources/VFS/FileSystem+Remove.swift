import FileModel
import Metadata

/// What becomes of an inode that loses its last name.
enum Departure: Equatable {
    /// It is kept as the volume keeps what is deleted: under its name, or under another.
    case kept(as: FileName?)
    /// Nobody was told that it is there.
    case discarded
}

extension FileSystem {
    /// Removes a name of anything but a directory. The inode goes to the trash with its last name, or else with its last
    /// holder.
    public func unlink(_ name: FileName, in parent: InodeID, caller: Caller) throws(Errno) {
        try unlink(name, in: parent, .kept(as: nil), caller)
    }

    func unlink(_ name: FileName, in parent: InodeID, _ departure: Departure, _ caller: Caller) throws(Errno) {
        let now = configuration.now()
        let inode = try write(caller.session) { transaction throws(Errno) in
            var directory = try transaction.directory(parent)
            guard let id = try transaction.entry(name, in: parent) else { throw .noEntry }
            let inode = try transaction.required(id)
            guard !inode.isDirectory else { throw .isDirectory }
            // Orphan before unlink: a crash in between must leave the inode reachable by recovery.
            let left = try dropLink(inode, named: name, in: parent, departure, caller, now, transaction)
            try transaction.unlink(name, in: parent)
            directory.touchEntries(now)
            try transaction.update(directory)
            return left
        }
        unnamed(inode)
        announce(caller.session, [.entry(parent: parent, name: name), .listing(parent), .attributes(inode.id)])
    }

    /// Removes an empty directory. Answers ENOTEMPTY while any entry but "." and ".." remains.
    public func removeDirectory(_ name: FileName, in parent: InodeID, caller: Caller) throws(Errno) {
        try removeDirectory(name, in: parent, .kept(as: nil), caller)
    }

    func removeDirectory(
        _ name: FileName, in parent: InodeID, _ departure: Departure, _ caller: Caller
    ) throws(Errno) {
        let now = configuration.now()
        let inode = try write(caller.session) { transaction throws(Errno) in
            var directory = try transaction.directory(parent)
            guard let id = try transaction.entry(name, in: parent) else { throw .noEntry }
            let inode = try transaction.required(id)
            guard inode.isDirectory else { throw .notDirectory }
            guard try !transaction.hasEntries(in: id) else { throw .directoryNotEmpty }
            let left = try dropLink(inode, named: name, in: parent, departure, caller, now, transaction)
            try transaction.unlink(name, in: parent)
            directory.touchEntries(now)
            directory.changeLinks(by: -1)
            try transaction.update(directory)
            return left
        }
        unnamed(inode)
        announce(caller.session, [.entry(parent: parent, name: name), .listing(parent), .attributes(inode.id)])
    }

    /// Takes one name from an inode: all of them from a directory, which has one. An inode that has no
    /// name left goes to the trash, or becomes an orphan.
    func dropLink(
        _ inode: Inode, named name: FileName, in parent: InodeID, _ departure: Departure,
        _ caller: Caller, _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) -> Inode {
        var left = inode
        if inode.isDirectory {
            left.linkCount = 0
        } else {
            left.changeLinks(by: -1)
            try transaction.nameRemoved(from: &left, in: parent)
        }
        left.changed = now
        if left.linkCount == 0 {
            let isKept = try isWorthKeeping(inode, departure, now, transaction)
            left.parent = isKept ? parent : nil
            if isKept {
                var name = name
                if case .kept(let other?) = departure { name = other }
                try transaction.addToTrash(
                    TrashRecord(
                        id: 0, inode: left.id, parent: parent, name: name, deleted: now, userID: caller.userID,
                        isDirectory: left.isDirectory))
            } else {
                try transaction.addOrphan(left.id)
            }
        }
        try transaction.update(left)
        return left
    }

    /// After a transaction in which an inode lost a name: goes on with what is not kept.
    func unnamed(_ inode: Inode) {
        if inode.linkCount == 0 && !inode.isInTrash { orphaned(inode.id) }
    }
}
