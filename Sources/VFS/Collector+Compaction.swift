import FileModel
import Metadata
import Packs

/// Moving what is live out of packs.
///
/// A pack's own record table says which files its bytes were written for, and their extents are looked up. Where that
/// does not account for all live bytes (a reflink, a restored file), the extents of the whole volume are looked through,
/// a page at a time and once for all packs in hand.
extension Collector {
    /// Runs looked up in one transaction: some milliseconds.
    private static let lookups = 256
    private static let pageExtents = 4096
    /// Bytes moved at once: what is held in memory, and switched in one transaction.
    private static let chunkBytes: UInt64 = 1 << 20

    struct Moved {
        var bytes: UInt64 = 0
        var failures: [String] = []
    }

    /// Moves all live bytes out of these packs. What cannot be moved stays where it is.
    func empty(_ ids: [PackID], _ pace: inout Pace) -> Moved {
        var moved = Moved()
        var incomplete: Set<PackID> = []
        for id in ids where pace.goesOn {
            do {
                let references = try references(byRunsOf: id)
                try move(references, out: id, &pace, &moved)
                if try isInUse(id) { incomplete.insert(id) }
            } catch {
                moved.failures.append("pack \(id): \(error)")
            }
        }
        guard !incomplete.isEmpty, pace.goesOn else { return moved }
        do {
            for (id, references) in try references(byScanFor: incomplete, &pace) {
                try move(references, out: id, &pace, &moved)
            }
        } catch {
            moved.failures.append("\(error)")
        }
        return moved
    }

    // MARK: Who refers to a pack

    private func references(byRunsOf id: PackID) throws -> Set<OwnedExtent> {
        let runs = try packs.runs(of: id)
        var found: Set<OwnedExtent> = []
        for start in stride(from: 0, to: runs.count, by: Self.lookups) {
            let part = runs[start..<min(start + Self.lookups, runs.count)]
            try read { transaction throws(Errno) in
                for run in part {
                    let range = run.fileOffset..<run.fileOffset + UInt64(run.length)
                    for extent in try transaction.extents(of: run.inode, overlapping: range) where extent.pack == id {
                        found.insert(OwnedExtent(inode: run.inode, extent: extent))
                    }
                }
            }
        }
        return found
    }

    private func references(
        byScanFor ids: Set<PackID>, _ pace: inout Pace
    ) throws(Errno) -> [PackID: Set<OwnedExtent>] {
        var found: [PackID: Set<OwnedExtent>] = [:]
        var last: OwnedExtent?
        repeat {
            let page = try read { transaction throws(Errno) in
                try transaction.extents(
                    after: last?.inode ?? InodeID(rawValue: 0), at: last?.extent.fileOffset ?? 0,
                    limit: Self.pageExtents)
            }
            for owned in page where ids.contains(owned.extent.pack) {
                found[owned.extent.pack, default: []].insert(owned)
            }
            last = page.count < Self.pageExtents ? nil : page.last
            pace.spend(0)
        } while last != nil && pace.goesOn
        return found
    }

    // MARK: Moving

    /// A run of a pack's raw bytes, and every extent in it. Extents share a unit where they share bytes, so that what
    /// is shared stays shared.
    private struct Unit {
        var range: Range<UInt64>
        var references: [OwnedExtent]
    }

    private static func units(_ references: Set<OwnedExtent>) -> [Unit] {
        var units: [Unit] = []
        let sorted = references.sorted { ($0.extent.packOffset, $0.inode) < ($1.extent.packOffset, $1.inode) }
        for owned in sorted {
            let range = owned.extent.packOffset..<owned.extent.packOffset + owned.extent.length
            if let last = units.indices.last, units[last].range.upperBound > range.lowerBound {
                units[last].range = units[last].range.lowerBound..<max(units[last].range.upperBound, range.upperBound)
                units[last].references.append(owned)
            } else {
                units.append(Unit(range: range, references: [owned]))
            }
        }
        return units
    }

    private func move(
        _ references: Set<OwnedExtent>, out id: PackID, _ pace: inout Pace, _ moved: inout Moved
    ) throws {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(Self.chunkBytes), alignment: 4096)
        defer { buffer.deallocate() }
        for unit in Self.units(references) {
            var start = unit.range.lowerBound
            while start < unit.range.upperBound {
                guard pace.goesOn else { return }
                let range = start..<min(start + Self.chunkBytes, unit.range.upperBound)
                let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<range.count])
                _ = try packs.read(id, at: start, into: bytes, beforeWaiting: {})
                try move(UnsafeRawBufferPointer(bytes), range, of: id, unit.references)
                moved.bytes += UInt64(range.count)
                pace.spend(range.count)
                start = range.upperBound
            }
        }
    }

    /// Puts bytes into another pack and has every extent that names them still name the new place.
    private func move(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<UInt64>, of id: PackID, _ references: [OwnedExtent]
    ) throws(Errno) {
        guard let first = references.first else { return }
        let skipped = range.lowerBound > first.extent.packOffset ? range.lowerBound - first.extent.packOffset : 0
        try packs.appendMoved(bytes, of: first.inode, at: first.extent.fileOffset + skipped) {
            pack, packOffset throws(Errno) in
            try metadata.transaction { transaction throws(Errno) in
                for owned in references {
                    let fileRange = owned.extent.fileOffset..<owned.extent.end
                    for extent in try transaction.extents(of: owned.inode, overlapping: fileRange)
                    where extent.pack == id {
                        guard let part = extent.inPack(range) else { continue }
                        let new = Extent(
                            fileOffset: part.fileOffset, length: part.length, pack: pack,
                            packOffset: packOffset + (part.packOffset - range.lowerBound))
                        _ = try transaction.replaceExtents(
                            of: owned.inode, in: part.fileOffset..<part.end, with: [new])
                    }
                }
            }
        }
        committer.noteChange()
    }
}

extension Extent {
    /// The part of this extent that lies in `range` of its pack.
    fileprivate func inPack(_ range: Range<UInt64>) -> Extent? {
        let start = max(packOffset, range.lowerBound)
        let end = min(packOffset + length, range.upperBound)
        guard start < end else { return nil }
        return Extent(fileOffset: fileOffset + (start - packOffset), length: end - start, pack: pack, packOffset: start)
    }
}
