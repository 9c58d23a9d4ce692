import CLinux
import FileModel
import Glibc
import LinuxSystem
import Synchronization

/// The open file that holds a pack's raw bytes, in staging or in the cache.
///
/// Invariants
/// - The descriptor is open as long as the object lives.
/// - `misses` counts reads that had to wait for the disk; it only decides how much is read ahead.
final class RawFile: Sendable {
    /// What the first read that waits for the disk brings along. Doubled by each further one, up to a whole pack:
    /// files that are read one after the other lie in one pack, whatever the order.
    private static let firstWindowBytes = 64 << 10

    let descriptor: Int32
    private let misses = Atomic<Int>(0)

    /// Owns an open descriptor.
    init(owning descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Bytes; 0 where the file cannot be asked.
    var size: Int {
        var status = Glibc.stat()
        return fstat(descriptor, &status) == 0 ? Int(status.st_size) : 0
    }

    /// Has the file system keep `bytes` for the file, whose size stays. False where it has no room for them.
    func setAside(_ bytes: Int) -> Bool {
        let result = fallocate(descriptor, Int32(BERTH_FALLOC_FL_KEEP_SIZE), 0, off_t(bytes))
        // File systems that cannot set room aside are trusted to have it.
        return result == 0 || (errno != ENOSPC && errno != EDQUOT)
    }

    /// Cutting a file at its end frees what was set aside beyond it.
    func giveBack() { ftruncate(descriptor, off_t(size)) }

    /// Fills `buffer` from `offset` on. `beforeWaiting` is called where the bytes are not in memory.
    func read(
        at offset: Int, into buffer: UnsafeMutableRawBufferPointer, _ beforeWaiting: () -> Void
    ) throws(PackReadFailure) {
        let cached = berth_read_cached(descriptor, buffer.baseAddress, buffer.count, off_t(offset))
        if cached == buffer.count { return }
        beforeWaiting()
        readAhead(offset, buffer.count)
        try readFully(at: offset, into: buffer)
    }

    private func readAhead(_ offset: Int, _ count: Int) {
        let window = Self.firstWindowBytes << min(misses.wrappingAdd(1, ordering: .relaxed).oldValue, 8)
        let start = offset / window * window
        posix_fadvise(descriptor, off_t(start), off_t(max(window, offset + count - start)), POSIX_FADV_WILLNEED)
    }

    func readFully(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(PackReadFailure) {
        var done = 0
        while done < buffer.count {
            let count = pread(
                descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset + done))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw .cache(count == 0 ? .io : .current) }
            done += count
        }
    }

    /// Takes over the first `count` bytes of another file. Where that is shorter, the rest stays a hole. False where the
    /// other cannot be read.
    func copy(_ other: RawFile, count: Int) throws(Errno) -> Bool {
        let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { chunk.deallocate() }
        let available = min(other.size, count)
        for start in stride(from: 0, to: available, by: chunk.count) {
            let part = UnsafeMutableRawBufferPointer(rebasing: chunk[..<min(chunk.count, available - start)])
            guard (try? other.readFully(at: start, into: part)) != nil else { return false }
            try writeFully(at: start, UnsafeRawBufferPointer(part))
        }
        guard available == count || ftruncate(descriptor, off_t(count)) == 0 else { throw .current }
        return true
    }

    func writeFully(at offset: Int, _ bytes: UnsafeRawBufferPointer) throws(Errno) {
        try writeWhole(bytes, to: descriptor, at: offset)
    }
}
