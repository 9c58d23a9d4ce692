import FileModel
import LinuxSystem
import Synchronization

/// New files that are being written past the page cache, and which of them somebody reads meanwhile.
///
/// A file that is created for writing alone gets FOPEN_DIRECT_IO: its writes reach the server without the kernel
/// asking for security.capability first (a round trip for each new file), and nobody can read or map through such a
/// handle. A reader with another handle may fetch a page while a write is under way. Kernels before 6.18 do not drop
/// that page afterwards, so we ask for it.
///
/// Invariants
/// - `count` is the number of handles in `files`; while it is 0 a read looks at nothing else.
// SAFETY: `files` is guarded by `monitor`.
final class DirectWriters: @unchecked Sendable {
    private struct Writers {
        var handles: Int
        var isRead: Bool
    }

    private let monitor = Monitor()
    private let count = Atomic<Int>(0)
    private var files: [InodeID: Writers] = [:]

    func opened(_ id: InodeID) {
        monitor.lock()
        files[id, default: Writers(handles: 0, isRead: false)].handles += 1
        count.wrappingAdd(1, ordering: .releasing)
        monitor.unlock()
    }

    func closed(_ id: InodeID) {
        monitor.lock()
        defer { monitor.unlock() }
        guard var writers = files[id] else { return }
        writers.handles -= 1
        files[id] = writers.handles > 0 ? writers : nil
        count.wrappingSubtract(1, ordering: .releasing)
    }

    /// Call it before the data is read.
    func willRead(_ id: InodeID) {
        guard count.load(ordering: .acquiring) > 0 else { return }
        monitor.lock()
        files[id]?.isRead = true
        monitor.unlock()
    }

    /// Whether pages of the file may be older than a write that has just been carried out.
    func mayBeCached(_ id: InodeID) -> Bool {
        guard count.load(ordering: .acquiring) > 0 else { return false }
        return monitor.withLock { files[id]?.isRead ?? false }
    }
}
