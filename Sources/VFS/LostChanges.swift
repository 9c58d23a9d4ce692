import FileModel
import LinuxSystem
import Synchronization

/// Files with changes that programs were told of and that a fault of the disk took back, so that no fsync says that they
/// are durable: it is EIO once for each process, as local file systems answer once for each open file.
///
/// Invariants
/// - A file stays here as long as the server runs: a program may have it open for as long.
final class LostChanges: Sendable {
    /// Of processes that were told of one file. Past it all are told again.
    private static let processLimit = 1024

    private let told = Mutex<[InodeID: Set<Int32>]>([:])
    private let hasAny = Atomic<Bool>(false)

    func add(_ inodes: Set<InodeID>) {
        guard !inodes.isEmpty else { return }
        told.withLock { told in for id in inodes { told[id] = [] } }
        hasAny.store(true, ordering: .releasing)
    }

    /// Answers EIO where changes of the file are lost and the process has not been told.
    func check(_ id: InodeID, _ process: Int32) throws(Errno) {
        guard hasAny.load(ordering: .acquiring) else { return }
        let isNew = told.withLock { told in
            guard let processes = told[id] else { return false }
            if processes.count >= Self.processLimit { told[id] = [] }
            return told[id]?.insert(process).inserted ?? false
        }
        if isNew { throw .io }
    }
}
