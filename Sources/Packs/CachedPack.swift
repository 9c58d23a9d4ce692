import CLinux
import FileModel
import Glibc
import LinuxSystem
import ObjectStorage

/// The cache's raw copy of one pack in the store: a sparse file, filled frame by frame.
///
/// Invariants
/// - A frame in `present` was proved against its checksum by this process, or written by it.
/// - A frame in `filling` is being fetched by one thread; others wait for it instead of fetching again.
// SAFETY: every mutable member is guarded by `monitor`.
final class CachedPack: @unchecked Sendable {
    let id: PackID
    private let file: RawFile
    private let monitor = Monitor()
    private var index: PackIndex?
    private var present: [Bool]
    private var filling: Set<Int> = []
    /// True while the file may hold frames of an earlier process, which must be proved before use.
    private let mayHoldFrames: Bool

    /// Opens or makes the cache file.
    init(_ id: PackID, path: String) throws(Errno) {
        self.id = id
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw .current }
        file = RawFile(owning: descriptor)
        var status = Glibc.stat()
        mayHoldFrames = fstat(descriptor, &status) == 0 && status.st_blocks > 0
        present = Array(repeating: false, count: PackFormat.frameCount(rawLength: PackFormat.maximumRawBytes))
    }

    /// Takes over a raw file whose bytes this process wrote itself.
    init(adopting descriptor: Int32, of id: PackID) {
        self.id = id
        file = RawFile(owning: descriptor)
        mayHoldFrames = false
        present = Array(repeating: true, count: PackFormat.frameCount(rawLength: PackFormat.maximumRawBytes))
    }

    /// Bytes on disk.
    var allocatedBytes: Int {
        var status = Glibc.stat()
        return fstat(file.descriptor, &status) == 0 ? Int(status.st_blocks) * 512 : 0
    }

    /// Fills `buffer` from the pack's raw bytes at `offset`. Answers how many bytes came from the store.
    func read(
        at offset: Int, into buffer: UnsafeMutableRawBufferPointer, from store: any ObjectStore,
        _ beforeWaiting: () -> Void
    ) throws(PackReadFailure) -> Int {
        guard !buffer.isEmpty else { return 0 }
        let first = offset / PackFormat.frameBytes
        let last = (offset + buffer.count - 1) / PackFormat.frameBytes
        var fetched = 0
        for frame in first...last { fetched += try require(frame, from: store, beforeWaiting) }
        try file.read(at: offset, into: buffer, beforeWaiting)
        return fetched
    }

    /// Makes one frame present. Answers the raw bytes it fetched.
    private func require(
        _ frame: Int, from store: any ObjectStore, _ beforeWaiting: () -> Void
    ) throws(PackReadFailure) -> Int {
        monitor.lock()
        if present[frame] {
            monitor.unlock()
            return 0
        }
        beforeWaiting()
        while !present[frame] && filling.contains(frame) { monitor.wait() }
        if present[frame] {
            monitor.unlock()
            return 0
        }
        filling.insert(frame)
        let known = index
        monitor.unlock()

        let result = Result { () throws(PackReadFailure) -> (PackIndex, Int) in
            let index = if let known { known } else { try PackIndex(reading: id, from: store) }
            return (index, try fill(frame, index, store))
        }
        monitor.lock()
        defer { monitor.unlock() }
        filling.remove(frame)
        monitor.signalAll()
        let (index, fetched) = try result.get()
        self.index = index
        present[frame] = true
        return fetched
    }

    private func fill(_ frame: Int, _ index: PackIndex, _ store: any ObjectStore) throws(PackReadFailure) -> Int {
        guard frame < index.frames.count else { throw .damage(.inconsistent("frame \(frame) is past the end")) }
        let entry = index.frames[frame]
        let range = index.rawRange(ofFrame: frame)
        let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: range.count, alignment: 4096)
        defer { raw.deallocate() }
        if mayHoldFrames, (try? file.readFully(at: range.lowerBound, into: raw)) != nil,
            PackFormat.checksum(UnsafeRawBufferPointer(raw)) == entry.checksum
        {
            return 0
        }
        try Self.fetch(entry, of: id, from: store, into: raw)
        do {
            try file.writeFully(at: range.lowerBound, UnsafeRawBufferPointer(raw))
        } catch {
            throw .cache(error)
        }
        return range.count
    }

    /// Reads from the store alone: slow, for a cache that cannot be used.
    static func readPastCache(
        _ id: PackID, at offset: Int, into buffer: UnsafeMutableRawBufferPointer, from store: any ObjectStore
    ) throws(PackReadFailure) {
        let index = try PackIndex(reading: id, from: store)
        let end = offset + buffer.count
        var position = offset
        while position < end {
            let frame = position / PackFormat.frameBytes
            guard frame < index.frames.count, position < index.rawRange(ofFrame: frame).upperBound else {
                throw .damage(.truncated)
            }
            let range = index.rawRange(ofFrame: frame)
            let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: range.count, alignment: 4096)
            defer { raw.deallocate() }
            try fetch(index.frames[frame], of: id, from: store, into: raw)
            let stop = min(end, range.upperBound)
            let part = raw[(position - range.lowerBound)..<(stop - range.lowerBound)]
            UnsafeMutableRawBufferPointer(rebasing: buffer[(position - offset)..<(stop - offset)]).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: part))
            position = stop
        }
    }

    private static func fetch(
        _ entry: FrameEntry, of id: PackID, from store: any ObjectStore, into raw: UnsafeMutableRawBufferPointer
    ) throws(PackReadFailure) {
        let stored = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(entry.storedLength), alignment: 4096)
        defer { stored.deallocate() }
        do {
            try store.get(ObjectName(pack: id), at: UInt64(entry.offset), into: stored)
        } catch {
            throw .store(error)
        }
        do {
            try FrameCodec().expand(entry, UnsafeRawBufferPointer(stored), into: raw)
        } catch {
            throw .damage(error)
        }
    }
}
