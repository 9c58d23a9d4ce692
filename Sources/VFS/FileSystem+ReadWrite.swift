import FileModel
import Metadata
import Packs
import Synchronization

extension FileSystem {
    /// relatime: an access time older than this is renewed even when the file has not changed since.
    private static let accessTimeAge: Int64 = 24 * 3600 * 1_000_000_000

    /// Reads up to `buffer.count` bytes at `offset`; fewer at the end of the file. Holes read as zeros.
    public func read(
        _ id: InodeID, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer, session: Session
    ) throws(Errno) -> Int {
        var failure: PackReadFailure?
        // The pack may have been emptied and deleted since its extent was read: look again, once.
        for _ in 0..<2 {
            do throws(ReadProblem) {
                return try readOnce(id, offset, buffer, session)
            } catch {
                switch error {
                case .refused(let errno): throw errno
                case .failed(let cause): failure = cause
                }
            }
        }
        if let failure, let line = readFailures.note(id, failure) { configuration.report(line) }
        throw .io
    }

    private enum ReadProblem: Error {
        case refused(Errno)
        case failed(PackReadFailure)
    }

    private func readOnce(
        _ id: InodeID, _ offset: UInt64, _ buffer: UnsafeMutableRawBufferPointer, _ session: Session
    ) throws(ReadProblem) -> Int {
        let count: Int
        let extents: [Extent]
        let size: UInt64
        do {
            (count, extents, size) = try plan(id, offset, buffer.count, session)
        } catch {
            throw .refused(error)
        }
        var position = offset
        let end = offset + UInt64(count)
        for extent in extents {
            guard let part = extent.clipped(to: position..<end) else { continue }
            Self.zero(buffer, Int(position - offset)..<Int(part.fileOffset - offset))
            let target = UnsafeMutableRawBufferPointer(
                rebasing: buffer[Int(part.fileOffset - offset)..<Int(part.end - offset)])
            do {
                let sign = try packs.read(
                    part.pack, at: part.packOffset, into: target, beforeWaiting: session.willWait)
                if sign != .nothing { readAhead(of: id, after: part, size: size, sign) }
                if case .missed = sign { readFailures.storeAnswered() }
            } catch {
                throw .failed(error)
            }
            position = part.end
        }
        Self.zero(buffer, Int(position - offset)..<count)
        readFailures.succeeded(id)
        return count
    }

    private func plan(
        _ id: InodeID, _ offset: UInt64, _ wanted: Int, _ session: Session
    ) throws(Errno) -> (count: Int, extents: [Extent], size: UInt64) {
        let now = configuration.now()
        let mayTouch = !session.isReadOnly
        var touched = false
        let plan = try read { transaction throws(Errno) in
            guard let inode = try transaction.inode(id) else { throw .stale }
            guard offset < inode.size else { return (0, [Extent](), inode.size) }
            let end = min(offset + UInt64(wanted), inode.size)
            let extents = try transaction.extents(of: id, overlapping: offset..<end)
            let isOld =
                mayTouch
                && (inode.accessed <= inode.modified || inode.accessed <= inode.changed
                    || now.nanoseconds(since: inode.accessed) > Self.accessTimeAge)
            if isOld { touched = try transaction.touch(id, accessed: now) }
            return (Int(end - offset), extents, inode.size)
        }
        if touched { committer.noteChange() }
        return plan
    }

    private static func zero(_ buffer: UnsafeMutableRawBufferPointer, _ range: Range<Int>) {
        guard !range.isEmpty else { return }
        UnsafeMutableRawBufferPointer(rebasing: buffer[range]).initializeMemory(as: UInt8.self, repeating: 0)
    }

    /// Writes `bytes` at `offset`, or at the end of the file when `appends`. Answers EFBIG past the largest
    /// file, ENOSPC past the volume's size, and EDQUOT past a quota. Returns where the bytes went.
    @discardableResult
    public func write(
        _ bytes: UnsafeRawBufferPointer, to id: InodeID, at offset: UInt64, appends: Bool, caller: Caller
    ) throws(Errno) -> UInt64 {
        guard !bytes.isEmpty else { return offset }
        try requireRoom()
        // The kernel lets one append at a time into a file, of its own session only.
        guard appends && isShared else {
            return try makingRoom(bytes: UInt64(bytes.count)) { () throws(Errno) in
                try place(bytes, id, offset, appends, caller)
            }
        }
        return try appendLock.withLock(beforeWaiting: caller.session.willWait) { () throws(Errno) in
            try makingRoom(bytes: UInt64(bytes.count)) { () throws(Errno) in
                try place(bytes, id, offset, appends, caller)
            }
        }
    }

