import FileModel
import Metadata
import Packs

/// What fsync and close of a file wait for.
public enum Durability: Equatable, Sendable {
    /// fsync for the disk of this machine, close for nothing.
    case local
    /// Both for the disk, and then for the store to have the file's bytes, so many seconds at most.
    case store(seconds: Double)
}

extension FileSystem {
    /// fsync of a file. Answers EIO where the store has not got its bytes in time: they are durable on this machine all
    /// the same, and are stored later.
    ///
    /// It is EIO once for each `process` where changes of the file were acknowledged and are lost.
    public func synchronize(_ id: InodeID, session: Session, process: Int32 = 0) throws(Errno) {
        try synchronize()
        // After the wait: what is lost is noted before anything is taken again.
        try lost.check(id, process)
        try awaitStore(id, session)
    }

    /// close of a file, where that waits for the store.
    public func flush(_ id: InodeID, session: Session, process: Int32 = 0) throws(Errno) {
        if case .store = configuration.durability { try lost.check(id, process) }
        guard case .store = configuration.durability, try !stagedPacks(of: id).isEmpty else { return }
        session.willWait()
        try synchronize(id, session: session, process: process)
    }

    /// Whether close has to be heard of.
    public var waitsAtClose: Bool { configuration.durability != .local }

    private func awaitStore(_ id: InodeID, _ session: Session) throws(Errno) {
        guard case .store(let seconds) = configuration.durability else { return }
        let staged = try stagedPacks(of: id)
        guard !staged.isEmpty else { return }
        session.willWait()
        guard let failure = packs.store(staged, seconds: seconds) else { return }
        configuration.report(
            "inode \(id.rawValue): its data is safe in staging, and not in the store yet, so fsync or close failed: "
                + "\(failure); nothing is lost, and it is tried again")
        throw .io
    }

    private func stagedPacks(of id: InodeID) throws(Errno) -> Set<PackID> {
        let extents = try read { transaction throws(Errno) in
            guard let inode = try transaction.inode(id), inode.kind == .regular, inode.size > 0 else {
                return [Extent]()
            }
            return try transaction.extents(of: id, overlapping: 0..<inode.size)
        }
        return Set(extents.map(\.pack)).filter { packs.isStaged($0) }
    }
}
