import FileModel
import Metadata
import Packs

/// Which packs hold what: found in the metadata alone, a page at a time, so that requests go on meanwhile.
extension FileSystem {
    /// Names of one page: a few milliseconds of the metadata's lock.
    private static let pageEntries = 500

    /// The packs, staged ones too, and the parts of foreign objects that hold the data of everything at and below a path
    /// of the volume (its names from the root on). Links are not followed. Answers ENOENT for a path that is not there.
    public func needed(below path: [FileName]) throws(Errno) -> (packs: [PackRecord], foreign: Set<PackID>) {
        let live = try read { transaction throws(Errno) in try transaction.packs().filter { $0.liveBytes > 0 } }
        if path.isEmpty { return (live, try foreignParts()) }
        var found: Set<PackID> = []
        let top = try read { transaction throws(Errno) in
            var id = InodeID.root
            for name in path {
                guard let next = try transaction.entry(name, in: id) else { throw .noEntry }
                id = next
            }
            guard let inode = try transaction.inode(id) else { throw .noEntry }
            try Self.collect(inode, transaction, &found)
            return inode
        }
        var directories = top.isDirectory ? [top.id] : []
        while let directory = directories.popLast() {
            try collect(directory, &found, &directories)
        }
        return (live.filter { found.contains($0.id) }, found.filter(\.isForeign))
    }

    /// The parts of all foreign objects.
    private func foreignParts() throws(Errno) -> Set<PackID> {
        var found: Set<PackID> = []
        var last: PackID?
        repeat {
            let page = try read { transaction throws(Errno) in
                try transaction.foreignObjects(after: last, limit: Self.pageEntries)
            }
            for (id, object) in page { found.formUnion(id.foreignParts(0..<object.size)) }
            last = page.count < Self.pageEntries ? nil : page.last?.id
        } while last != nil
        return found
    }

    private func collect(
        _ directory: InodeID, _ found: inout Set<PackID>, _ directories: inout [InodeID]
    ) throws(Errno) {
        var last: FileName?
        repeat {
            let page = try read { transaction throws(Errno) in
                let entries = try transaction.entries(in: directory, after: last, limit: Self.pageEntries)
                var packs: Set<PackID> = []
                for entry in entries { try Self.collect(entry.inode, transaction, &packs) }
                return (entries, packs)
            }
            found.formUnion(page.1)
            directories += page.0.map(\.inode).filter(\.isDirectory).map(\.id)
            last = page.0.count < Self.pageEntries ? nil : page.0.last?.name
        } while last != nil
    }

    private static func collect(
        _ inode: Inode, _ transaction: any MetadataTransaction, _ found: inout Set<PackID>
    ) throws(Errno) {
        guard inode.kind == .regular, inode.size > 0 else { return }
        for extent in try transaction.extents(of: inode.id, overlapping: 0..<inode.size) {
            guard extent.pack.isForeign else {
                found.insert(extent.pack)
                continue
            }
            // Of a large object what the file is of.
            found.formUnion(extent.pack.foreignParts(extent.packOffset..<extent.packOffset + extent.length))
        }
    }
}
