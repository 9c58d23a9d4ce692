import FileModel
import Metadata

/// What an import adds, for the quotas that it must keep to.
enum QuotaNeeds {
    /// Each addition is at the deepest directory of its path that is there: all quotas it counts for are at or above it.
    static func of(
        _ entries: [ImportedEntry], below place: [FileName], _ transaction: any MetadataTransaction
    ) throws(Errno) -> [QuotaChange] {
        var changes: [QuotaChange] = []
        // Directories that come into being on the way count once.
        var coming: Set<[FileName]> = []
        for entry in entries {
            let bytes = Int64(clamping: entry.byteCount)
            let path = place + entry.path
            let (directory, depth) = try deepest(path, transaction)
            if depth == path.count - 1, let known = try transaction.entry(path[depth], in: directory) {
                let inode = try transaction.required(known)
                if try FileImport.isReplaced(known, by: entry, transaction) {
                    changes.append(.init(bytes: bytes, inodes: 1, place: directory))
                    continue
                }
                changes.append(
                    .init(
                        bytes: max(0, bytes - Int64(clamping: inode.allocated)), inodes: 0,
                        place: inode.isDirectory ? directory : inode.parent ?? directory))
                continue
            }
            var made = depth..<path.count
            if case .hardLink = entry.content { made = depth..<max(depth, path.count - 1) }
            let inodes = made.count { coming.insert(Array(path[...$0])).inserted }
            changes.append(.init(bytes: bytes, inodes: Int64(inodes), place: directory))
        }
        return changes
    }

    /// The last directory of a path, without its last name, that is there, and how many names lead to it.
    private static func deepest(
        _ path: [FileName], _ transaction: any MetadataTransaction
    ) throws(Errno) -> (InodeID, Int) {
        var directory = InodeID.root
        var depth = 0
        while depth < path.count - 1, let next = try transaction.entry(path[depth], in: directory),
            try transaction.required(next).isDirectory
        {
            directory = next
            depth += 1
        }
        return (directory, depth)
    }
}
