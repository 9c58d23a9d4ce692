import FileModel
import ObjectStorage

/// A pack's tables: where each frame lies in the object, and what was written into it.
public struct PackIndex: Equatable, Sendable {
    public let id: PackID
    public let rawLength: Int
    public let frames: [FrameEntry]
    public private(set) var runs: [PackRun]

    /// The raw bytes of frame `number`.
    public func rawRange(ofFrame number: Int) -> Range<Int> {
        let start = number * PackFormat.frameBytes
        return start..<min(start + PackFormat.frameBytes, rawLength)
    }

    /// The tables of a full pack of files of 4 KiB, and what most packs need in one request.
    private static let usualTailBytes = 128 << 10

    /// Reads the tables of the object: one request, or two where they are large.
    public init(reading id: PackID, from store: any ObjectStore) throws(PackReadFailure) {
        self = try Self.stored(id, in: store).index
    }

    /// As `init(reading:)`, with the bytes of the whole object, which the same answer tells.
    public static func stored(
        _ id: PackID, in store: any ObjectStore
    ) throws(PackReadFailure) -> (index: PackIndex, storedLength: UInt64) {
        let tail = try tail(of: id, from: store)
        do {
            return (try PackIndex(id, tail), tail.size)
        } catch {
            throw .damage(error)
        }
    }

    /// The last bytes of the object: its tables and trailer, and no more.
    static func tail(of id: PackID, from store: any ObjectStore) throws(PackReadFailure) -> ObjectTail {
        do {
            let name = ObjectName(pack: id)
            var tail = try store.tail(name, count: usualTailBytes)
            let needed = try PackTrailer(endOf: tail).tableBytes + PackTrailer.byteCount
            if tail.bytes.count < needed { tail = try store.tail(name, count: needed) }
            guard tail.bytes.count >= needed else { throw PackDamage.truncated }
            return ObjectTail(bytes: Array(tail.bytes.suffix(needed)), size: tail.size)
        } catch let error as ObjectStoreError {
            throw .store(error)
        } catch let error as PackDamage {
            throw .damage(error)
        } catch {
            throw .damage(.inconsistent("\(error)"))
        }
    }

    /// Reads the tables out of the object's end, which holds them.
    init(_ id: PackID, _ tail: ObjectTail) throws(PackDamage) {
        let trailer = try PackTrailer(endOf: tail)
        guard trailer.id == id else { throw .wrongPack(trailer.id) }
        let end = tail.bytes.count - PackTrailer.byteCount
        guard end >= trailer.tableBytes else { throw .truncated }
        let failure: PackDamage
        switch tail.bytes.withUnsafeBytes({ bytes -> Result<PackIndex, PackDamage> in
            let tables = UnsafeRawBufferPointer(rebasing: bytes[end - trailer.tableBytes..<end])
            return Result { () throws(PackDamage) in try PackIndex(trailer, tables) }
        }) {
        case .success(let index):
            self = index
            return
        case .failure(let damage): failure = damage
        }
        throw failure
    }

    /// Reads the tables out of a whole object's bytes.
    public init(decoding id: PackID, _ object: UnsafeRawBufferPointer) throws(PackDamage) {
        try self.init(id, try Self.tail(of: object))
    }

    /// The end of a whole object's bytes, as `tail(of:from:)` has it.
    static func tail(of object: UnsafeRawBufferPointer) throws(PackDamage) -> ObjectTail {
        let size = UInt64(object.count)
        let trailer = try PackTrailer(
            endOf: ObjectTail(bytes: Array(object.suffix(PackTrailer.byteCount)), size: size))
        return ObjectTail(bytes: Array(object.suffix(trailer.tableBytes + PackTrailer.byteCount)), size: size)
    }

    /// Without what was written where, which takes most of the memory.
    var withoutRuns: PackIndex {
        var copy = self
        copy.runs = []
        return copy
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
            guard let run = PackRun(&reader, rawLength: trailer.rawLength) else { throw .inconsistent("record table") }
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

extension PackReadFailure: CustomStringConvertible {
    /// Of the pack.
    public var description: String {
        switch self {
        case .store(.missing): "is not in the store"
        case .store(let error): "cannot be read from the store: \(error)"
        case .damage(let damage): "is damaged: \(damage)"
        case .cache(let errno): "\(errno)"
        }
    }
}
