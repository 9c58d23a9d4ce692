import FileModel
import Metadata

/// Names that change past the kernels, by an import, a restoration or a repair: programs that list meanwhile must see all
/// of it afterwards. Gathered in a transaction, which gives the directories their times, and announced after it.
struct NameChanges {
    /// Directories in the order in which names in them changed first; true: its time of modification is its own.
    private var directories: [(id: InodeID, keepsTime: Bool)] = []
    private var known: Set<InodeID> = []
    private(set) var notices: [Invalidation] = []

    /// A name appeared, went, or stands for something else. `keepsTime`: the directory shows the time that it had where it
    /// came from.
    mutating func add(_ name: FileName, in parent: InodeID, keepsTime: Bool = false) {
        notices.append(.entry(parent: parent, name: name))
        if known.insert(parent).inserted { directories.append((parent, keepsTime)) }
    }

    mutating func add(_ notice: Invalidation) { notices.append(notice) }

    /// At the end of the transaction: the directories' times, and what their listings ask for.
    mutating func settle(_ now: Timestamp, _ transaction: any MetadataTransaction) throws(Errno) {
        for (id, keepsTime) in directories {
            notices.append(.listing(id))
            // It may have been replaced since.
            guard var directory = try transaction.inode(id), directory.isDirectory else { continue }
            if keepsTime { directory.changed = now } else { directory.touchEntries(now) }
            try transaction.update(directory)
        }
    }
}

extension FileSystem {
    /// Tells kernels what changed: those of all sessions but `session`, which has made the changes through its own kernel.
    func announce(_ session: Session, _ changes: @autoclosure () -> [Invalidation]) {
        guard isShared else { return }
        tell(others(than: session), changes(), beforeWaiting: session.willWait)
    }

    /// Tells every kernel what changed past them all.
    func announceToAll(_ changes: [Invalidation]) {
        tell(others(than: nil), changes, beforeWaiting: {})
    }

    private func tell(_ sessions: [Session], _ changes: [Invalidation], beforeWaiting: () -> Void) {
        for session in sessions {
            let concerning = changes.filter { session.isConcerned(by: $0) }
            if !concerning.isEmpty { session.invalidate(concerning, beforeWaiting) }
        }
    }
}
