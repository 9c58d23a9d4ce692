import Glibc

/// Loads on large files: each client has one of its own for sequential loads, all share one for random ones.
///
/// Block `n` of a file is block `n` of a pool of text, stamped with the file's seed, its own number and a version:
/// 0 as written in sequence, 1 as written at random.
struct LargeFiles {
    private let options: Options
    private let client: Int
    private let text = DockingText()
    /// Text made before the clock starts: making it would take a fifth of the time of writing it.
    private let pool: UnsafeMutableRawPointer
    private let buffer: UnsafeMutableRawPointer

    private static let poolBlocks = 4096
    private static let chunkSize = 1 << 20
    private static let block = DockingText.blockSize

    init(_ options: Options, client: Int) {
        self.options = options
        self.client = client
        pool = .allocate(byteCount: Self.poolBlocks * Self.block, alignment: 4096)
        buffer = .allocate(byteCount: Self.chunkSize, alignment: 4096)
    }

    private var isRandom: Bool { options.load == .randread || options.load == .randwrite || options.isShared }
    private var path: String { "\(options.directory)/\(isRandom ? "shared" : "c\(client)").maps" }
    private var seed: UInt64 { options.seed &* 1000 &+ UInt64(isRandom ? 0 : client) }
    /// Of this client's file: whole chunks.
    private var size: Int {
        isRandom ? options.size : max(Self.chunkSize, options.size / options.clients / Self.chunkSize * Self.chunkSize)
    }
    private var ownOperations: Int {
        options.operations / options.clients + (client < options.operations % options.clients ? 1 : 0)
    }

    var expectedOperations: Int { max(ownOperations, size / Self.chunkSize) }

    func prepare() throws(LoadFailure) {
        for index in 0..<Self.poolBlocks { text.fill(pool + index * Self.block, seed: 77, number: UInt64(index)) }
        if options.load == .seqwrite {
            guard mkdir(options.directory, 0o755) == 0 || errno == EEXIST else {
                throw .system("mkdir", options.directory)
            }
        }
    }

    func run(_ recorder: inout Recorder) throws(LoadFailure) {
        switch options.load {
        case .seqwrite: try writeInSequence(&recorder)
        case .seqread: try readInSequence(&recorder)
        case .randread: try readAtRandom(&recorder)
        case .randwrite: try writeAtRandom(&recorder)
        default: try verify(&recorder)
        }
    }

    private func opened(_ flags: Int32) throws(LoadFailure) -> Int32 {
        let descriptor = open(path, flags, 0o644)
        guard descriptor >= 0 else { throw .system("open", path) }
        return descriptor
    }

    private func writeInSequence(_ recorder: inout Recorder) throws(LoadFailure) {
        let descriptor = try opened(O_CREAT | O_WRONLY | O_TRUNC)
        let perChunk = Self.chunkSize / Self.block
        for chunk in 0..<(size / Self.chunkSize) {
            let source = pool + chunk * perChunk % Self.poolBlocks * Self.block
            for index in 0..<perChunk {
                text.stamp(
                    source + index * Self.block, seed: seed, number: UInt64(chunk * perChunk + index), version: 0)
            }
            try writeAll(descriptor, source, Self.chunkSize, at: chunk * Self.chunkSize)
            recorder.done(bytes: Self.chunkSize)
        }
        guard fsync(descriptor) == 0, close(descriptor) == 0 else { throw .system("fsync", path) }
    }

    private func writeAll(
        _ descriptor: Int32, _ source: UnsafeRawPointer, _ count: Int, at offset: Int
    ) throws(LoadFailure) {
        var done = 0
        while done < count {
            let written = pwrite(descriptor, source + done, count - done, off_t(offset + done))
            guard written > 0 else { throw .system("pwrite", path) }
            done += written
        }
    }

    private func readInSequence(_ recorder: inout Recorder) throws(LoadFailure) {
        let descriptor = try opened(O_RDONLY)
        defer { close(descriptor) }
        for chunk in 0..<(size / Self.chunkSize) {
            var done = 0
            while done < Self.chunkSize {
                let count = Glibc.read(descriptor, buffer + done, Self.chunkSize - done)
                guard count > 0 else { throw .system("read", path) }
                done += count
            }
            recorder.done(bytes: Self.chunkSize)
            try checkStamp(buffer, number: UInt64(chunk * (Self.chunkSize / Self.block)))
        }
    }

    /// The first line names the block; its version may be either.
    private func checkStamp(_ memory: UnsafeMutableRawPointer, number: UInt64) throws(LoadFailure) {
        let version = memory.load(fromByteOffset: 61, as: UInt8.self) &- 0x30
        let place = pool + Int(number) % Self.poolBlocks * Self.block
        text.stamp(place, seed: seed, number: number, version: version)
        guard version <= 1, memcmp(memory, place, 96) == 0 else {
            throw LoadFailure("\(path): wrong content in block \(number)")
        }
    }

    /// The blocks a client touches: the same for the same seed.
    private func randomBlocks() -> [Int] {
        var random = SeededRandom(options.seed &* 131 &+ UInt64(client))
        return (0..<ownOperations).map { _ in Int.random(in: 0..<(options.size / Self.block), using: &random) }
    }

    private func readAtRandom(_ recorder: inout Recorder) throws(LoadFailure) {
        let descriptor = try opened(O_RDONLY)
        defer { close(descriptor) }
        for block in randomBlocks() {
            guard pread(descriptor, buffer, Self.block, off_t(block * Self.block)) == Self.block else {
                throw .system("pread", path)
            }
            recorder.done(bytes: Self.block)
            try checkStamp(buffer, number: UInt64(block))
        }
    }

    /// Ends with fsync, which is part of the time.
    private func writeAtRandom(_ recorder: inout Recorder) throws(LoadFailure) {
        let descriptor = try opened(O_WRONLY)
        for block in randomBlocks() {
            let source = pool + block % Self.poolBlocks * Self.block
            text.stamp(source, seed: seed, number: UInt64(block), version: 1)
            try writeAll(descriptor, source, Self.block, at: block * Self.block)
            recorder.done(bytes: Self.block)
        }
        guard fsync(descriptor) == 0, close(descriptor) == 0 else { throw .system("fsync", path) }
    }

    /// Every byte of every `stride`th block. With `--shared` it is the file of random writes.
    private func verify(_ recorder: inout Recorder) throws(LoadFailure) {
        let descriptor = try opened(O_RDONLY)
        defer { close(descriptor) }
        for block in stride(from: 0, to: size / Self.block, by: options.stride) {
            guard pread(descriptor, buffer, Self.block, off_t(block * Self.block)) == Self.block else {
                throw .system("pread", path)
            }
            try checkStamp(buffer, number: UInt64(block))
            guard memcmp(buffer, pool + block % Self.poolBlocks * Self.block, Self.block) == 0 else {
                throw LoadFailure("\(path): wrong content in block \(block)")
            }
            recorder.done(bytes: Self.block)
        }
    }
}
