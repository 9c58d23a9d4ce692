import CSQLite
import FileModel
import Metadata

/// Inodes and bytes, as a difference. Sums stay in their range: a damaged count is the checker's to report, not a reason to
/// trap.
struct UsageDelta: Equatable {
    var files: Int64 = 0
    var bytes: Int64 = 0

    static func += (left: inout UsageDelta, right: UsageDelta) {
        left.files = left.files.addingClamped(right.files)
        left.bytes = left.bytes.addingClamped(right.bytes)
    }

    static prefix func - (delta: UsageDelta) -> UsageDelta {
        UsageDelta(files: Int64(0).subtractingClamped(delta.files), bytes: Int64(0).subtractingClamped(delta.bytes))
    }

    var usage: Usage { Usage(files: UInt64(max(0, files)), bytes: UInt64(max(0, bytes))) }
}

/// What each directory holds with all below it, and what its quota allows.
///
/// It follows from the records of inodes, so only `insert`, `update` and `remove` keep it. An inode with a name counts
/// at its place: a directory at itself, all else at its parent. Differences gather per place (`ownDeltas`), and reach
/// the directories above when they are folded: before a commit, a look, and a move of a directory.
extension SQLiteTransaction {
    struct CachedUsage {
        var total: UsageDelta
        var isDirty: Bool
    }

    /// Rows kept between commits: 1 MiB.
    static let usageRowLimit = 16_384
    /// No path is deeper; a ring in damaged metadata ends here.
    private static let depthLimit = 65_536

    private enum Place: Equatable {
        case nowhere
        case trash
        case directory(InodeID)
    }

    private static func place(of inode: Inode) -> Place {
        guard let parent = inode.parent else { return .nowhere }
        if inode.linkCount == 0 { return .trash }
        return .directory(inode.isDirectory ? inode.id : parent)
    }

    /// Follows a record that is new, changed or removed. `new` is in the cache already, but where a directory moves.
    func account(from old: Inode?, to new: Inode?) throws(Errno) {
        let named = Self.links(new) - Self.links(old)
        if named != 0 {
            links = links.addingClamped(named)
            isCounterDirty = true
        }
        let before = old.map(Self.place) ?? .nowhere
        let after = new.map(Self.place) ?? .nowhere
        if before == after {
            let growth = Int64(clamping: new?.allocated ?? 0) - Int64(clamping: old?.allocated ?? 0)
            if growth != 0 { try charge(after, UsageDelta(files: 0, bytes: growth)) }
            return
        }
        if let old {
            if case .directory(let id) = before, old.isDirectory {
                try retire(id, below: old.parent ?? .root, -Self.own(old))
            } else {
                try charge(before, -Self.own(old))
            }
        }
        if let new { try charge(after, Self.own(new)) }
    }

    private static func links(_ inode: Inode?) -> Int64 {
        guard let inode, inode.linkCount > 1, !inode.isDirectory else { return 0 }
        return Int64(inode.linkCount) - 1
    }

    private static func own(_ inode: Inode) -> UsageDelta {
        UsageDelta(files: 1, bytes: Int64(clamping: inode.allocated))
    }

    private func charge(_ place: Place, _ delta: UsageDelta) throws(Errno) {
        switch place {
        case .nowhere: break
        case .trash:
            trashed += delta
            isCounterDirty = true
        case .directory(let id):
            ownDeltas[id, default: UsageDelta()] += delta
            guard !quotaRecords.isEmpty else { return }
            for quota in try governing(id) { quotaRecords[quota]?.used += delta }
        }
    }