    /// As `write`; where a limit leaves room for a part of the bytes, that part is written, as POSIX has it. Returns how
    /// many were, too.
    public func writeWhatFits(
        _ bytes: UnsafeRawBufferPointer, to id: InodeID, at offset: UInt64, appends: Bool, caller: Caller
    ) throws(Errno) -> (start: UInt64, count: Int) {
        var bytes = bytes
        while true {
            do throws(Errno) {
                return (try write(bytes, to: id, at: offset, appends: appends, caller: caller), bytes.count)
            } catch {
                guard error == .overQuota || error == .noSpace else { throw error }
                let fitting = try read { transaction throws(Errno) in
                    try self.fitting(bytes.count, in: id, at: offset, appends, transaction)
                }
                // The room may be gone again when it is asked for: less each time, until there is none.
                guard fitting > 0, fitting < bytes.count else { throw error }
                bytes = UnsafeRawBufferPointer(rebasing: bytes[..<fitting])
            }
        }
    }

    /// How many of `count` bytes can be written at most.
    private func fitting(
        _ count: Int, in id: InodeID, at offset: UInt64, _ appends: Bool, _ transaction: any MetadataTransaction
    ) throws(Errno) -> Int {
        guard let inode = try transaction.inode(id) else { throw .stale }
        guard var room = try room(for: inode, transaction) else { return count }
        let start = appends ? inode.size : offset
        let end = start + UInt64(count)
        var position = start
        for extent in try transaction.extents(of: id, overlapping: start..<end) {
            let hole = extent.fileOffset > position ? extent.fileOffset - position : 0
            guard hole <= room else { return Int(position + room - start) }
            room -= hole
            position = max(position, extent.end)
        }
        return Int(min(end, position + room) - start)
    }

    private func place(
        _ bytes: UnsafeRawBufferPointer, _ id: InodeID, _ offset: UInt64, _ appends: Bool, _ caller: Caller
    ) throws(Errno) -> UInt64 {
        let (start, covered) = try write(caller.session) { transaction throws(Errno) in
            try self.placement(of: bytes.count, in: id, at: offset, appends, transaction)
        }
        if let covered, try packs.rewrite(bytes, in: covered.pack, at: covered.packOffset) {
            try recordChange(of: id, caller)
        } else {
            let range = start..<start + UInt64(bytes.count)
            try packs.append(bytes, of: id, at: start, beforeWaiting: caller.session.willWait) {
                pack, packOffset throws(Errno) in
                let extent = Extent(
                    fileOffset: start, length: UInt64(bytes.count), pack: pack, packOffset: packOffset)
                try self.recordData([extent], in: range, of: id, caller)
            }
        }
        announce(caller.session, [.data(id)])
        return start
    }

    /// Where a write goes: its file offset, and the one extent that covers it, if there is one.
    private func placement(
        of count: Int, in id: InodeID, at offset: UInt64, _ appends: Bool, _ transaction: any MetadataTransaction
    ) throws(Errno) -> (UInt64, Extent?) {
        guard let inode = try transaction.inode(id) else { throw .stale }
        guard inode.kind == .regular else { throw inode.isDirectory ? .isDirectory : .invalidArgument }
        let start = appends ? inode.size : offset
        let (end, overflow) = start.addingReportingOverflow(UInt64(count))
        guard !overflow, end <= Self.maximumFileSize else { throw .fileTooLarge }
        guard start < inode.size else {
            try checkGrowth(of: inode, by: UInt64(count), transaction)
            return (start, nil)
        }
        let overlapping = try transaction.extents(of: id, overlapping: start..<end)
        let present = overlapping.clampedSum { $0.clipped(to: start..<end)?.length ?? 0 }
        try checkGrowth(of: inode, by: UInt64(count).subtractingClamped(present), transaction)
        guard overlapping.count == 1, present == UInt64(count) else { return (start, nil) }
        return (start, overlapping[0].clipped(to: start..<end))
    }

    private func recordChange(of id: InodeID, _ caller: Caller) throws(Errno) {
        let now = configuration.now()
        try write(caller.session) { transaction throws(Errno) in
            guard var inode = try transaction.inode(id) else { throw .stale }
            self.touchData(&inode, now, caller)
            try self.dropCapabilities(&inode, transaction)
            try transaction.update(inode)
        }
    }

    /// Makes `extents` what `range` of the file holds.
    func recordData(
        _ extents: [Extent], in range: Range<UInt64>, of id: InodeID, _ caller: Caller
    ) throws(Errno) {
        let now = configuration.now()
        try write(caller.session) { transaction throws(Errno) in
            guard var inode = try transaction.inode(id) else { throw .stale }
            // Again: since the look another write may have taken the room.
            if self.hasLimits(transaction) {
                let bytes = extents.clampedSum(of: \.length)
                let more = try self.growth(of: id, in: range, holding: bytes, transaction)
                try self.checkGrowth(of: inode, by: more, transaction)
            }
            let growth = try transaction.replaceExtents(of: id, in: range, with: extents)
            inode.grow(by: growth)
            inode.size = max(inode.size, range.upperBound)
            self.touchData(&inode, now, caller)
            try self.dropCapabilities(&inode, transaction)
            try transaction.update(inode)
        }
    }

    func touchData(_ inode: inout Inode, _ now: Timestamp, _ caller: Caller) {
        inode.modified = now
        inode.changed = now
        if !caller.isSuperuser { inode.dropSetID() }
    }
}
