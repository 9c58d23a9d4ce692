import CSQLite
import FileModel
import Metadata

extension SQLiteTransaction {
    func inode(_ id: InodeID) throws(Errno) -> Inode? {
        if let cached = cache[id] { return cached.inode }
        statements.selectInode.bind(1, id.rawValue)
        guard let read = try first(statements.selectInode, Self.readInode) else { return nil }
        guard let inode = read else { throw corrupt("inode \(id.rawValue) has an unknown type") }
        try remember(inode, as: .clean)
        return inode
    }

    func touch(_ id: InodeID, accessed: Timestamp) throws(Errno) -> Bool {
        guard fault == nil, var inode = try inode(id), let state = cache[id]?.state else { return false }
        inode.accessed = accessed
        guard state == .clean && touchedInodes.count < Self.touchedLimit else {
            let isDirty = state != .touched
            try remember(inode, as: isDirty ? .dirty : .touched)
            if isDirty { changed(.update(inode)) }
            return isDirty
        }
        touchedInodes.append(id)
        try remember(inode, as: .touched)
        return false
    }

    func allocateInodeID() throws(Errno) -> InodeID {
        let id = InodeID(rawValue: nextInode)
        guard id.isPossible else { throw corrupt("no number is left for another inode") }
        nextInode += 1
        isCounterDirty = true
        return id
    }

    func insert(_ inode: Inode) throws(Errno) {
        changed(.insert(inode))
        used.files = Self.raised(used.files, by: 1)
        isCounterDirty = true
        try remember(inode, as: .dirty)
        try account(from: nil, to: inode)
    }

    func update(_ inode: Inode) throws(Errno) {
        changed(.update(inode))
        let old = try self.inode(inode.id)
        if inode.isDirectory, inode.linkCount > 0, let from = old?.parent, let to = inode.parent, from != to {
            try moveUsage(of: inode.id, from: from, to: to)
        }
        try remember(inode, as: .dirty)
        try account(from: old, to: inode)
    }

    func remove(_ id: InodeID) throws(Errno) {
        guard let inode = try inode(id) else { return }
        changed(.remove(id))
        let growth = try place([], in: 0..<UInt64(Int64.max), of: id)
        for statement in [statements.deleteInode, statements.deleteAttributes] {
            statement.bind(1, id.rawValue)
            try run(statement)
        }
        if inode.kind == .symbolicLink {
            statements.deleteTarget.bind(1, id.rawValue)
            try run(statements.deleteTarget)
        }
        if inode.linkCount == 0 { unmarkOrphan(id) }
        try account(from: inode, to: nil)
        cache[id] = nil
        // A damaged count is the checker's to report, not a reason to trap.
        used.files -= used.files > 0 ? 1 : 0
        // What is not data is its attributes and its target.
        used.bytes -= min(used.bytes, inode.allocated - min(inode.allocated, growth.magnitude))
        isCounterDirty = true
    }

    func addOrphan(_ inode: InodeID) throws(Errno) {
        changed(.addOrphan(inode))
        pendingOrphans[inode] = pendingOrphans[inode] == .removed ? .restored : .added
    }

    func removeOrphan(_ inode: InodeID) throws(Errno) {
        changed(.removeOrphan(inode))
        unmarkOrphan(inode)
    }

    private func unmarkOrphan(_ inode: InodeID) {
        // An orphan that came and went between two commits never reaches the table.
        pendingOrphans[inode] = pendingOrphans[inode] == .added ? nil : .removed
    }

    func orphans(limit: Int) throws(Errno) -> [InodeID] {
        try flushOrphans()
        statements.listOrphans.bind(1, Int64(limit))
        return try all(statements.listOrphans) { InodeID(rawValue: $0.unsigned(0)) }
    }

    // MARK: The inode cache

    private func remember(_ inode: Inode, as state: CachedInode.State) throws(Errno) {
        let before = cache[inode.id]?.state
        if before == nil && cache.count >= Self.cachedInodeLimit { try emptyCache() }
        if state == .dirty {
            noteTelling(inode.id, wasDirty: before == .dirty)
            if before != .dirty { dirtyInodes.append(inode.id) }
        }
        cache[inode.id] = CachedInode(inode: inode, state: state)
    }

    /// Makes room for other inodes. Who only looks at millions of them makes no commit that would.
    private func emptyCache() throws(Errno) {
        if fault == nil {
            if !touchedInodes.isEmpty { isDirty = true }
            try writeInodes(all: true)
        } else {
            forgetDirty()
            touchedInodes.removeAll()
        }
        cache.removeAll(keepingCapacity: true)
    }

