import CFUSE
import FileModel
import Glibc
import VFS

extension Connection {
    static func addLookups(_ table: inout fuse_lowlevel_ops) {
        table.lookup = { request, parent, text in
            answer(request) { bridge throws(Errno) in try bridge.lookup(text, in: parent) }
        }
        table.forget = { request, number, count in
            Connection.forget(request, number, count)
            fuse_reply_none(request)
        }
        table.forget_multi = { request, count, list in
            for index in 0..<count {
                guard let item = list?[index] else { break }
                Connection.forget(request, item.ino, item.nlookup)
            }
            fuse_reply_none(request)
        }
        table.getattr = { request, number, _ in
            answer(request) { bridge throws(Errno) in
                .attributes(try bridge.attributes(of: number))
            }
        }
        table.readlink = { request, number in
            answer(request) { bridge throws(Errno) in
                let place = try bridge.place(number)
                return .target(try place.fileSystem.readLink(place.inode))
            }
        }
        table.statfs = { request, number in
            answer(request) { bridge throws(Errno) in
                // In a snapshot, too, the room that matters is the volume's.
                let id = inode(number)
                return .statistics(try bridge.fileSystem.statistics(at: SnapshotNode.isOne(id) ? .root : id))
            }
        }
    }

    private func attributes(of number: fuse_ino_t) throws(Errno) -> Inode {
        if let directory = snapshots(number) { return try directory.attributes() }
        let place = try place(number)
        var inode = try place.fileSystem.attributes(of: place.inode)
        inode.id = try place.number(of: inode.id)
        return inode
    }

    private func lookup(_ text: UnsafePointer<CChar>?, in parent: fuse_ino_t) throws(Errno) -> Reply {
        let raw = try bytes(text)
        if let directory = snapshots(parent) { return .entry(try directory.lookup(try FileName(raw))) }
        let place = try place(parent)
        var inode: Inode
        do {
            inode = try find(raw, in: place)
        } catch .noEntry {
            guard isSnapshotDirectory(raw, in: parent) else { return .noEntry }
            // Where there is none the kernel must not remember that: there may be one soon.
            return .entry(try snapshotDirectoryAttributes())
        }
        inode.id = try place.number(of: inode.id)
        return .entry(inode)
    }

    @inline(__always)
    private func find(_ raw: [UInt8], in place: Place) throws(Errno) -> Inode {
        // Names of file handles (open_by_handle_at): the inode itself, and its parent.
        if raw == [0x2E] {
            let inode = try place.fileSystem.attributes(of: place.inode)
            place.session.retain(inode.id)
            return inode
        }
        if raw == [0x2E, 0x2E] { return try place.fileSystem.parent(of: place.inode, session: place.session) }
        return try place.fileSystem.lookup(try FileName(raw), in: place.inode, session: place.session)
    }

    fileprivate static func forget(_ request: fuse_req_t?, _ number: fuse_ino_t, _ count: UInt64) {
        guard let userdata = fuse_req_userdata(request) else { return }
        Unmanaged<Connection>.fromOpaque(userdata)._withUnsafeGuaranteedRef {
            $0.forget(inode(number), count: count)
        }
    }
}
