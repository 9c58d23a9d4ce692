import CFUSE
import FileModel
import VFS

/// What a number of the kernel's names: an inode of the volume, or of a snapshot that is seen through `.snapshots`.
struct Place {
    let fileSystem: FileSystem
    let inode: InodeID
    /// What the kernel's lookups are counted in.
    let session: Session
    /// Nil for the volume's own.
    let node: SnapshotNode?

    /// The kernel's number for another inode of the same file system.
    @inline(__always)
    func number(of id: InodeID) throws(Errno) -> InodeID {
        guard let node else { return id }
        return try node.sibling(id).number
    }
}

extension Connection {
    @inline(__always)
    func place(_ number: fuse_ino_t) throws(Errno) -> Place {
        let id = FUSEBridge.inode(number)
        guard SnapshotNode.isOne(id) else {
            return Place(fileSystem: fileSystem, inode: id, session: session, node: nil)
        }
        return try snapshotPlace(id)
    }

    @inline(never)
    private func snapshotPlace(_ number: InodeID) throws(Errno) -> Place {
        guard let snapshots, let node = SnapshotNode(number) else { throw .stale }
        guard node != .directory else { throw .isDirectory }
        return Place(fileSystem: try snapshots.view(of: node.ordinal), inode: node.inode, session: browsing, node: node)
    }

    /// An inode that a request is to change. Answers EROFS in a snapshot.
    @inline(__always)
    func changeable(_ number: fuse_ino_t) throws(Errno) -> InodeID {
        let id = FUSEBridge.inode(number)
        guard !SnapshotNode.isOne(id) else { throw .readOnly }
        return id
    }

    /// The kernel forgot lookups of what it knows by a number.
    func forget(_ number: InodeID, count: UInt64) {
        guard let node = SnapshotNode(number) else {
            return fileSystem.forget(number, count: count, session: session)
        }
        browsing.forget(node.inode, count: count)
    }

    /// `.snapshots`, where it is meant: a name of the volume's own comes first.
    @inline(__always)
    func isSnapshotDirectory(_ name: [UInt8], in parent: fuse_ino_t) -> Bool {
        snapshots != nil && FUSEBridge.inode(parent) == .root && name == SnapshotDirectory.name.bytes
    }

    func snapshotDirectoryAttributes() throws(Errno) -> Inode {
        guard let snapshots else { throw .noEntry }
        return try snapshots.attributes()
    }

    /// Runs what takes a name from a directory. Answers EROFS for `.snapshots` where that is ours.
    func removing(
        _ text: UnsafePointer<CChar>?, from parent: fuse_ino_t, _ body: () throws(Errno) -> Void
    ) throws(Errno) -> Reply {
        do throws(Errno) {
            try body()
            return .done
        } catch {
            guard error == .noEntry, isSnapshotDirectory(try bytes(text), in: parent) else { throw error }
            _ = try snapshotDirectoryAttributes()
            throw .readOnly
        }
    }

    /// The directory of snapshots, where a number is its.
    @inline(__always)
    func snapshots(_ number: fuse_ino_t) -> SnapshotDirectory? {
        FUSEBridge.inode(number) == SnapshotNode.directory.number ? snapshots : nil
    }
}
