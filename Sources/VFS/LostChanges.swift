import FileModel
import LinuxSystem
import Synchronization

/// Files with changes that programs were told of and that a fault of the disk took back, so that no fsync says that they
/// are durable: it is EIO once for each process, as local file systems answer once for each open file.
///
/// Invariants
/// - A file stays here as long as the server runs: a program may have it open for as long.
// SAFETY: `told` is guarded by `monitor`.
final class LostChanges: @unchecked Sendable {
    /// Of processes that were told of one file. Past it all are told again.
    private static let processLimit = 1024

    private let monitor = Monitor()
    private var told: [InodeID: Set<Int32>] = [:]
    private let hasAny = Atomic<Bool>(false)

    /// Runs what makes the volume take changes again, and notes what is lost. Nobody is told that a file is durable
    /// before that is known.
    func note(_ reopen: () throws(Errno) -> Set<InodeID>) throws(Errno) -> Set<InodeID> {
        monitor.lock()
        defer { monitor.unlock() }
        hasAny.store(true, ordering: .sequentiallyConsistent)
        defer { hasAny.store(!told.isEmpty, ordering: .releasing) }
        let inodes = try reopen()
        for id in inodes { told[id] = [] }
        return inodes
    }

    /// Answers EIO where changes of the file are lost and the process has not been told.
    func check(_ id: InodeID, _ process: Int32) throws(Errno) {
        guard hasAny.load(ordering: .sequentiallyConsistent) else { return }
        let isNew = monitor.withLock {
            guard let processes = told[id] else { return false }
            if processes.count >= Self.processLimit { told[id] = [] }
            return told[id]?.insert(process).inserted ?? false
        }
        if isNew { throw .io }
    }
}
