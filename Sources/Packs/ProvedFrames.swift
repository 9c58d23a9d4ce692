import FileModel
import LinuxSystem

/// The frames that small reads came out of last, proved, in memory: small files that are read one after the other lie in
/// one frame, which is then proved once.
///
/// Invariants
/// - What is here was proved as a whole, and never changes: packs are immutable and ids are not used again.
// SAFETY: `slots` is guarded by `monitor`: a lock that the simulation and the thread sanitizer know, as they do not know
// the standard library's.
final class ProvedFrames: @unchecked Sendable {
    /// The raw bytes of one frame.
    // SAFETY: written by its maker before anybody else has it, and only read afterwards.
    final class Frame: @unchecked Sendable {
        let bytes: UnsafeMutableRawBufferPointer

        init(byteCount: Int) {
            bytes = .allocate(byteCount: byteCount, alignment: 4096)
        }

        deinit { bytes.deallocate() }

        /// Fills `buffer` from `start` on. False where the frame ends before.
        func copy(from start: Int, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
            guard start + buffer.count <= bytes.count else { return false }
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[start..<start + buffer.count]))
            return true
        }
    }

    private struct Slot {
        var id: PackID
        var number: Int
        var frame: Frame
    }

    /// 4 MiB: of many readers, each has some.
    private static let slotCount = 64

    private let monitor = Monitor()
    private var slots = [Slot?](repeating: nil, count: slotCount)

    /// Fills `buffer` from the pack's raw bytes at `offset`, where they are in one frame that is here.
    func read(_ id: PackID, at offset: Int, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
        let number = offset / PackFormat.frameBytes
        let start = offset % PackFormat.frameBytes
        guard start + buffer.count <= PackFormat.frameBytes, let frame = find(id, number) else { return false }
        return frame.copy(from: start, into: buffer)
    }

    func find(_ id: PackID, _ number: Int) -> Frame? {
        monitor.withLock {
            guard let slot = slots[Self.place(id, number)], slot.id == id, slot.number == number else { return nil }
            return slot.frame
        }
    }

    func keep(_ frame: Frame, _ id: PackID, _ number: Int) {
        monitor.withLock { slots[Self.place(id, number)] = Slot(id: id, number: number, frame: frame) }
    }

    /// Frames of one pack, and the same frame of following packs, lie in different places.
    private static func place(_ id: PackID, _ number: Int) -> Int {
        (Int(id.sequence) &* 7 &+ number) & (slotCount - 1)
    }
}
