import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import Packs

/// Puts copies of a database into the store: of each only what differs from the one before.
///
/// Invariants
/// - A manifest is stored after every part that it names.
/// - A part goes only when no manifest that is kept names it.
public final class CopyWriter {
    /// Raw bytes of changed chunks in one object at most.
    private static let partBytes = 8 << 20
    /// Copies that stay: the newest, and two older ones, should that be damaged.
    static let kept = 3
    /// Parts in use beside those of a full copy: past it a full copy is made, so that what others have replaced does not
    /// pile up, and a recovery reads no more than it must.
    private static let extraParts = 64
    static let manifestLimit: UInt64 = 1 << 30

    private let wholeStore: any ObjectStore
    /// The store on the errand of the copy that is being made.
    private var store: any ObjectStore
    private var errand = StoreErrand()
    /// The volume's record, which the next copy brings along.
    public var record: [UInt8]
    private let generation: UInt32
    /// Newest last; those of an earlier process are read once.
    private var manifests: [CopyManifest] = []
    private var nextSequence: UInt64 = 1
    private var isPrepared = false

    /// `record` is the volume's record, `generation` how often the volume has been recovered.
    public init(store: any ObjectStore, record: [UInt8], generation: UInt32) {
        wholeStore = store
        self.store = store
        self.record = record
        self.generation = generation
    }

    /// Copies the database file at `path`, which nobody changes. Answers the bytes that were stored. The errand's end ends it.
    @discardableResult
    public func copy(
        _ path: String, at time: Timestamp, on errand: StoreErrand = StoreErrand()
    ) throws(CopyFailure) -> Int {
        self.errand = errand
        store = wholeStore.on(errand)
        do throws(CopyFailure) {
            return try make(path, at: time)
        } catch {
            // Whatever a request that was cut says of itself.
            if errand.isOver, case .store = error { throw .noTime }
            throw error
        }
    }

    private func make(_ path: String, at time: Timestamp) throws(CopyFailure) -> Int {
        let names = try store.copyNames()
        try checkOwner(names)
        if !isPrepared { try prepare(names) }
        let sequence = nextSequence
        nextSequence += 1
        let (manifest, stored) = try storeChunks(path, sequence, time)
        let bytes = manifest.encoded()
        try store.store(bytes, as: manifest.name)
        manifests = Array((manifests + [manifest]).suffix(Self.kept))
        do throws(CopyFailure) {
            try removeOld(names)
        } catch {
            // The copy is there. What is left is removed after the next one.
            guard errand.isOver else { throw error }
        }
        return stored + bytes.count
    }

    private func checkOwner(_ names: [CopyName]) throws(CopyFailure) {
        for case .owner(let owner) in names where owner > generation { throw .recoveredElsewhere }
    }

    private func prepare(_ names: [CopyName]) throws(CopyFailure) {
        let last = names.compactMap(\.sequence).max() ?? 0
        guard last < .max else { throw .damage(.inconsistent("sequence")) }
        nextSequence = last + 1
        // One that cannot be read is of no use to the next.
        manifests = CopyReader.sequences(names).suffix(Self.kept).compactMap { sequence in
            try? CopyReader(store: store).manifest(sequence)
        }
        isPrepared = true
    }

    // MARK: Chunks

    private func storeChunks(
        _ path: String, _ sequence: UInt64, _ time: Timestamp
    ) throws(CopyFailure) -> (CopyManifest, Int) {
        let file: FileDescriptor
        do {
            file = try FileDescriptor.open(path, O_RDONLY | O_NOFOLLOW)
        } catch {
            throw .file(error)
        }
        var status = stat()
        guard fstat(file.rawValue, &status) == 0 else { throw .file(.current) }
        var manifest = CopyManifest(
            generation: generation, sequence: sequence, time: time, databaseBytes: UInt64(status.st_size),
            record: record, chunks: [])
        let before = isWasteful ? [] : manifests.last?.chunks ?? []
        var part = CopyPart(copy: sequence)
        var stored = 0
        let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: CopyManifest.chunkBytes, alignment: 4096)
        defer { raw.deallocate() }
        var position: UInt64 = 0
        while position < manifest.databaseBytes {
            if errand.isOver { throw .noTime }
            let number = manifest.chunks.count
            let chunk = UnsafeMutableRawBufferPointer(rebasing: raw[..<manifest.length(of: number)])
            try Self.read(file, at: position, into: chunk)
            let checksum = PackFormat.checksum(UnsafeRawBufferPointer(chunk))
            if number < before.count, before[number].frame.checksum == checksum,
                manifests.last?.length(of: number) == chunk.count
            {
                manifest.chunks.append(before[number])
            } else {
                manifest.chunks.append(part.add(UnsafeRawBufferPointer(chunk), checksum))
            }
            position += UInt64(chunk.count)
            if part.rawBytes >= Self.partBytes { stored += try put(&part) }
        }
        stored += try put(&part)
        return (manifest, stored)
    }

    /// Whether chunks that others have replaced take most of the room.
    private var isWasteful: Bool {
        guard let last = manifests.last else { return false }
        var parts: Set<[UInt64]> = []
        for chunk in last.chunks { parts.insert([chunk.copy, UInt64(chunk.part)]) }
        return parts.count > Self.extraParts + Int(last.databaseBytes) / Self.partBytes
    }

    private func put(_ part: inout CopyPart) throws(CopyFailure) -> Int {
        guard part.rawBytes > 0 else { return 0 }
        try store.store(part.bytes, as: CopyName.part(part.copy, part.number).object)
        let count = part.bytes.count
        part.next()
        return count
    }

    private static func read(
        _ file: borrowing FileDescriptor, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(CopyFailure) {
        var done = 0
        while done < buffer.count {
            let count = pread(
                file.rawValue, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset) + off_t(done))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw .file(count < 0 ? .current : .io) }
            done += count
        }
    }

    // MARK: What is not needed any more

    private func removeOld(_ names: [CopyName]) throws(CopyFailure) {
        let kept = Set(manifests.map(\.sequence))
        var parts: Set<[UInt64]> = []
        for manifest in manifests {
            for chunk in manifest.chunks { parts.insert([chunk.copy, UInt64(chunk.part)]) }
        }
        for name in names {
            switch name {
            case .owner: continue
            case .manifest(let sequence): if kept.contains(sequence) { continue }
            case .part(let copy, let part): if parts.contains([copy, UInt64(part)]) { continue }
            }
            guard let object = name.object else { continue }
            do {
                try store.delete(object)
            } catch {
                throw .store(error)
            }
        }
    }
}

/// Changed chunks that become one object.
private struct CopyPart {
    let copy: UInt64
    private(set) var number: UInt32 = 0
    private(set) var bytes: [UInt8] = []
    private(set) var rawBytes = 0
    private let codec = FrameCodec()

    init(copy: UInt64) {
        self.copy = copy
    }

    mutating func add(_ chunk: UnsafeRawBufferPointer, _ checksum: UInt64) -> CopyManifest.Chunk {
        let output = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk.count, alignment: 16)
        defer { output.deallocate() }
        let offset = UInt32(bytes.count)
        let count = codec.compress(chunk, into: output)
        bytes += count.map { output[..<$0] }.map { Array($0) } ?? Array(chunk)
        rawBytes += chunk.count
        return CopyManifest.Chunk(
            copy: copy, part: number,
            frame: FrameEntry(
                offset: offset, storedLength: UInt32(count ?? chunk.count), isRaw: count == nil, checksum: checksum))
    }

    mutating func next() {
        number += 1
        bytes = []
        rawBytes = 0
    }
}
