import FileModel
import Glibc
import LinuxSystem
import ObjectStorage

/// Copies of foreign objects, in blocks, beside the packs' and under the same limit (decision 0042).
///
/// Invariants
/// - A block in `index` came from the very object that was imported. Each read of it is proved, as of a pack's frames
///   (decision 0033); `isProved` spares only the question whether it is here a second proof.
/// - A block in `filling` is being fetched by one thread; others wait for it.
/// - Each file is an entry of `PackCache`, which says when it must go.
// SAFETY: every mutable member is guarded by `monitor`.
final class ForeignCache: @unchecked Sendable {
    private struct Place {
        var segment: PackID
        var offset: Int
        var length: Int
        var checksum: UInt64
        var isProved: Bool
    }

    /// Bytes of one request at most.
    static let runBytes = 4 << 20
    private static let runBlocks = UInt64(runBytes / ForeignBlock.byteCount)
    /// An object of this size comes whole.
    static let smallBytes: UInt64 = 1 << 20
    /// Blocks remembered, of about 100 bytes each. Past it the oldest segments go.
    private static let blockLimit = 1 << 20
    /// Open segments at most. A process may often have no more than 1024 descriptors.
    private static let openLimit = 128

    private let cache: PackCache
    let objects: ForeignObjects
    let background = FetchQueue()
    private let ahead = ForeignReadAhead()
    private let monitor = Monitor()
    private var index: [ForeignBlock: Place] = [:]
    private var segments: [PackID: ForeignSegment] = [:]
    private var active: ForeignSegment?
    /// In the order in which they were opened.
    private var opened: [PackID] = []
    private var nextSegment: UInt64 = 1
    private var filling: Set<ForeignBlock> = []

    /// Takes up what earlier processes left.
    init(cache: PackCache, opener: @escaping ForeignOpener) {
        self.cache = cache
        objects = ForeignObjects(opener)
        for id in cache.segments().sorted() { load(id) }
        cache.whenEvicted { [weak self] in self?.forget($0) }
    }

    deinit { background.stop() }

    private func load(_ id: PackID) {
        nextSegment = max(nextSegment, id.segmentNumber + 1)
        let segment = ForeignSegment(id, in: cache.place)
        guard let file = segment.open(isNew: false) else {
            cache.remove(id)
            return cache.report("segment \(id) of foreign data is not ours alone; it is dropped, and fetched again")
        }
        defer { segment.file = nil }
        for (header, offset) in ForeignSegment.headers(file, cache.seal) {
            segment.used = offset + header.length
            guard !header.isDropped else { continue }
            segment.blocks.append(header.block)
            index[header.block] = Place(
                segment: id, offset: offset, length: header.length, checksum: header.checksum, isProved: false)
        }
        // Of an older version, or not ours: nothing in it is known, so that it need not wait to be the oldest.
        if segment.used == 0, file.size > 0 { return cache.remove(id) }
        segments[id] = segment
    }

    // MARK: Reading

