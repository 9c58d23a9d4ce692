import FileModel
import Metadata

// Where files with more than one name have them. A file counts in one of these directories, its `parent`: the one of
// its first name, and once that is gone the one that is oldest of the rest.
extension MetadataTransaction {
    /// A file is about to get one more name. The caller changes its link count and stores the record.
    func nameAdded(to inode: inout Inode, in directory: InodeID) throws(Errno) {
        switch (inode.linkCount, inode.parent) {
        case (0, _): inode.parent = directory
        case (1, let first?):
            try setHardLinks(of: inode.id, in: first, to: first == directory ? 2 : 1)
            if first != directory { try setHardLinks(of: inode.id, in: directory, to: 1) }
        default:
            let names = try hardLinks(of: inode.id).first { $0.directory == directory }?.names ?? 0
            try setHardLinks(of: inode.id, in: directory, to: names + 1)
        }
    }

    /// A file that had more than one name has lost the one in a directory; its link count says so already.
    func nameRemoved(from inode: inout Inode, in directory: InodeID) throws(Errno) {
        guard inode.linkCount > 0 else { return }
        let links = try hardLinks(of: inode.id)
        var left = links.filter { $0.directory != directory }
        if let names = links.first(where: { $0.directory == directory })?.names {
            try setHardLinks(of: inode.id, in: directory, to: names - 1)
            if names > 1 { left.append((directory, names - 1)) }
        }
        if !left.contains(where: { $0.directory == inode.parent }) {
            inode.parent = left.first?.directory ?? inode.parent
        }
        guard inode.linkCount == 1, let last = left.first else { return }
        try setHardLinks(of: inode.id, in: last.directory, to: 0)
    }

    /// A name of a file goes from one directory to another.
    func nameMoved(of inode: inout Inode, from old: InodeID, to new: InodeID) throws(Errno) {
        guard old != new else { return }
        guard inode.linkCount > 1 else { return inode.parent = new }
        let links = try hardLinks(of: inode.id)
        let before = links.first { $0.directory == old }?.names ?? 1
        try setHardLinks(of: inode.id, in: old, to: before - 1)
        try setHardLinks(of: inode.id, in: new, to: (links.first { $0.directory == new }?.names ?? 0) + 1)
        if before == 1 && inode.parent == old { inode.parent = new }
    }

    /// Answers EXDEV where names in both directories would be of one file and count for different quotas, as other file
    /// systems with quotas of directories do: programs copy then.
    func requireSameQuotas(_ one: InodeID, _ other: InodeID) throws(Errno) {
        guard hasQuotas, one != other else { return }
        let (first, second) = (try quotas(governing: one), try quotas(governing: other))
        guard first.map(\.directory) == second.map(\.directory) else { throw .crossDevice }
    }
}