    /// A directory lost its name, empty, and its record may lead nowhere now: itself and what is not folded yet are
    /// taken from the one it was in.
    private func retire(_ id: InodeID, below parent: InodeID, _ own: UsageDelta) throws(Errno) {
        var delta = ownDeltas.removeValue(forKey: id) ?? UsageDelta()
        delta += own
        ownDeltas[parent, default: UsageDelta()] += delta
        usageRows[id] = nil
        statements.deleteDirectory.bind(1, id.rawValue)
        try run(statements.deleteDirectory)
        guard !quotaRecords.isEmpty else { return }
        if quotaRecords[id] != nil { try placeQuota(nil, of: id) }
        for quota in try governing(parent) { quotaRecords[quota]?.used += own }
    }

    /// A directory is about to move with all below it; the cache has its old record still.
    func moveUsage(of directory: InodeID, from old: InodeID, to new: InodeID) throws(Errno) {
        try foldUsage()
        let total = try usageRow(directory)
        ownDeltas[old, default: UsageDelta()] += -total
        ownDeltas[new, default: UsageDelta()] += total
        guard !quotaRecords.isEmpty else { return }
        for quota in try governing(old) { quotaRecords[quota]?.used += -total }
        for quota in try governing(new) { quotaRecords[quota]?.used += total }
        governingCache.removeAll()
    }

    /// Adds what gathered to each place and to all above it.
    func foldUsage() throws(Errno) {
        guard !ownDeltas.isEmpty else { return }
        let deltas = ownDeltas
        ownDeltas.removeAll(keepingCapacity: true)
        for (place, delta) in deltas where delta != UsageDelta() {
            var step = place
            for _ in 0..<Self.depthLimit {
                var total = try usageRow(step)
                total += delta
                usageRows[step] = CachedUsage(total: total, isDirty: true)
                guard step != .root, let above = try inode(step)?.parent else { break }
                step = above
            }
        }
    }

    private func usageRow(_ directory: InodeID) throws(Errno) -> UsageDelta {
        if let cached = usageRows[directory] { return cached.total }
        statements.selectUsage.bind(1, directory.rawValue)
        let total =
            try first(statements.selectUsage) { UsageDelta(files: $0.integer(1), bytes: $0.integer(0)) }
            ?? UsageDelta()
        usageRows[directory] = CachedUsage(total: total, isDirty: false)
        return total
    }

    /// Writes what was folded. The caller commits.
    func writeUsage() throws(Errno) {
        for (directory, row) in usageRows where row.isDirty {
            statements.putUsage.bind(1, directory.rawValue)
            statements.putUsage.bind(2, row.total.bytes)
            statements.putUsage.bind(3, row.total.files)
            try run(statements.putUsage)
            usageRows[directory]?.isDirty = false
        }
        if usageRows.count > Self.usageRowLimit { usageRows.removeAll() }
    }

    func usage(below directory: InodeID) throws(Errno) -> Usage {
        try foldUsage()
        return try usageRow(directory).usage
    }

    // MARK: Names of directories

    /// A directory got a name.
    func noteName(_ name: FileName, of directory: InodeID) throws(Errno) {
        statements.putDirectoryName.bind(1, directory.rawValue)
        statements.putDirectoryName.bind(2, name.bytes)
        try run(statements.putDirectoryName)
    }

    func name(of directory: InodeID) throws(Errno) -> FileName? {
        statements.selectDirectoryName.bind(1, directory.rawValue)
        return try first(statements.selectDirectoryName) { $0.isNull(0) ? nil : FileName(trusted: $0.bytes(0)) } ?? nil
    }

    func name(of file: InodeID, in directory: InodeID) throws(Errno) -> FileName? {
        statements.selectNameOfFile.bind(1, directory.rawValue)
        statements.selectNameOfFile.bind(2, file.rawValue)
        return try first(statements.selectNameOfFile) { FileName(trusted: $0.bytes(0)) }
    }

    // MARK: Quotas

    struct QuotaState {
        var limits: QuotaLimits
        var used: UsageDelta
    }

    /// Directories whose quotas are remembered: 2 MiB.
    private static let governingLimit = 65_536

    var hasQuotas: Bool { !quotaRecords.isEmpty }

