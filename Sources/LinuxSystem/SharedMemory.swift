import CLinux
import FileModel
import Glibc

/// Memory without a file's name that lives as long as any process holds its descriptor: what a process writes here
/// survives it, and not the machine.
///
/// It is sparse: pages that were never written take no room.
// SAFETY: the address is constant. Who uses a part of the memory says how that part is guarded.
public final class SharedMemory: @unchecked Sendable {
    public let base: UnsafeMutableRawPointer
    public let byteCount: Int
    private let descriptor: FileDescriptor

    /// The descriptor's number, to be handed to another process.
    public var number: Int32 { descriptor.rawValue }

    /// Makes new memory, all zeros. `name` shows in /proc.
    public convenience init(_ name: String, byteCount: Int) throws(Errno) {
        let number = berth_memory_descriptor(name)
        guard number >= 0 else { throw .current }
        let descriptor = FileDescriptor(owning: number)
        guard ftruncate(descriptor.rawValue, off_t(byteCount)) == 0 else { throw .current }
        try self.init(mapping: descriptor, byteCount)
    }

    /// Takes up memory that another process made. Answers EINVAL for one of another size.
    public convenience init(adopting descriptor: consuming FileDescriptor, byteCount: Int) throws(Errno) {
        var status = stat()
        guard fstat(descriptor.rawValue, &status) == 0 else { throw .current }
        guard status.st_size == off_t(byteCount) else { throw .invalidArgument }
        try self.init(mapping: descriptor, byteCount)
    }

    private init(mapping descriptor: consuming FileDescriptor, _ byteCount: Int) throws(Errno) {
        let address = mmap(
            nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor.rawValue, 0)
        guard let address, address != MAP_FAILED else { throw .current }
        base = address
        self.byteCount = byteCount
        self.descriptor = descriptor
    }

    deinit { munmap(base, byteCount) }

    /// Writes a word. Other words that were written before it are seen before it, by whoever reads after this process.
    @inlinable
    public func store(_ value: UInt64, at offset: Int) { berth_store(base + offset, value) }

    @inlinable
    public func word(at offset: Int) -> UInt64 { berth_load(base + offset) }

    /// Gives whole pages back to the system; they read as zeros from now on.
    public func discard(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        madvise(base + range.lowerBound, range.count, MADV_REMOVE)
    }
}
