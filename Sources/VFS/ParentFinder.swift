import FileModel
import Metadata

/// Finds the directories of paths; neighbours mostly have the same.
struct ParentFinder {
    enum Found {
        case found(InodeID)
        case blocked(by: FileName)
    }

    let place: [FileName]
    private var last: (path: ArraySlice<FileName>, id: InodeID)?

    init(place: [FileName]) {
        self.place = place
    }

    /// A directory is another one, or none, by now.
    mutating func forget() { last = nil }

    /// Makes with `make` what is missing.
    mutating func made(
        _ path: [FileName], _ transaction: any MetadataTransaction,
        make: (FileName, InodeID) throws(Errno) -> InodeID
    ) throws(Errno) -> Found {
        let parents = path.dropLast()
        if let last, last.path == parents { return .found(last.id) }
        var id = InodeID.root
        for name in place + parents {
            if let next = try transaction.entry(name, in: id) {
                guard try transaction.inode(next)?.isDirectory == true else { return .blocked(by: name) }
                id = next
            } else {
                id = try make(name, id)
            }
        }
        last = (parents, id)
        return .found(id)
    }

    /// Nil where one of them is not there.
    mutating func existing(_ path: [FileName], _ transaction: any MetadataTransaction) throws(Errno) -> InodeID? {
        let parents = path.dropLast()
        if let last, last.path == parents { return last.id }
        var id = InodeID.root
        for name in place + parents {
            guard let next = try transaction.entry(name, in: id),
                try transaction.inode(next)?.isDirectory == true
            else { return nil }
            id = next
        }
        last = (parents, id)
        return id
    }

    /// What a path from the place stands for.
    mutating func lookup(_ path: [FileName], _ transaction: any MetadataTransaction) throws(Errno) -> InodeID? {
        guard let name = path.last, let parent = try existing(path, transaction) else { return nil }
        return try transaction.entry(name, in: parent)
    }

    func find(_ path: [FileName], _ transaction: any MetadataTransaction) throws(Errno) -> InodeID? {
        var copy = self
        return try copy.lookup(path, transaction)
    }
}
