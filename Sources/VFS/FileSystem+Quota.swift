import FileModel
import Metadata

extension FileSystem {
    /// What counts for the volume's own limits.
    func counted(_ transaction: any MetadataTransaction) throws(Errno) -> Usage {
        let all = try transaction.usage()
        if configuration.trash.countsInLimits { return all }
        let inTrash = try transaction.trashUsage()
        return Usage(
            files: all.files > inTrash.files ? all.files - inTrash.files : 0,
            bytes: all.bytes > inTrash.bytes ? all.bytes - inTrash.bytes : 0)
    }

    /// Answers ENOSPC when the volume's inode limit is reached.
    func checkRoom(forInodes count: UInt64, _ transaction: any MetadataTransaction) throws(Errno) {
        guard let limit = configuration.limits.inodes else { return }
        let (sum, overflow) = try counted(transaction).files.addingReportingOverflow(count)
        guard !overflow, sum <= limit else {
            configuration.limits.refused(.inodes, count)
            throw .noSpace
        }
    }

    /// Answers ENOSPC when files have as many names beyond their first as the volume may have inodes: names take room, too,
    /// and programs know no limit of them.
    func checkRoom(forLinks count: UInt64, _ transaction: any MetadataTransaction) throws(Errno) {
        guard let limit = configuration.limits.inodes else { return }
        guard try transaction.linkUsage().addingReportingOverflow(count).partialValue <= limit else {
            configuration.limits.refused(.links, count)
            throw .noSpace
        }
    }

    /// Answers ENOSPC when `bytes` more do not fit into the volume's size.
    func checkRoom(forBytes bytes: UInt64, _ transaction: any MetadataTransaction) throws(Errno) {
        guard bytes > 0, let limit = configuration.limits.bytes else { return }
        let (sum, overflow) = try counted(transaction).bytes.addingReportingOverflow(bytes)
        guard !overflow, sum <= limit else {
            configuration.limits.refused(.bytes, bytes)
            throw .noSpace
        }
    }

    /// Answers ENOSPC or EDQUOT when a file or directory cannot grow by `bytes`. Without a name it counts for the volume
    /// alone.
    func checkGrowth(of inode: Inode, by bytes: UInt64, _ transaction: any MetadataTransaction) throws(Errno) {
        try checkRoom(forBytes: bytes, transaction)
        guard transaction.hasQuotas, bytes > 0, inode.linkCount > 0,
            let place = inode.isDirectory ? inode.id : inode.parent
        else { return }
        try transaction.requireQuota([.init(bytes: Int64(clamping: bytes), inodes: 0, place: place)])
    }

    /// By how many bytes a file can grow; nil where nothing limits it.
    func room(for inode: Inode, _ transaction: any MetadataTransaction) throws(Errno) -> UInt64? {
        var rooms: [UInt64] = []
        if let limit = configuration.limits.bytes {
            let used = try counted(transaction).bytes
            rooms.append(limit - min(limit, used))
        }
        if transaction.hasQuotas, inode.linkCount > 0, let place = inode.parent {
            for quota in try transaction.quotas(governing: place) {
                guard let limit = quota.limits.bytes else { continue }
                rooms.append(limit - min(limit, quota.used.bytes))
            }
        }
        return rooms.min()
    }

    /// Whether a write must know how much it adds.
    func hasLimits(_ transaction: any MetadataTransaction) -> Bool {
        configuration.limits.bytes != nil || transaction.hasQuotas
    }

    /// Bytes that `range` of a file would get beyond those it has.
    func growth(
        of id: InodeID, in range: Range<UInt64>, holding bytes: UInt64, _ transaction: any MetadataTransaction
    ) throws(Errno) -> UInt64 {
        let present = try transaction.extents(of: id, overlapping: range)
            .clampedSum { $0.clipped(to: range)?.length ?? 0 }
        return bytes > present ? bytes - present : 0
    }

    /// Runs what may find no room for so many bytes at most, and inodes. Where the trash counts it gives way, the oldest first.
    func makingRoom<Result>(
        bytes: UInt64, inodes: UInt64 = 0, _ body: () throws(Errno) -> Result
    ) throws(Errno) -> Result {
        while true {
            do throws(Errno) {
                return try body()
            } catch .noSpace {
                guard try trashGivesWay(bytes, inodes) else {
                    noteFullness()
                    throw .noSpace
                }
            }
        }
    }

    /// Discards some of the oldest things in the trash, where what is not in it leaves room: else they would go for nothing.
    private func trashGivesWay(_ bytes: UInt64, _ inodes: UInt64) throws(Errno) -> Bool {
        guard configuration.trash.countsInLimits else { return false }
        let (all, inTrash) = try read { transaction throws(Errno) in
            (try transaction.usage(), try transaction.trashUsage())
        }
        let limits = configuration.limits
        if bytes > 0, let limit = limits.bytes, inTrash.bytes > 0, limit - min(limit, all.bytes) < bytes,
            all.bytes - min(all.bytes, inTrash.bytes) < limit
        {
            return try discardOldest(atMost: Self.discardBatch, bytes: max(Self.smallestRelief, limit / 64)) > 0
        }
        if inodes > 0, let limit = limits.inodes, inTrash.files > 0, limit - min(limit, all.files) < inodes,
            all.files - min(all.files, inTrash.files) < limit
        {
            return try discardOldest(atMost: Self.discardBatch) > 0
        }
        return false
    }

