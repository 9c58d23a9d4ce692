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
}

/// Keeps a few buffers for the next pack: fresh memory costs a page fault for each 4 KiB.
// SAFETY: `spare` is guarded by `monitor`.
final class PackBufferPool: @unchecked Sendable {
    /// One is being filled while another is written out.
    private static let spareLimit = 2

    private let monitor = Monitor()
    private var spare: [UnsafeMutableRawPointer] = []

    deinit { for memory in spare { munmap(memory, PackBuffer.byteCount) } }

    /// Nil where there is no memory: the pack does without.
    func take() -> PackBuffer? {
        if let memory = monitor.withLock({ spare.popLast() }) { return PackBuffer(memory, self) }
        let memory = mmap(nil, PackBuffer.byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let memory, memory != MAP_FAILED else { return nil }
        return PackBuffer(memory, self)
    }

    fileprivate func giveBack(_ memory: UnsafeMutableRawPointer) {
        let isKept = monitor.withLock {
            guard spare.count < Self.spareLimit else { return false }
            spare.append(memory)
            return true
        }
        if !isKept { munmap(memory, PackBuffer.byteCount) }
    }
}