    func read(
        _ id: PackID, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer, _ beforeWaiting: () -> Void
    ) throws(PackReadFailure) {
        let opened = try objects.open(id)
        let end = offset + UInt64(buffer.count)
        guard end <= opened.object.size else { throw .damage(.inconsistent("a read past the object's end")) }
        let size = UInt64(ForeignBlock.byteCount)
        var position = offset
        var hasMissed = false
        while position < end {
            let number = position / size
            let within = Int(position % size)
            let count = min(ForeignBlock.byteCount - within, Int(end - position))
            let target = UnsafeMutableRawBufferPointer(
                rebasing: buffer[Int(position - offset)..<Int(position - offset) + count])
            let block = ForeignBlock(object: id.foreignNumber, number: number)
            if copy(block, from: within, into: target, beforeWaiting) {
                position += UInt64(count)
                continue
            }
            if !hasMissed { beforeWaiting() }
            hasMissed = true
            let isSmall = opened.object.size <= Self.smallBytes
            let last = (isSmall ? opened.object.size - 1 : end - 1) / size
            guard let run = claim(number...max(last, number), of: block.object) else { continue }
            try fill(run, id, opened) { first, bytes in
                let from = Int(position - first)
                let part = bytes[from..<min(bytes.count, from + Int(end - position))]
                UnsafeMutableRawBufferPointer(rebasing: buffer[Int(position - offset)...]).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: part))
                position += UInt64(part.count)
            }
        }
        for range in ahead.after(id, offset..<end, of: opened.object.size, hasMissed: hasMissed) {
            fetchInBackground(range.id, range.blocks)
        }
    }

    private func fetchInBackground(_ id: PackID, _ blocks: ClosedRange<UInt64>) {
        let key = PackID(foreign: id.foreignNumber, part: blocks.lowerBound & 0xFF_FFFF)
        // A failure is nobody's: who reads what is missing finds it again.
        background.add(
            key,
            FetchJob { [weak self] in
                _ = try? self?.bring(id, blocks)
                return []
            })
    }

    /// Copies from a block that is here and proved. False where it is not.
    private func copy(
        _ block: ForeignBlock, from within: Int, into target: UnsafeMutableRawBufferPointer,
        _ beforeWaiting: () -> Void
    ) -> Bool {
        guard let (place, file) = place(of: block), within + target.count <= place.length else { return false }
        cache.use(place.segment)
        // Each time: what was proved once can change on the cache's disk later.
        if within == 0 && target.count == place.length { return prove(block, place, file, in: target, beforeWaiting) }
        return prove(block, place, file, beforeWaiting) { bytes in
            target.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[within..<within + target.count]))
        }
    }

    /// Where a block is; nil where it is not here.
    private func place(of block: ForeignBlock) -> (Place, RawFile)? {
        monitor.lock()
        defer { monitor.unlock() }
        guard let place = index[block], let segment = segments[place.segment], let file = file(of: segment) else {
            return nil
        }
        return (place, file)
    }

    /// Under the monitor.
    private func file(of segment: ForeignSegment, isNew: Bool = false) -> RawFile? {
        if let file = segment.file { return file }
        guard let file = segment.open(isNew: isNew) else { return nil }
        opened.append(segment.id)
        if opened.count > Self.openLimit { segments[opened.removeFirst()]?.file = nil }
        return file
    }

    /// Whether what the file holds is what was written into it; else it is forgotten.
    private func prove(
        _ block: ForeignBlock, _ place: Place, _ file: RawFile, _ beforeWaiting: () -> Void = {},
        _ use: (UnsafeRawBufferPointer) -> Void = { _ in }
    ) -> Bool {
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: place.length, alignment: 4096)
        defer { bytes.deallocate() }
        guard prove(block, place, file, in: bytes, beforeWaiting) else { return false }
        use(UnsafeRawBufferPointer(bytes))
        return true
    }

    /// The same, with the block's bytes in `bytes`, which has room for just them.
    private func prove(
        _ block: ForeignBlock, _ place: Place, _ file: RawFile, in bytes: UnsafeMutableRawBufferPointer,
        _ beforeWaiting: () -> Void
    ) -> Bool {
        let isWhole =
            (try? file.read(at: place.offset, into: bytes, beforeWaiting)) != nil
            && PackFormat.checksum(UnsafeRawBufferPointer(bytes)) == place.checksum
        monitor.withLock {
            guard index[block]?.segment == place.segment, index[block]?.offset == place.offset else { return }
            if isWhole { index[block]?.isProved = true } else { index[block] = nil }
        }
        return isWhole
    }

    // MARK: Fetching

    /// Claims the first missing blocks of a range. Nil where the first is here, or came while another thread fetched it.
    private func claim(_ range: ClosedRange<UInt64>, of object: UInt64) -> ClosedRange<UInt64>? {
        monitor.lock()
        defer { monitor.unlock() }
        let first = ForeignBlock(object: object, number: range.lowerBound)
        if filling.contains(first) {
            monitor.wait()
            return nil
        }
        guard index[first] == nil else { return nil }
        var last = range.lowerBound
        filling.insert(first)
        while last < range.upperBound, last - range.lowerBound + 1 < Self.runBlocks {
            let next = ForeignBlock(object: object, number: last + 1)
            guard index[next] == nil, !filling.contains(next) else { break }
            filling.insert(next)
            last += 1
        }
        return range.lowerBound...last
    }

    /// Fetches blocks that this thread has claimed, gives the claim up, and shows `use` the bytes and where they begin.
    private func fill(
        _ run: ClosedRange<UInt64>, _ id: PackID, _ opened: ForeignObjects.Opened,
        _ use: (UInt64, UnsafeRawBufferPointer) -> Void
    ) throws(PackReadFailure) {
        let number = id.foreignNumber
        let size = UInt64(ForeignBlock.byteCount)
        let start = run.lowerBound * size
        let end = min((run.upperBound + 1) * size, opened.object.size)
        try cache.buffers.with(Int(end - start)) { bytes throws(PackReadFailure) in
            let result = Result { () throws(ObjectStoreError) in
                try opened.store.read(opened.object, at: start, into: bytes)
            }
            if case .success = result {
                for block in run {
                    let from = Int(block * size - start)
                    let part = bytes[from..<min(from + ForeignBlock.byteCount, bytes.count)]
                    keep(ForeignBlock(object: number, number: block), UnsafeRawBufferPointer(rebasing: part))
                }
            }
            monitor.lock()
            for block in run { filling.remove(ForeignBlock(object: number, number: block)) }
            monitor.signalAll()
            monitor.unlock()
            if case .failure(let error) = result { throw .store(error) }
            use(start, UnsafeRawBufferPointer(bytes))
        }
    }

    /// Writes a block into the cache. Without room for it the reader has its bytes all the same.
    private func keep(_ block: ForeignBlock, _ bytes: UnsafeRawBufferPointer) {
        let needed = ForeignBlockHeader.byteCount + bytes.count
        // The cache's monitor comes before this one.
        if monitor.withLock({ !hasRoom(needed) }) { cache.restore() }
        let place = cache.place
        monitor.lock()
        guard let segment = segmentWithRoom(needed, in: place), let file = file(of: segment) else {
            return monitor.unlock()
        }
        let offset = segment.used + ForeignBlockHeader.byteCount
        segment.used += needed
        monitor.unlock()
        let header = ForeignBlockHeader(
            block: block, length: bytes.count, isDropped: false, checksum: PackFormat.checksum(bytes))
        let isKept = header.encoded(cache.seal).withUnsafeBytes { head in
            (try? file.writeFully(at: offset - head.count, head)) != nil
                && (try? file.writeFully(at: offset, bytes)) != nil
        }
        monitor.lock()
        let isStillThere = segments[segment.id] === segment
        if isKept && isStillThere {
            segment.blocks.append(block)
            index[block] = Place(
                segment: segment.id, offset: offset, length: bytes.count, checksum: header.checksum, isProved: true)
        }
        let oldest = index.count > Self.blockLimit ? segments.keys.filter { $0 != active?.id }.min() : nil
        monitor.unlock()
        if isStillThere { cache.note(segment.id, grownBy: needed) }
        if let oldest { cache.remove(oldest) }
    }

    /// Under the monitor.
    private func hasRoom(_ bytes: Int) -> Bool {
        active.map { $0.used + bytes <= ForeignSegment.byteLimit } ?? false
    }

    /// Under the monitor.
    private func segmentWithRoom(_ bytes: Int, in place: HeldDirectory) -> ForeignSegment? {
        if hasRoom(bytes) { return active }
        let id = PackID(cacheSegment: nextSegment)
        nextSegment += 1
        let segment = ForeignSegment(id, in: place)
        active = nil
        guard file(of: segment, isNew: true) != nil else { return nil }
        active = segment
        segments[id] = segment
        return segment
    }

    /// The cache takes a segment away.
    private func forget(_ id: PackID) {
        monitor.lock()
        defer { monitor.unlock() }
        guard let segment = segments.removeValue(forKey: id) else { return }
        if active === segment { active = nil }
        for block in segment.blocks where index[block]?.segment == id { index[block] = nil }
    }
}

