import CFUSE
import FileModel
import Glibc
import VFS

extension Connection {
    static func addListings(_ table: inout fuse_lowlevel_ops) {
        table.readdir = { request, number, size, offset, _ in
            Connection.fenced(request) {
                answer(request) { bridge throws(Errno) in
                    try bridge.list(request, number, size, offset, withAttributes: false)
                }
            }
        }
        table.readdirplus = { request, number, size, offset, _ in
            Connection.fenced(request) {
                answer(request) { bridge throws(Errno) in
                    try bridge.list(request, number, size, offset, withAttributes: true)
                }
            }
        }
    }

    /// Runs what answers a listing, until the kernel has it.
    private static func fenced(_ request: fuse_req_t?, _ body: () -> Void) {
        guard let userdata = fuse_req_userdata(request) else { return body() }
        Unmanaged<Connection>.fromOpaque(userdata)._withUnsafeGuaranteedRef { connection in
            let pass = connection.listings.enter()
            body()
            connection.listings.leave(pass)
        }
    }

    /// Bytes a listing takes for an entry at least, with attributes and without (`linux/fuse.h`).
    private static let smallestEntry = (plain: 32, withAttributes: 160)

    private func list(
        _ request: fuse_req_t?, _ number: fuse_ino_t, _ size: Int, _ offset: off_t, withAttributes: Bool
    ) throws(Errno) -> Reply {
        guard let request else { throw .invalidArgument }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
        var used = 0
        var held: [InodeID] = []
        let smallest = withAttributes ? Self.smallestEntry.withAttributes : Self.smallestEntry.plain
        do throws(Errno) {
            try entries(of: number, from: try unsigned(offset), batch: max(1, size / smallest)) { listed, session in
                let rest = UnsafeMutableRawBufferPointer(rebasing: memory[used...])
                let needed = self.add(listed, to: rest, request, withAttributes)
                guard needed <= rest.count else { return false }
                used += needed
                if withAttributes, let session, !Self.isDotEntry(listed.name) {
                    session.retain(SnapshotNode(listed.inode.id)?.inode ?? listed.inode.id)
                    held.append(listed.inode.id)
                }
                return true
            }
        } catch {
            for id in held { forget(id, count: 1) }
            memory.deallocate()
            throw error
        }
        return .listing(memory, count: used, held: held)
    }

    /// Entries by the kernel's numbers, each with the session that is to hold it.
    @inline(__always)
    private func entries(
        of number: fuse_ino_t, from offset: UInt64, batch: Int, take: (ListedEntry, Session?) -> Bool
    ) throws(Errno) {
        if let directory = snapshots(number) { return try directory.list(from: offset) { take($0, nil) } }
        let place = try place(number)
        guard place.node != nil else {
            return try place.fileSystem.list(place.inode, from: offset, batch: batch) { take($0, place.session) }
        }
        var failure: Errno?
        try place.fileSystem.list(place.inode, from: offset, batch: batch) { listed in
            do throws(Errno) {
                var listed = listed
                listed.inode.id = try place.number(of: listed.inode.id)
                return take(listed, place.session)
            } catch {
                failure = error
                return false
            }
        }
        if let failure { throw failure }
    }

    /// Bytes the entry takes; more than there are where it does not fit.
    private func add(
        _ listed: ListedEntry, to memory: UnsafeMutableRawBufferPointer, _ request: fuse_req_t, _ withAttributes: Bool
    ) -> Int {
        let start = memory.baseAddress?.assumingMemoryBound(to: CChar.self)
        let next = off_t(listed.nextOffset)
        return (listed.name + [0]).withUnsafeBytes { raw in
            let name = raw.baseAddress?.assumingMemoryBound(to: CChar.self)
            if withAttributes {
                var entry = self.entry(of: listed.inode)
                // No number: the kernel takes the name alone, and looks it up when it is used.
                if SnapshotNode.isVolatile(listed.inode.id) { entry.ino = 0 }
                return fuse_add_direntry_plus(request, start, memory.count, name, &entry, next)
            }
            var status = stat()
            status.st_ino = UInt(listed.inode.id.rawValue)
            status.st_mode = listed.inode.kind.rawValue
            return fuse_add_direntry(request, start, memory.count, name, &status, next)
        }
    }

    /// The kernel takes "." and ".." from a listing without remembering them.
    private static func isDotEntry(_ name: [UInt8]) -> Bool { name == [0x2E] || name == [0x2E, 0x2E] }
}
