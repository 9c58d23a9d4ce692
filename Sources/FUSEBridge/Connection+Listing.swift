import CFUSE
import FileModel
import Glibc
import VFS

extension Connection {
    static func addListings(_ table: inout fuse_lowlevel_ops) {
        table.readdir = { request, number, size, offset, _ in
            answer(request) { bridge throws(Errno) in
                try bridge.list(request, inode(number), size, offset, withAttributes: false)
            }
        }
        table.readdirplus = { request, number, size, offset, _ in
            answer(request) { bridge throws(Errno) in
                try bridge.list(request, inode(number), size, offset, withAttributes: true)
            }
        }
    }

    /// Bytes a listing takes for an entry at least, with attributes and without (`linux/fuse.h`).
    private static let smallestEntry = (plain: 32, withAttributes: 160)

    private func list(
        _ request: fuse_req_t?, _ directory: InodeID, _ size: Int, _ offset: off_t, withAttributes: Bool
    ) throws(Errno) -> Reply {
        guard let request else { throw .invalidArgument }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
        var used = 0
        var held: [InodeID] = []
        let smallest = withAttributes ? Self.smallestEntry.withAttributes : Self.smallestEntry.plain
        do throws(Errno) {
            try fileSystem.list(directory, from: try unsigned(offset), batch: max(1, size / smallest)) { listed in
                let rest = UnsafeMutableRawBufferPointer(rebasing: memory[used...])
                let needed = self.add(listed, to: rest, request, withAttributes)
                guard needed <= rest.count else { return false }
                used += needed
                if withAttributes && !Self.isDotEntry(listed.name) {
                    session.retain(listed.inode.id)
                    held.append(listed.inode.id)
                }
                return true
            }
        } catch {
            for id in held { fileSystem.forget(id, count: 1, session: session) }
            memory.deallocate()
            throw error
        }
        return .listing(memory, count: used, held: held)
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