// MARK: Whole parts

extension ForeignCache {
    private static func blocks(_ part: PackID, of object: ForeignObject) -> ClosedRange<UInt64>? {
        let size = UInt64(ForeignBlock.byteCount)
        let start = part.foreignPart * PackID.foreignPartBytes
        let end = min(start + PackID.foreignPartBytes, object.size)
        return start < end ? start / size...(end - 1) / size : nil
    }

    /// Has a part of an object here. Answers the bytes that came from its store.
    func complete(_ part: PackID) throws(PackReadFailure) -> Int {
        let opened = try objects.open(part.wholeForeign)
        guard let blocks = Self.blocks(part, of: opened.object) else { return 0 }
        return try bring(part.wholeForeign, blocks)
    }

    private func bring(_ id: PackID, _ blocks: ClosedRange<UInt64>) throws(PackReadFailure) -> Int {
        let opened = try objects.open(id)
        var fetched = 0
        var next = blocks.lowerBound
        while next <= blocks.upperBound {
            let block = ForeignBlock(object: id.foreignNumber, number: next)
            if isHere(block) {
                next += 1
                continue
            }
            guard let run = claim(next...blocks.upperBound, of: block.object) else { continue }
            try fill(run, id, opened) { _, bytes in fetched += bytes.count }
            next = run.upperBound + 1
        }
        return fetched
    }

    private func isHere(_ block: ForeignBlock) -> Bool {
        guard let (place, file) = place(of: block) else { return false }
        return place.isProved || prove(block, place, file)
    }

    /// Whether all of a part is here and proved, without asking its store.
    func isComplete(_ part: PackID) -> Bool {
        guard let opened = try? objects.open(part.wholeForeign), let blocks = Self.blocks(part, of: opened.object)
        else { return false }
        return blocks.allSatisfy { isHere(ForeignBlock(object: part.foreignNumber, number: $0)) }
    }

    /// Drops the copy of a part. Answers the bytes it took.
    func drop(_ part: PackID) -> Int {
        guard let opened = try? objects.open(part.wholeForeign), let blocks = Self.blocks(part, of: opened.object)
        else { return 0 }
        var dropped = 0
        for number in blocks {
            let block = ForeignBlock(object: part.foreignNumber, number: number)
            monitor.lock()
            let place = index.removeValue(forKey: block)
            let segment = place.flatMap { segments[$0.segment] }
            if let index = segment?.blocks.firstIndex(of: block) { segment?.blocks.remove(at: index) }
            let file = segment.flatMap { self.file(of: $0) }
            let isEmpty = segment.map { $0.blocks.isEmpty && $0 !== active } ?? false
            monitor.unlock()
            guard let place, let segment, let file else { continue }
            let header = ForeignBlockHeader(
                block: block, length: place.length, isDropped: false, checksum: place.checksum)
            ForeignSegment.drop(header, at: place.offset, of: file, cache.seal)
            cache.note(segment.id, grownBy: -place.length)
            if isEmpty { cache.remove(segment.id) }
            dropped += place.length
        }
        return dropped
    }
}
