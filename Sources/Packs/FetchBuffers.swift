import LinuxSystem

/// Memory for what comes from the store, kept from one request to the next: to give 4 MiB back to the system and take them
/// anew costs as much as to receive them.
///
/// Invariants
/// - At most `keptLimit` buffers are kept, and none is in use by two at once.
// SAFETY: `kept` is guarded by `monitor`.
final class FetchBuffers: @unchecked Sendable {
    /// As many as fetch in the background at once: 32 MiB.
    private static let keptLimit = 8
    /// Smaller ones the allocator keeps by itself.
    private static let smallest = 512 << 10
    private static let byteCount = CachedPack.runLimit * PackFormat.frameBytes

    private let monitor = Monitor()
    private var kept: [UnsafeMutableRawBufferPointer] = []

    deinit { for buffer in kept { buffer.deallocate() } }

    /// Runs `body` with `count` bytes, at most those of a whole run of frames.
    func with<Result, Failure: Error>(
        _ count: Int, _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard count >= Self.smallest, count <= Self.byteCount else {
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 4096)
            defer { buffer.deallocate() }
            return try body(buffer)
        }
        let buffer =
            monitor.withLock { kept.popLast() }
            ?? UnsafeMutableRawBufferPointer.allocate(byteCount: Self.byteCount, alignment: 4096)
        defer {
            let isKept = monitor.withLock {
                if kept.count < Self.keptLimit { kept.append(buffer) }
                return kept.last?.baseAddress == buffer.baseAddress
            }
            if !isKept { buffer.deallocate() }
        }
        return try body(UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]))
    }
}
