import FileModel
import ObjectStorage

/// Brings frames of one pack from the store into the cache's file, and proves each.
struct FrameFetch {
    let id: PackID
    let index: PackIndex
    /// Nil where the cache cannot be used.
    let file: RawFile?
    let store: any ObjectStore
    let buffers: FetchBuffers

    /// Has the frames of `run` in the file. With `provingFirst` those that are there already, by an earlier process, are
    /// kept. Answers the raw bytes that came from the store.
    func bring(_ run: ClosedRange<Int>, provingFirst: Bool) throws(PackReadFailure) -> Int {
        var fetched = 0
        var frame = run.lowerBound
        let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: PackFormat.frameBytes, alignment: 4096)
        defer { raw.deallocate() }
        while frame <= run.upperBound {
            if provingFirst, isHere(frame, raw) {
                frame += 1
                continue
            }
            // As far as the frames lie one behind the other in the object, and none is here.
            var last = frame
            while last < run.upperBound, follows(last), !(provingFirst && isHere(last + 1, raw)) { last += 1 }
            fetched += try fetch(frame...last, raw)
            frame = last + 1
        }
        return fetched
    }

    private func isHere(_ frame: Int, _ scratch: UnsafeMutableRawBufferPointer) -> Bool {
        guard let file else { return false }
        return FrameProof(index: index, file: file).holds(frame, scratch)
    }

    /// Whether the next frame begins where this one ends.
    private func follows(_ frame: Int) -> Bool {
        index.frames[frame].offset + index.frames[frame].storedLength == index.frames[frame + 1].offset
    }

    private func fetch(
        _ run: ClosedRange<Int>, _ scratch: UnsafeMutableRawBufferPointer
    ) throws(PackReadFailure) -> Int {
        let start = index.frames[run.lowerBound].offset
        let end = index.frames[run.upperBound].offset + index.frames[run.upperBound].storedLength
        return try buffers.with(Int(end - start)) { stored throws(PackReadFailure) in
            do throws(ObjectStoreError) {
                try store.get(ObjectName(pack: id), at: UInt64(start), into: stored)
            } catch {
                throw .store(error)
            }
            let codec = FrameCodec()
            var fetched = 0
            for frame in run {
                let entry = index.frames[frame]
                let from = Int(entry.offset - start)
                let bytes = UnsafeRawBufferPointer(rebasing: stored[from..<from + Int(entry.storedLength)])
                try keep(frame, entry, bytes, codec, scratch)
                fetched += index.rawRange(ofFrame: frame).count
            }
            return fetched
        }
    }

    /// Proves a frame as it came, and writes it into the file.
    private func keep(
        _ frame: Int, _ entry: FrameEntry, _ bytes: UnsafeRawBufferPointer, _ codec: FrameCodec,
        _ scratch: UnsafeMutableRawBufferPointer
    ) throws(PackReadFailure) {
        let range = index.rawRange(ofFrame: frame)
        var proved = bytes
        // One that is stored as it is needs no copy.
        if !(entry.isRaw && bytes.count == range.count && PackFormat.checksum(bytes) == entry.checksum) {
            let raw = UnsafeMutableRawBufferPointer(rebasing: scratch[..<range.count])
            do throws(PackDamage) {
                try codec.expand(entry, bytes, into: raw)
            } catch {
                // On its way, perhaps: what lies in the store may be right.
                try one(frame, into: raw)
            }
            proved = UnsafeRawBufferPointer(raw)
        }
        do {
            try file?.writeFully(at: range.lowerBound, proved)
        } catch {
            throw .cache(error)
        }
    }

    /// Fetches one frame alone.
    func one(_ frame: Int, into raw: UnsafeMutableRawBufferPointer) throws(PackReadFailure) {
        let entry = index.frames[frame]
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

/// Proves frames that are in the cache's file.
struct FrameProof {
    let index: PackIndex
    let file: RawFile

    /// Whether the file holds the frame. `scratch` has room for one, and has its bytes then. `beforeWaiting` is called
    /// where they are not in memory.
    func holds(
        _ frame: Int, _ scratch: UnsafeMutableRawBufferPointer, _ beforeWaiting: () -> Void = {}
    ) -> Bool {
        let range = index.rawRange(ofFrame: frame)
        let raw = UnsafeMutableRawBufferPointer(rebasing: scratch[..<range.count])
        guard (try? file.read(at: range.lowerBound, into: raw, beforeWaiting)) != nil else { return false }
        return PackFormat.checksum(UnsafeRawBufferPointer(raw)) == index.frames[frame].checksum
    }
}

/// A pack's tables in its cache file, behind where the longest pack ends:
///
///     object size u64 | length u64 | seal u64 | that many last bytes of the object
///
/// The seal is `CopySeal.tag` of the pack's id, the size and the bytes: tables that somebody else wrote are not believed.
enum SavedTail {
    private static let position = PackFormat.maximumRawBytes
    private static let headerBytes = 24
    /// Tables of a full pack of files of one byte would be larger, and are then asked for again.
    private static let limit = 1 << 20

    /// Without it the store is asked again: a failure costs nothing else. Answers whether it is there.
    @discardableResult
    static func write(_ tail: ObjectTail, of id: PackID, _ seal: CopySeal, to file: RawFile) -> Bool {
        guard tail.bytes.count <= limit else { return false }
        var writer = ByteWriter()
        writer.put(tail.size)
        writer.put(UInt64(tail.bytes.count))
        writer.put(Self.tag(tail, id, seal))
        let bytes = writer.bytes + tail.bytes
        return bytes.withUnsafeBytes { (try? file.writeFully(at: position, $0)) != nil }
    }

    private static func tag(_ tail: ObjectTail, _ id: PackID, _ seal: CopySeal) -> UInt64 {
        var writer = ByteWriter()
        writer.put(UInt64(bitPattern: id.packed))
        writer.put(tail.size)
        return (writer.bytes + tail.bytes).withUnsafeBytes { seal.tag($0) }
    }

    /// Nil where it is not there, or not sealed by this volume.
    static func read(_ file: RawFile, of id: PackID, _ seal: CopySeal) -> ObjectTail? {
        guard let header = bytes(file, position, headerBytes) else { return nil }
        let (size, length, found) = header.withUnsafeBytes { bytes -> (UInt64, UInt64, UInt64) in
            var reader = ByteReader(bytes)
            return (reader.take(UInt64.self), reader.take(UInt64.self), reader.take(UInt64.self))
        }
        guard length > 0, length <= UInt64(limit), let bytes = bytes(file, position + headerBytes, Int(length)) else {
            return nil
        }
        let tail = ObjectTail(bytes: bytes, size: size)
        return Self.tag(tail, id, seal) == found ? tail : nil
    }

    private static func bytes(_ file: RawFile, _ offset: Int, _ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        let isRead = bytes.withUnsafeMutableBytes { (try? file.readFully(at: offset, into: $0)) != nil }
        return isRead ? bytes : nil
    }
}
