import FileModel
import Metadata

/// One entry of a listing, with the offset that continues after it.
public struct ListedEntry: Sendable {
    public var name: [UInt8]
    public var inode: Inode
    public var nextOffset: UInt64
}

extension FileSystem {
    /// Offsets of a listing's first two entries. Names follow, with offsets of 2^61 and more.
    private enum Offset {
        static let start: UInt64 = 0
        static let afterDot: UInt64 = 1
        static let afterDotDot: UInt64 = 2
    }

    /// Hands entries from `offset` on to `take`, in order, until it answers false or the directory ends.
    /// Sends no entry twice and misses none that was there all the time.
    public func list(
        _ directory: InodeID, from offset: UInt64, batch: Int, take: (ListedEntry) -> Bool
    ) throws(Errno) {
        var offset = offset
        if offset < Offset.afterDotDot {
            let (own, parent) = try read { transaction throws(Errno) in
                let own = try transaction.directory(directory)
                let parent = try own.parent.map { id throws(Errno) in try transaction.inode(id) } ?? nil
                return (own, parent ?? own)
            }
            if offset == Offset.start {
                guard take(ListedEntry(name: [0x2E], inode: own, nextOffset: Offset.afterDot)) else { return }
            }
            guard take(ListedEntry(name: [0x2E, 0x2E], inode: parent, nextOffset: Offset.afterDotDot)) else { return }
            offset = Offset.afterDotDot
        }
        var last = offset == Offset.afterDotDot ? nil : try name(at: offset, in: directory)
        while true {
            let entries = try read { transaction throws(Errno) in
                try transaction.entries(in: directory, after: last, limit: batch)
            }
            guard let end = entries.last else { return }
            for index in entries.indices {
                let entry = entries[index]
                let next = DirectoryCursors.offset(of: entry.name)
                guard take(ListedEntry(name: entry.name.bytes, inode: entry.inode, nextOffset: next)) else {
                    return cursors.remember(entries[..<index], of: directory)
                }
            }
            cursors.remember(entries[...], of: directory)
            guard entries.count == batch else { return }
            last = end.name
        }
    }

    /// The name an offset was handed out for. An unknown one, whose entry is gone too, starts over: a listing
    /// may repeat names then, and misses none.
    private func name(at offset: UInt64, in directory: InodeID) throws(Errno) -> FileName? {
        if let name = cursors.name(at: offset, in: directory) { return name }
        var last: FileName?
        while true {
            let entries = try read { transaction throws(Errno) in
                try transaction.entries(in: directory, after: last, limit: Self.searchBatch)
            }
            if let found = entries.first(where: { DirectoryCursors.offset(of: $0.name) == offset }) {
                return found.name
            }
            guard entries.count == Self.searchBatch else { return nil }
            last = entries.last?.name
        }
    }

    /// Entries read at once while an old offset is searched: short enough to let other requests in between.
    private static let searchBatch = 4096
}
