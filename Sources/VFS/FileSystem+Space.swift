import FileModel
import Metadata
import Packs

/// What `fallocate` asks.
public enum SpaceRequest: Sendable {
    /// Room for the range; the file grows to hold it.
    case allocate
    /// Room for the range, beyond the end of the file too, which stays.
    case allocateKeepingSize
    case punchHole
    case zero
    case zeroKeepingSize
}

extension FileSystem {
    /// `fallocate`. Blocks are not set aside: the store is shared, so only the volume's own size limit can
    /// be promised, and it is checked here and at each write.
    public func allocate(
        _ request: SpaceRequest, _ range: Range<UInt64>, of id: InodeID, caller: Caller
    ) throws(Errno) {
        guard !range.isEmpty else { throw .invalidArgument }
        guard range.upperBound <= Self.maximumFileSize else { throw .fileTooLarge }
        let now = configuration.now()
        try makingRoom(bytes: UInt64(range.count)) { () throws(Errno) in
            try allocateOnce(request, range, id, now, caller)
        }
        announce(caller.session, [.data(id)])
    }

    private func allocateOnce(
        _ request: SpaceRequest, _ range: Range<UInt64>, _ id: InodeID, _ now: Timestamp, _ caller: Caller
    ) throws(Errno) {
        try write(caller.session) { transaction throws(Errno) in
            guard var inode = try transaction.inode(id) else { throw .stale }
            guard inode.kind == .regular else { throw inode.isDirectory ? .isDirectory : .invalidArgument }
            switch request {
            case .allocate, .allocateKeepingSize:
                let more = try self.growth(of: id, in: range, holding: UInt64(range.count), transaction)
                try self.checkGrowth(of: inode, by: more, transaction)
            case .punchHole, .zero, .zeroKeepingSize:
                let growth = try transaction.replaceExtents(of: id, in: range, with: [])
                inode.grow(by: growth)
            }
            if request == .allocate || request == .zero { inode.size = max(inode.size, range.upperBound) }
            self.touchData(&inode, now, caller)
            try self.dropCapabilities(&inode, transaction)
            try transaction.update(inode)
        }
    }

    /// SEEK_DATA (`data` true) or SEEK_HOLE from `offset` on. The end of the file is a hole.
    /// Answers ENXIO at and past the end of the file, and for data where none follows.
    public func seek(_ id: InodeID, from offset: UInt64, data: Bool) throws(Errno) -> UInt64 {
        try read { transaction throws(Errno) in
            guard let inode = try transaction.inode(id) else { throw .stale }
            guard offset < inode.size else { throw .noSuchAddress }
            var position = offset
            // In steps, so that a file of a million extents is not read at once.
            while position < inode.size {
                let step = min(position + Self.seekStepBytes, inode.size)
                let extents = try transaction.extents(of: id, overlapping: position..<step)
                if data {
                    if let first = extents.first { return max(first.fileOffset, position) }
                    position = try transaction.nextExtent(of: id, from: step, before: inode.size)
                    continue
                }
                for extent in extents {
                    if extent.fileOffset > position { return position }
                    position = max(position, extent.end)
                }
                if position < step { return position }
            }
            if data { throw .noSuchAddress }
            return inode.size
        }
    }

    private static let seekStepBytes: UInt64 = 64 << 20

    /// Makes `count` bytes of one file those of another, sharing their packs: no data is copied. Answers how
    /// many bytes there were to copy.
    public func copyRange(
        from source: InodeID, at sourceOffset: UInt64, to target: InodeID, at targetOffset: UInt64, count: UInt64,
        caller: Caller
    ) throws(Errno) -> UInt64 {
        let now = configuration.now()
        let length = try makingRoom(bytes: count) { () throws(Errno) in
            try copyOnce((source, sourceOffset), (target, targetOffset), count, now, caller)
        }
        guard length > 0 else { return 0 }
        announce(caller.session, [.data(target)])
        return length
    }

    private func copyOnce(
        _ from: (inode: InodeID, offset: UInt64), _ to: (inode: InodeID, offset: UInt64), _ count: UInt64,
        _ now: Timestamp, _ caller: Caller
    ) throws(Errno) -> UInt64 {
        let (source, sourceOffset) = from
        let (target, targetOffset) = to
        return try write(caller.session) { transaction throws(Errno) in
            let (length, extents) = try Self.sourceExtents(source, sourceOffset, count, transaction)
            guard length > 0 else { return length }
            guard targetOffset <= Self.maximumFileSize - length else { throw .fileTooLarge }
            guard var inode = try transaction.inode(target) else { throw .stale }
            guard inode.kind == .regular else { throw .invalidArgument }
            let range = targetOffset..<targetOffset + length
            let moved = extents.map { extent in
                var copy = extent
                copy.fileOffset = extent.fileOffset - sourceOffset + targetOffset
                return copy
            }
            let added = moved.clampedSum(of: \.length)
            let more = try self.growth(of: target, in: range, holding: added, transaction)
            try self.checkGrowth(of: inode, by: more, transaction)
            // Here, because only here no write can come between the look and the copy. These bytes have two owners
            // from now on. A body that runs again freezes them again.
            self.packs.freeze(Set(extents.map(\.pack)))
            let growth = try transaction.replaceExtents(of: target, in: range, with: moved)
            inode.grow(by: growth)
            inode.size = max(inode.size, range.upperBound)
            self.touchData(&inode, now, caller)
            try self.dropCapabilities(&inode, transaction)
            try transaction.update(inode)
            return length
        }
    }

    private static func sourceExtents(
        _ source: InodeID, _ offset: UInt64, _ count: UInt64, _ transaction: any MetadataTransaction
    ) throws(Errno) -> (UInt64, [Extent]) {
        guard let inode = try transaction.inode(source) else { throw .stale }
        guard inode.kind == .regular else { throw inode.isDirectory ? .isDirectory : .invalidArgument }
        guard offset < inode.size else { return (0, []) }
        let range = offset..<offset + min(count, inode.size - offset)
        let extents = try transaction.extents(of: source, overlapping: range).compactMap { $0.clipped(to: range) }
        return (UInt64(range.count), extents)
    }
}

extension MetadataTransaction {
    /// The start of the first extent at or after `offset`, or `end` where none follows: one step over a hole of
    /// any size.
    func nextExtent(of inode: InodeID, from offset: UInt64, before end: UInt64) throws(Errno) -> UInt64 {
        try firstExtent(of: inode, from: offset)?.fileOffset ?? end
    }
}
