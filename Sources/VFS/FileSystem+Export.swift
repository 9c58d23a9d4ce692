import FileModel
import Metadata

/// What whoever writes a volume out needs: looks that hold no inode.
extension FileSystem {
    /// What a path of the volume stands for; links are not followed. Answers ENOENT for one that is not there.
    public func find(_ path: [FileName]) throws(Errno) -> Inode {
        try read { transaction throws(Errno) in try transaction.walk(path) }
    }

    /// Entries of a directory in the order of their names, after one (nil: from the first).
    public func entries(
        of directory: InodeID, after name: FileName?, limit: Int
    ) throws(Errno) -> [DirectoryEntry] {
        try read { transaction throws(Errno) in
            try transaction.entries(in: directory, after: name, limit: limit)
        }
    }

    /// The runs of a file's bytes that are no holes, neighbours as one.
    public func dataRanges(of id: InodeID) throws(Errno) -> [Range<UInt64>] {
        try read { transaction throws(Errno) in
            guard let inode = try transaction.inode(id) else { throw .stale }
            var ranges: [Range<UInt64>] = []
            for extent in try transaction.extents(of: id, overlapping: 0..<max(inode.size, 1)) {
                let range = extent.fileOffset..<min(extent.end, inode.size)
                guard !range.isEmpty else { continue }
                if let last = ranges.last, last.upperBound == range.lowerBound {
                    ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
                } else {
                    ranges.append(range)
                }
            }
            return ranges
        }
    }

    /// The mode of an inode for a place that does not get its access control list: the group's bits are those that the list
    /// gives the group, where `stat` shows the most that anybody in the list has.
    public func permissionsWithoutList(of inode: Inode, session: Session) -> UInt32 {
        guard let bytes = try? attribute(AccessControlList.accessAttribute, of: inode.id, session: session),
            let list = AccessControlList(decoding: bytes)
        else { return inode.permissions }
        return inode.permissions & (~0o070 | list.groupPermissions << 3)
    }

    public static var accessListAttribute: [UInt8] { AccessControlList.accessAttribute }
}
