import CSQLite
import FileModel
import Metadata

extension SQLiteTransaction {
    func entry(_ name: FileName, in directory: InodeID) throws(Errno) -> InodeID? {
        if absentNames.contains(where: { $0.directory == directory && $0.name == name }) { return nil }
        statements.selectEntry.bind(1, directory.rawValue)
        statements.selectEntry.bind(2, name.bytes)
        let found = try first(statements.selectEntry) { InodeID(rawValue: $0.unsigned(0)) }
        guard let found else {
            if absentNames.count == Self.absentNameLimit { absentNames.removeFirst() }
            absentNames.append((directory, name))
            return nil
        }
        guard found.isPossible else { throw corrupt("entry \(name) names inode \(found.rawValue)") }
        return found
    }

    func entries(in directory: InodeID, after name: FileName?, limit: Int) throws(Errno) -> [DirectoryEntry] {
        let statement = name == nil ? statements.listFirst : statements.listAfter
        statement.bind(1, directory.rawValue)
        if let name { statement.bind(2, name.bytes) }
        statement.bind(3, Int64(limit))
        let rows = try all(statement) { row in
            (
                name: FileName(trusted: row.bytes(13)), target: InodeID(rawValue: row.unsigned(12)),
                inode: row.isNull(0) ? nil : Self.readInode(row)
            )
        }
        var entries: [DirectoryEntry] = []
        entries.reserveCapacity(rows.count)
        for row in rows {
            // The cache first: the table's record may be older, or not there yet.
            guard row.target.isPossible, let inode = cache[row.target]?.inode ?? row.inode else {
                throw corrupt("entry \(row.name) names inode \(row.target.rawValue), which does not exist")
            }
            entries.append(DirectoryEntry(name: row.name, inode: inode))
        }
        return entries
    }

    func hasEntries(in directory: InodeID) throws(Errno) -> Bool {
        statements.anyEntry.bind(1, directory.rawValue)
        return try first(statements.anyEntry) { _ in true } ?? false
    }

    func link(_ name: FileName, in directory: InodeID, to target: InodeID) throws(Errno) {
        changed(.link(name, in: directory, to: target))
        absentNames.removeAll { $0.directory == directory && $0.name == name }
        statements.putEntry.bind(1, directory.rawValue)
        statements.putEntry.bind(2, name.bytes)
        statements.putEntry.bind(3, target.rawValue)
        try run(statements.putEntry)
        if try inode(target)?.isDirectory == true { try noteName(name, of: target) }
    }

    func unlink(_ name: FileName, in directory: InodeID) throws(Errno) {
        changed(.unlink(name, in: directory))
        statements.deleteEntry.bind(1, directory.rawValue)
        statements.deleteEntry.bind(2, name.bytes)
        try run(statements.deleteEntry)
    }

    // MARK: Link targets and extended attributes

    func linkTarget(of inode: InodeID) throws(Errno) -> [UInt8]? {
        statements.selectTarget.bind(1, inode.rawValue)
        return try first(statements.selectTarget) { $0.bytes(0) }
    }

    func setLinkTarget(_ target: [UInt8], of inode: InodeID) throws(Errno) -> Int64 {
        changed(.setLinkTarget(target, of: inode))
        statements.putTarget.bind(1, inode.rawValue)
        statements.putTarget.bind(2, target)
        try run(statements.putTarget)
        return use(Int64(target.count))
    }

    func attribute(_ name: [UInt8], of inode: InodeID) throws(Errno) -> [UInt8]? {
        statements.selectAttribute.bind(1, inode.rawValue)
        statements.selectAttribute.bind(2, name)
        return try first(statements.selectAttribute) { $0.bytes(0) }
    }

    func attributeNames(of inode: InodeID) throws(Errno) -> [[UInt8]] {
        statements.listAttributes.bind(1, inode.rawValue)
        return try all(statements.listAttributes) { $0.bytes(0) }
    }

    func attributeSizes(of inode: InodeID) throws(Errno) -> AttributeSizes {
        statements.measureAttributes.bind(1, inode.rawValue)
        return try first(statements.measureAttributes) {
            AttributeSizes(bytes: $0.unsigned(0), listBytes: $0.unsigned(1))
        } ?? AttributeSizes(bytes: 0, listBytes: 0)
    }

    func setAttribute(_ name: [UInt8], to value: [UInt8], of inode: InodeID) throws(Errno) -> Int64 {
        let before = try size(ofAttribute: name, of: inode)
        changed(.setAttribute(name, to: value, of: inode))
        statements.putAttribute.bind(1, inode.rawValue)
        statements.putAttribute.bind(2, name)
        statements.putAttribute.bind(3, value)
        try run(statements.putAttribute)
        return use(Int64(name.count + value.count).subtractingClamped(before))
    }

    func removeAttribute(_ name: [UInt8], of inode: InodeID) throws(Errno) -> Int64 {
        let before = try size(ofAttribute: name, of: inode)
        changed(.removeAttribute(name, of: inode))
        statements.deleteAttribute.bind(1, inode.rawValue)
        statements.deleteAttribute.bind(2, name)
        try run(statements.deleteAttribute)
        return use(-before)
    }

    /// Bytes of name and value; 0 where there is no such attribute.
    private func size(ofAttribute name: [UInt8], of inode: InodeID) throws(Errno) -> Int64 {
        statements.measureAttribute.bind(1, inode.rawValue)
        statements.measureAttribute.bind(2, name)
        return try first(statements.measureAttribute) { $0.integer(0) } ?? 0
    }

    /// Counts bytes that are in no pack for the volume. Answers their number.
    private func use(_ bytes: Int64) -> Int64 {
        // As with extents where a count is damaged.
        used.bytes =
            bytes < 0
            ? used.bytes - min(used.bytes, bytes.magnitude) : Self.raised(used.bytes, by: bytes.magnitude)
        isCounterDirty = true
        return bytes
    }
}