    /// Writes what is dirty into the tables, and some of what is touched, or all. The caller commits.
    func flush(all: Bool = false) throws(Errno) {
        try foldUsage()
        try writeUsage()
        try writeInodes(all: all)
        try flushOrphans()
        for id in dirtyPacks {
            guard let record = packRecords[id] else { continue }
            try write(record)
        }
        dirtyPacks.removeAll(keepingCapacity: true)
        try flushForeign()
        guard isCounterDirty else { return }
        let inTrash = trashed.usage
        let counters = [
            ("files", used.files), ("bytes", used.bytes), ("trash-files", inTrash.files),
            ("trash-bytes", inTrash.bytes), ("links", UInt64(max(0, links))),
        ]
        for (name, value) in counters {
            statements.putQuota.bind(1, name)
            statements.putQuota.bind(2, value)
            try run(statements.putQuota)
        }
        try putSetting("next_inode", String(nextInode))
        isCounterDirty = false
    }

    private func writeInodes(all: Bool) throws(Errno) {
        let touched = all ? touchedInodes : Array(touchedInodes.suffix(Self.touchedPerCommit))
        // In order of ids: neighbours in the tree are written together.
        for id in (dirtyInodes + touched).sorted() {
            guard let cached = cache[id], cached.state != .clean else { continue }
            try write(cached.inode)
            cache[id]?.state = .clean
        }
        noteWritten()
        touchedInodes.removeLast(touched.count)
    }

    private func flushOrphans() throws(Errno) {
        for (id, mark) in pendingOrphans {
            let statement = mark == .removed ? statements.deleteOrphan : statements.putOrphan
            statement.bind(1, id.rawValue)
            try run(statement)
        }
        pendingOrphans.removeAll(keepingCapacity: true)
    }

    private func write(_ inode: Inode) throws(Errno) {
        let modified = inode.modified.nanoseconds
        func unlessModified(_ time: Timestamp) -> Int64? { time.nanoseconds == modified ? nil : time.nanoseconds }
        let statement = statements.putInode
        statement.bind(1, inode.id.rawValue)
        statement.bind(2, Int64(inode.mode))
        statement.bind(3, Int64(inode.userID))
        statement.bind(4, Int64(inode.groupID))
        statement.bind(5, Int64(inode.linkCount))
        statement.bind(6, inode.size)
        statement.bind(7, modified)
        statement.bind(8, inode.allocated == inode.size ? nil : Int64(bitPattern: inode.allocated))
        statement.bind(9, unlessModified(inode.accessed))
        statement.bind(10, unlessModified(inode.changed))
        statement.bind(11, inode.device == 0 ? nil : Int64(inode.device))
        statement.bind(12, inode.parent.map { Int64(bitPattern: $0.rawValue) })
        try run(statement)
    }

    /// Reads `Statements.inodeColumns`; nil where the type bits are none of POSIX's.
    static func readInode(_ row: SQLiteStatement) -> Inode? {
        let mode = UInt32(truncatingIfNeeded: row.integer(1))
        guard let kind = FileKind(rawValue: mode & 0o170000) else { return nil }
        let modified = Timestamp(nanoseconds: row.integer(6))
        var inode = Inode(
            id: InodeID(rawValue: row.unsigned(0)), kind: kind, permissions: mode & 0o7777,
            userID: UInt32(truncatingIfNeeded: row.integer(2)), groupID: UInt32(truncatingIfNeeded: row.integer(3)),
            linkCount: UInt32(clamping: row.integer(4)), size: row.unsigned(5), time: modified,
            device: UInt32(truncatingIfNeeded: row.integer(10)))
        // A damaged or hostile row: sums of sizes must not trap.
        inode.size = min(inode.size, UInt64(Int64.max))
        inode.allocated = row.isNull(7) ? inode.size : min(row.unsigned(7), UInt64(Int64.max))
        if !row.isNull(8) { inode.accessed = Timestamp(nanoseconds: row.integer(8)) }
        if !row.isNull(9) { inode.changed = Timestamp(nanoseconds: row.integer(9)) }
        if !row.isNull(11) { inode.parent = InodeID(rawValue: row.unsigned(11)) }
        return inode
    }

    func corrupt(_ message: String) -> Errno {
        if fault == nil { fault = MetadataFault(cause: "the database is damaged: " + message, remedy: .repair) }
        return .io
    }
}
