import FileModel
import Glibc
import LinuxSystem

/// Memory for the raw bytes of one pack of small files, until they are written out together: 250 writes of 4 KiB cost
/// five times what one of 1 MiB does.
///
/// Who reads or writes a range makes sure that nobody else writes it; the memory itself is plain.
// SAFETY: the address is constant; see above for the bytes.
final class PackBuffer: @unchecked Sendable {
    static let byteCount = PackFormat.maximumRawBytes

    fileprivate let memory: UnsafeMutableRawPointer
    private let pool: PackBufferPool

    fileprivate init(_ memory: UnsafeMutableRawPointer, _ pool: PackBufferPool) {
        self.memory = memory
        self.pool = pool
    }

    deinit { pool.giveBack(memory) }

    func copy(_ bytes: UnsafeRawBufferPointer, to offset: Int) {
        guard let start = bytes.baseAddress else { return }
        (memory + offset).copyMemory(from: start, byteCount: bytes.count)
    }

    func bytes(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: memory + range.lowerBound, count: range.count)
    }

    /// Says whose bytes these are, for a process that takes them up. All of the pack's bytes are here from its start.
    func belong(to id: PackID) { pool.note(memory, id, length: 0) }

    /// The pack is so long now.
    func note(length: Int) { pool.note(memory, length: length) }
}

/// Keeps a few buffers for the next pack: fresh memory costs a page fault for each 4 KiB.
///
/// Where there is memory that outlives the process, buffers lie in it, and a table at its head says which pack each
/// belongs to: the next process writes them out (`StagingRescue`).
// SAFETY: `spare` and `places` are guarded by `monitor`; an entry of the table is written by its buffer's owner.
final class PackBufferPool: @unchecked Sendable {
    /// One is being filled while another is written out.
    private static let spareLimit = 2

    private let shared: SharedMemory?
    private let monitor = Monitor()
    private var spare: [UnsafeMutableRawPointer] = []
    /// Free places in the shared memory whose pages were given back.
    private var places: [Int]

    init(_ shared: SharedMemory? = nil) {
        self.shared = shared
        places = shared == nil ? [] : Array((0..<BufferTable.places).reversed())
    }

    deinit {
        guard shared == nil else { return }
        for memory in spare { munmap(memory, PackBuffer.byteCount) }
    }

    /// Nil where there is no memory: the pack does without.
    func take() -> PackBuffer? {
        if let memory = monitor.withLock({ spare.popLast() }) { return PackBuffer(memory, self) }
        guard let shared else { return makeOwn() }
        return monitor.withLock { places.popLast() }.map { PackBuffer(shared.base + BufferTable.offset($0), self) }
    }

    private func makeOwn() -> PackBuffer? {
        let memory = mmap(nil, PackBuffer.byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let memory, memory != MAP_FAILED else { return nil }
        return PackBuffer(memory, self)
    }

    fileprivate func giveBack(_ memory: UnsafeMutableRawPointer) {
        if let shared { BufferTable(shared).clear(place(of: memory, in: shared)) }
        let isKept = monitor.withLock {
            guard spare.count < Self.spareLimit else { return false }
            spare.append(memory)
            return true
        }
        guard !isKept else { return }
        guard let shared else {
            munmap(memory, PackBuffer.byteCount)
            return
        }
        let place = place(of: memory, in: shared)
        shared.discard(BufferTable.offset(place)..<BufferTable.offset(place + 1))
        monitor.withLock { places.append(place) }
    }

    fileprivate func note(_ memory: UnsafeMutableRawPointer, _ id: PackID, length: Int) {
        guard let shared else { return }
        BufferTable(shared).set(place(of: memory, in: shared), id, length: length)
    }

    @inline(__always)
    fileprivate func note(_ memory: UnsafeMutableRawPointer, length: Int) {
        guard let shared else { return }
        BufferTable(shared).set(place(of: memory, in: shared), length: length)
    }

    private func place(of memory: UnsafeMutableRawPointer, in shared: SharedMemory) -> Int {
        (memory - shared.base - BufferTable.headBytes) / PackBuffer.byteCount
    }
}

/// The head of the memory in which buffers lie: for each place the pack, or none, and its length.
struct BufferTable {
    /// Packs being filled or written out at once: one and those that the sealer has not got to. Past it a pack does
    /// without a buffer.
    static let places = 16
    static let headBytes = 4096
    static let byteCount = headBytes + places * PackBuffer.byteCount

    private let memory: SharedMemory

    init(_ memory: SharedMemory) {
        self.memory = memory
    }

    static func offset(_ place: Int) -> Int { headBytes + place * PackBuffer.byteCount }

    func set(_ place: Int, _ id: PackID, length: Int) {
        clear(place)
        set(place, length: length)
        memory.store(UInt64(bitPattern: id.packed), at: entry(place))
    }

    @inline(__always)
    func set(_ place: Int, length: Int) { memory.store(UInt64(length), at: entry(place) + 8) }

    func clear(_ place: Int) { memory.store(0, at: entry(place)) }

    /// The pack at a place and the bytes it has; nil where there is none.
    func pack(_ place: Int) -> (id: PackID, bytes: UnsafeRawBufferPointer)? {
        let packed = memory.word(at: entry(place))
        guard packed != 0 else { return nil }
        let length = min(Int(clamping: memory.word(at: entry(place) + 8)), PackBuffer.byteCount)
        return (
            PackID(packed: Int64(bitPattern: packed)),
            UnsafeRawBufferPointer(start: memory.base + Self.offset(place), count: length)
        )
    }

    private func entry(_ place: Int) -> Int { 64 + place * 16 }
}
