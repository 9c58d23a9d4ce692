import FileModel
import ObjectStorage

/// A pack's tables: where each frame lies in the object, and what was written into it.
public struct PackIndex: Equatable, Sendable {
    public let id: PackID
    public let rawLength: Int
    public let frames: [FrameEntry]
    public let runs: [PackRun]

    /// The raw bytes of frame `number`.
    public func rawRange(ofFrame number: Int) -> Range<Int> {
        let start = number * PackFormat.frameBytes
        return start..<min(start + PackFormat.frameBytes, rawLength)
    }

    /// Reads the tables of the object: two requests.
    public init(reading id: PackID, from store: any ObjectStore) throws(PackReadFailure) {
        let name = ObjectName(pack: id)
        do {
            let length = try store.size(name)
            guard length > UInt64(PackTrailer.byteCount) else { throw PackDamage.truncated }
            let trailerBytes = UnsafeMutableRawBufferPointer.allocate(byteCount: PackTrailer.byteCount, alignment: 8)
            defer { trailerBytes.deallocate() }
            try store.get(name, at: length - UInt64(PackTrailer.byteCount), into: trailerBytes)
            let trailer = try PackTrailer(decoding: UnsafeRawBufferPointer(trailerBytes), objectLength: length)
            guard trailer.id == id else { throw PackDamage.wrongPack(trailer.id) }
            let tables = UnsafeMutableRawBufferPointer.allocate(byteCount: trailer.tableBytes, alignment: 8)
            defer { tables.deallocate() }
            try store.get(name, at: trailer.frameTableOffset, into: tables)
            try self.init(trailer, UnsafeRawBufferPointer(tables))
        } catch let error as ObjectStoreError {
            throw .store(error)
        } catch let error as PackDamage {
            throw .damage(error)
        } catch {
            throw .damage(.inconsistent("\(error)"))
        }
    }

    /// Reads the tables out of a whole object's bytes.
    public init(decoding id: PackID, _ object: UnsafeRawBufferPointer) throws(PackDamage) {
        guard object.count > PackTrailer.byteCount else { throw .truncated }
        let trailer = try PackTrailer(
            decoding: UnsafeRawBufferPointer(rebasing: object.suffix(PackTrailer.byteCount)),
            objectLength: UInt64(object.count))
        guard trailer.id == id else { throw .wrongPack(trailer.id) }
        let start = Int(trailer.frameTableOffset)
        try self.init(trailer, UnsafeRawBufferPointer(rebasing: object[start..<start + trailer.tableBytes]))
    }

    private init(_ trailer: PackTrailer, _ tables: UnsafeRawBufferPointer) throws(PackDamage) {
        guard PackFormat.checksum(tables) == trailer.tableChecksum else { throw .checksum("tables") }
        var reader = ByteReader(tables)
        var frames: [FrameEntry] = []
        for _ in 0..<trailer.frameCount {
            let offset = reader.take(UInt32.self)
            let length = reader.take(UInt32.self)
            let entry = FrameEntry(
                offset: offset, storedLength: length & ~PackFormat.rawFrameFlag,
                isRaw: length & PackFormat.rawFrameFlag != 0, checksum: reader.take(UInt64.self))
            guard UInt64(offset) + UInt64(entry.storedLength) <= trailer.frameTableOffset,
                entry.storedLength <= UInt32(PackFormat.frameBytes)
            else { throw .inconsistent("frame table") }
            frames.append(entry)
        }
        var runs: [PackRun] = []
        for _ in 0..<trailer.runCount {
            let run = PackRun(
                inode: InodeID(rawValue: reader.take(UInt64.self)), fileOffset: reader.take(UInt64.self),
                rawOffset: reader.take(UInt32.self), length: reader.take(UInt32.self))
            guard UInt64(run.rawOffset) + UInt64(run.length) <= trailer.rawLength else {
                throw .inconsistent("record table")
            }
            runs.append(run)
        }
        id = trailer.id
        rawLength = Int(trailer.rawLength)
        self.frames = frames
        self.runs = runs
    }
}

/// Why bytes of a pack cannot be had.
public enum PackReadFailure: Error, Equatable, Sendable {
    case store(ObjectStoreError)
    case damage(PackDamage)
    /// The cache directory failed.
    case cache(Errno)
}
