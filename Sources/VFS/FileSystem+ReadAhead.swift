import FileModel
import Metadata
import Packs

extension FileSystem {
    /// How far behind a pack of small files the next ones are looked for: packs of large files lie between them.
    private static let sequencesLooked: UInt32 = 16

    /// Fetches what is read next, where a read gives a sign of it. `size` is the file's.
    func readAhead(of id: InodeID, after part: Extent, size: UInt64, _ sign: ReadSign) {
        let isMiss: Bool
        switch sign {
        case .nothing: return
        case .entered: isMiss = false
        // One read says nothing yet.
        case .missed(let isInUse): isMiss = isInUse
        }
        let isLarge = size > PackStore.streamThresholdBytes
        let limit = packs.prefetchLimit
        // Failures are left to the read that needs the data.
        if isLarge {
            let window = ahead.window(
                of: id, in: part.pack, part.fileOffset..<part.end, isMiss: isMiss, limit: limit)
            guard window > 0, let next = try? packsOfFile(id, after: part, window) else { return }
            ahead.expect(next, for: id)
            packs.prefetch(next)
        } else {
            let window = ahead.window(ofSmallFilesIn: part.pack, limit: limit)
            guard window > 0, let next = try? packsFollowing(part.pack, window) else { return }
            ahead.expect(next, for: nil)
            packs.prefetch(next)
        }
    }

    /// The packs that hold the file's bytes behind `part`, in the file's order.
    private func packsOfFile(_ id: InodeID, after part: Extent, _ count: Int) throws(Errno) -> [PackID] {
        let reach = UInt64(count + 1) * UInt64(PackFormat.maximumRawBytes)
        let extents = try read { transaction throws(Errno) in
            try transaction.extents(of: id, overlapping: part.end..<part.end + reach)
        }
        var found: [PackID] = []
        for extent in extents where extent.pack != part.pack && found.last != extent.pack && found.count < count {
            found.append(extent.pack)
        }
        return found
    }

    /// The next packs in the store that were filled after this one.
    private func packsFollowing(_ pack: PackID, _ count: Int) throws(Errno) -> [PackID] {
        try read { transaction throws(Errno) in
            var found: [PackID] = []
            for step in 1...Self.sequencesLooked where found.count < count {
                let id = PackID(epoch: pack.epoch, sequence: pack.sequence &+ step)
                if let record = try transaction.pack(id), record.state == .stored, record.liveBytes > 0 {
                    found.append(id)
                }
            }
            return found
        }
    }
}
