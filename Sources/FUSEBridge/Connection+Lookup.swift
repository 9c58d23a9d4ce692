import CFUSE
import FileModel
import Glibc
import VFS

extension Connection {
    static func addLookups(_ table: inout fuse_lowlevel_ops) {
        table.lookup = { request, parent, text in
            answer(request) { bridge throws(Errno) in try bridge.lookup(text, in: inode(parent)) }
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
                .attributes(try bridge.fileSystem.attributes(of: inode(number)))
            }
        }
        table.readlink = { request, number in
            answer(request) { bridge throws(Errno) in .target(try bridge.fileSystem.readLink(inode(number))) }
        }
        table.statfs = { request, number in
            answer(request) { bridge throws(Errno) in .statistics(try bridge.fileSystem.statistics(at: inode(number))) }
        }
    }

    private func lookup(_ text: UnsafePointer<CChar>?, in parent: InodeID) throws(Errno) -> Reply {
        let raw = try bytes(text)
        // Names of file handles (open_by_handle_at): the inode itself, and its parent.
        if raw == [0x2E] {
            let inode = try fileSystem.attributes(of: parent)
            session.retain(inode.id)
            return .entry(inode)
        }
        if raw == [0x2E, 0x2E] { return .entry(try fileSystem.parent(of: parent, session: session)) }
        let name = try FileName(raw)
        do {
            return .entry(try fileSystem.lookup(name, in: parent, session: session))
        } catch .noEntry {
            return .noEntry
        }
    }

    private static func forget(_ request: fuse_req_t?, _ number: fuse_ino_t, _ count: UInt64) {
        guard let userdata = fuse_req_userdata(request) else { return }
        Unmanaged<Connection>.fromOpaque(userdata)._withUnsafeGuaranteedRef {
            $0.fileSystem.forget(inode(number), count: count, session: $0.session)
        }
    }
}
