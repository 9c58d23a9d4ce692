import FileModel
import LinuxSystem
import Metadata

/// The changes since the last commit, in memory that outlives the process: what was acknowledged and not yet committed
/// is lost with the machine, and not with the server.
///
/// Invariants
/// - Between two commits the log holds the bodies that changed something, whole and in their order, up to `length`.
/// - `generation` counts commits. The database has the same count, changed with each commit: a log of another
///   generation has been committed.
/// - Past the memory's end, and after a fault, the log holds a prefix of the bodies.
/// - Only the holder of the store's lock touches it.
public final class RedoLog {
    /// Of the layout here and in `RedoWriter`.
    public static let version: UInt64 = 2
    /// Virtual: what is not written takes none. Far more than a commit interval holds; a disk that takes seconds for a
    /// commit needs some.
    public static let byteCount = 256 << 20
    /// What stays with the process after a commit; more is given back.
    private static let keptBytes = 4 << 20
    /// Inodes that were changed last, whatever was committed since: other sessions may not have been told.
    private static let recentLimit = 65_536

    private static let versionAt = 0
    private static let generationAt = 8
    private static let lengthAt = 16
    private static let truncatedAt = 24
    private static let recentCountAt = 32
    private static let recentStart = 4096
    private static let start = recentStart + recentLimit * 8

    private let memory: SharedMemory
    private let slots: RequestSlots?
    /// Where the next record goes; bytes from `length` on belong to the body that runs.
    private var position: Int
    private var answer: UInt64 = 0
    /// Records go nowhere: while the log itself is done again, and from where it is truncated on.
    private(set) var isPaused = false

    /// Nil where the memory was left by a program with another layout.
    public init?(_ memory: SharedMemory, slots: RequestSlots?) {
        self.memory = memory
        self.slots = slots
        let found = memory.word(at: Self.versionAt)
        guard found == 0 || found == Self.version, memory.byteCount == Self.byteCount else { return nil }
        memory.store(Self.version, at: Self.versionAt)
        position = Self.start
        position = Self.start + length
        isPaused = isTruncated
    }

    /// Of the last body's end, in bytes from the start of the records.
    private var length: Int {
        Int(clamping: min(memory.word(at: Self.lengthAt), UInt64(Self.byteCount - Self.start)))
    }

    private var isTruncated: Bool { memory.word(at: Self.truncatedAt) != 0 }

    var generation: UInt64 { memory.word(at: Self.generationAt) }

    // MARK: Writing

    /// Adds a change of the body that runs.
    @inline(__always)
    func add(_ redo: Redo) {
        if let value = redo.answer { answer = value }
        guard !isPaused else { return }
        if case .update(let inode) = redo { noteRecent(inode.id) }
        var writer = RedoWriter(memory.base, from: position, limit: memory.byteCount)
        writer.put(redo)
        position = writer.position
        if writer.isFull { truncate() }
    }

    /// The body that ran is over and has changed what it added. `isRequest`: it is what the request that this thread
    /// answers asked for.
    func endBody(isRequest: Bool) {
        let current = isRequest ? slots?.current() : nil
        if !isPaused {
            var writer = RedoWriter(memory.base, from: position, limit: memory.byteCount)
            writer.putEnd(
                slot: current?.slot ?? -1, current?.request ?? RequestSlots.Request(session: 0, unique: 0),
                value: answer)
            if writer.isFull {
                truncate()
            } else {
                position = writer.position
                memory.store(UInt64(position - Self.start), at: Self.lengthAt)
            }
        }
        if let current { slots?.markApplied(current.slot, value: answer) }
        answer = 0
    }

    /// The body that ran has changed nothing.
    @inline(__always)
    func dropBody() {
        answer = 0
        if !isPaused { position = Self.start + length }
    }

    /// What is changed from here on cannot be done again.
    func truncate() {
        memory.store(1, at: Self.truncatedAt)
        isPaused = true
    }

    private func noteRecent(_ id: InodeID) {
        let count = memory.word(at: Self.recentCountAt)
        let index = Int(count % UInt64(Self.recentLimit))
        memory.store(id.rawValue, at: Self.recentStart + index * 8)
        memory.store(count + 1, at: Self.recentCountAt)
    }

    /// Everything up to here is in the database, under this generation.
    func begin(generation: UInt64) {
        // Length first: a death in between leaves an empty log of the old generation.
        memory.store(0, at: Self.lengthAt)
        memory.store(0, at: Self.truncatedAt)
        memory.store(generation, at: Self.generationAt)
        if position - Self.start > Self.keptBytes {
            memory.discard((Self.start + Self.keptBytes + 4095) / 4096 * 4096..<(position + 4095) / 4096 * 4096)
        }
        position = Self.start
        isPaused = false
    }

    /// File data that the log's records name may be lost: none of them is done again.
    func abandon() { begin(generation: generation) }

    // MARK: Doing it again

    /// Makes the log's changes in the open transaction, which holds what the last commit held. The log stays: the
    /// process may die before the next commit.
    func replay(into transaction: SQLiteTransaction, generation committed: UInt64) throws(Errno) -> RedoOutcome {
        let bodies = readBodies()
        guard generation == committed else {
            begin(generation: committed)
            return RedoOutcome(bodies: 0, isWhole: true)
        }
        let wasPaused = isPaused
        isPaused = true
        defer { isPaused = wasPaused }
        for body in bodies {
            for change in body { try transaction.apply(change) }
        }
        return RedoOutcome(bodies: bodies.count, isWhole: !isTruncated)
    }

    /// The whole bodies. What their ends say of requests is noted, whether they are committed or not.
    private func readBodies() -> [[Redo]] {
        var bodies: [[Redo]] = []
        var body: [Redo] = []
        var reader = RedoReader(UnsafeRawBufferPointer(start: memory.base + Self.start, count: length))
        while let entry = reader.next() {
            switch entry {
            case .change(let redo): body.append(redo)
            case .end(let slot, let request, let value):
                slots?.noteApplied(slot, request, value: value)
                bodies.append(body)
                body = []
            }
        }
        return bodies
    }

    /// What is in the log, for tests.
    package var tags: Set<RedoTag> {
        var reader = RedoReader(UnsafeRawBufferPointer(start: memory.base + Self.start, count: length))
        var tags: Set<RedoTag> = []
        while let tag = reader.nextTag() { tags.insert(tag) }
        return tags
    }

    /// The inodes that were changed last, at most `recentLimit`.
    func recentInodes() -> Set<InodeID> {
        let count = Int(clamping: min(memory.word(at: Self.recentCountAt), UInt64(Self.recentLimit)))
        return Set((0..<count).map { InodeID(rawValue: memory.word(at: Self.recentStart + $0 * 8)) })
    }
}

/// What became of a redo log at the start.
public struct RedoOutcome: Sendable {
    /// Bodies that were done again.
    public var bodies: Int
    /// False where later changes are lost.
    public var isWhole: Bool
}