    /// Bytes that give way at once: one request's, many times.
    private static let smallestRelief: UInt64 = 1 << 20

    // MARK: What users ask

    /// Gives a directory a quota, or with nil takes it. Answers it with what is used.
    public func setQuota(_ limits: QuotaLimits?, of directory: InodeID) throws(Errno) -> Quota? {
        let quota = try maintain { transaction throws(Errno) in
            _ = try transaction.liveDirectory(directory)
            try transaction.setQuota(limits, of: directory)
            return try transaction.quotas(governing: directory).first { $0.directory == directory }
        }
        try synchronize()
        return quota
    }

    /// Every quota, with its directory's path.
    public func quotas() throws(Errno) -> [(path: [UInt8], quota: Quota)] {
        try read { transaction throws(Errno) in
            var found: [(path: [UInt8], quota: Quota)] = []
            for quota in try transaction.quotas() {
                found.append((try transaction.path(of: quota.directory) ?? [], quota))
            }
            return found
        }
    }

    /// What is live, what is in the trash, and the volume's own packs in the store, with their objects' bytes.
    public func spaceTaken() throws(Errno) -> SpaceTaken {
        let (all, trash, records) = try read { transaction throws(Errno) in
            (try transaction.usage(), try transaction.trashUsage(), try transaction.packs())
        }
        let live = Usage(files: all.files - min(all.files, trash.files), bytes: all.bytes - min(all.bytes, trash.bytes))
        let stored = records.filter { $0.storedLength > 0 && packs.isOwn($0.id) }
        let bytes = stored.reduce(UInt64(0)) { $0.addingReportingOverflow($1.storedLength).partialValue }
        return SpaceTaken(live: live, trash: trash, packs: UInt64(stored.count), packBytes: bytes)
    }

    /// What a path holds with all below it. Answers ENOENT for one that is not there.
    public func usage(below path: [FileName]) throws(Errno) -> (inode: InodeID, usage: Usage) {
        try read { transaction throws(Errno) in
            let inode = try transaction.walk(path)
            guard inode.isDirectory else { return (inode.id, Usage(files: 1, bytes: inode.allocated)) }
            return (inode.id, try transaction.usage(below: inode.id))
        }
    }
}

/// What a volume takes.
public struct SpaceTaken: Sendable {
    public var live: Usage
    public var trash: Usage
    /// The volume's own in the store.
    public var packs: UInt64
    public var packBytes: UInt64
}

/// What is about to be added to a directory, or with negative numbers taken away.
struct QuotaChange {
    var bytes: Int64
    var inodes: Int64
    var place: InodeID
}

extension MetadataTransaction {
    /// Answers EDQUOT where the changes together would bring a quota past its limits. What only shrinks may.
    func requireQuota(_ changes: [QuotaChange]) throws(Errno) {
        guard hasQuotas else { return }
        var sums: [InodeID: (quota: Quota, bytes: Int64, inodes: Int64)] = [:]
        for change in changes {
            for quota in try quotas(governing: change.place) {
                let sum = sums[quota.directory] ?? (quota, 0, 0)
                sums[quota.directory] = (
                    quota, sum.bytes.addingClamped(change.bytes), sum.inodes.addingClamped(change.inodes)
                )
            }
        }
        for (quota, bytes, inodes) in sums.values {
            try Self.require(bytes, quota.used.bytes, quota.limits.bytes)
            try Self.require(inodes, quota.used.files, quota.limits.inodes)
        }
    }

    private static func require(_ more: Int64, _ used: UInt64, _ limit: UInt64?) throws(Errno) {
        guard let limit, more > 0 else { return }
        let (sum, overflow) = used.addingReportingOverflow(UInt64(more))
        guard !overflow, sum <= limit else { throw .overQuota }
    }

    /// The inode of a path from the root on; links are not followed.
    func walk(_ path: [FileName]) throws(Errno) -> Inode {
        var inode = try required(.root)
        for name in path {
            guard inode.isDirectory else { throw .notDirectory }
            guard let next = try entry(name, in: inode.id) else { throw .noEntry }
            inode = try required(next)
        }
        return inode
    }

    /// The path of a directory, from the root on without a slash at its ends; where it is in the trash, the one it
    /// had. Nil where a damaged database leads nowhere.
    func path(of directory: InodeID) throws(Errno) -> [UInt8]? {
        var names: [[UInt8]] = []
        var step = directory
        while step != .root {
            guard names.count < 65_536, let inode = try inode(step), let parent = inode.parent else { return nil }
            let name = inode.linkCount > 0 ? try name(of: step) : try trashedDirectory(step)?.name
            guard let name else { return nil }
            names.append(name.bytes)
            step = parent
        }
        return Array(names.reversed().joined(separator: [0x2F]))
    }
}