    func quotas() throws(Errno) -> [Quota] {
        quotaRecords.map { Quota(directory: $0, limits: $1.limits, used: $1.used.usage) }
            .sorted { $0.directory < $1.directory }
    }

    func quotas(governing directory: InodeID) throws(Errno) -> [Quota] {
        guard !quotaRecords.isEmpty else { return [] }
        return try governing(directory).compactMap { id in
            quotaRecords[id].map { Quota(directory: id, limits: $0.limits, used: $0.used.usage) }
        }
    }

    func setQuota(_ limits: QuotaLimits?, of directory: InodeID) throws(Errno) {
        changed(.setQuota(limits, of: directory))
        try placeQuota(limits, of: directory)
    }

    private func placeQuota(_ limits: QuotaLimits?, of directory: InodeID) throws(Errno) {
        governingCache.removeAll()
        guard let limits else {
            quotaRecords[directory] = nil
            statements.deleteDirectoryQuota.bind(1, directory.rawValue)
            return try run(statements.deleteDirectoryQuota)
        }
        try foldUsage()
        quotaRecords[directory] = QuotaState(limits: limits, used: try usageRow(directory))
        statements.putDirectoryQuota.bind(1, directory.rawValue)
        statements.putDirectoryQuota.bind(2, limits.bytes.map { Int64(clamping: $0) })
        statements.putDirectoryQuota.bind(3, limits.inodes.map { Int64(clamping: $0) })
        try run(statements.putDirectoryQuota)
    }

    private func governing(_ directory: InodeID) throws(Errno) -> [InodeID] {
        if let cached = governingCache[directory] { return cached }
        var found: [InodeID] = []
        var step = directory
        for _ in 0..<Self.depthLimit {
            if quotaRecords[step] != nil { found.append(step) }
            guard step != .root, let above = try inode(step)?.parent else { break }
            step = above
        }
        if governingCache.count >= Self.governingLimit { governingCache.removeAll() }
        governingCache[directory] = found
        return found
    }

    func loadQuotas() throws(SQLiteFailure) {
        quotaRecords.removeAll()
        governingCache.removeAll()
        let statement = try connection.prepare(
            "SELECT q.directory, q.bytes, q.inodes, d.bytes, d.inodes FROM directory_quota q "
                + "LEFT JOIN directory d ON d.id = q.directory")
        while true {
            let code = statement.step()
            guard code == SQLITE_ROW else {
                guard code == SQLITE_DONE else { throw connection.failure(code) }
                return
            }
            let limits = QuotaLimits(
                bytes: statement.isNull(1) ? nil : min(statement.unsigned(1), UInt64(Int64.max)),
                inodes: statement.isNull(2) ? nil : min(statement.unsigned(2), UInt64(Int64.max)))
            quotaRecords[InodeID(rawValue: statement.unsigned(0))] = QuotaState(
                limits: limits, used: UsageDelta(files: statement.integer(4), bytes: statement.integer(3)))
        }
    }

    // MARK: Files with more than one name

    func hardLinks(of inode: InodeID) throws(Errno) -> [(directory: InodeID, names: UInt64)] {
        statements.selectHardLinks.bind(1, inode.rawValue)
        return try all(statements.selectHardLinks) {
            // A row stands for a name at least, and an inode has no more than its count can say.
            (InodeID(rawValue: $0.unsigned(0)), UInt64(min(max(1, $0.integer(1)), Int64(UInt32.max))))
        }
    }

    func setHardLinks(of inode: InodeID, in directory: InodeID, to names: UInt64) throws(Errno) {
        changed(.setHardLinks(of: inode, in: directory, to: names))
        let statement = names == 0 ? statements.deleteHardLink : statements.putHardLink
        statement.bind(1, inode.rawValue)
        statement.bind(2, directory.rawValue)
        if names > 0 { statement.bind(3, names) }
        try run(statement)
    }
}
