import FileModel
import LinuxSystem
import Metadata
import Metrics
import Packs
import Synchronization

/// What a volume allows.
public struct FileSystemConfiguration: Sendable {
    /// Bytes and inodes at most.
    public var limits: VolumeLimits
    /// What is kept of what is deleted.
    public var trash: TrashSettings
    /// The wall clock; a test hands in its own.
    public var now: @Sendable () -> Timestamp
    /// Nanoseconds of a clock that nobody sets: what expires goes by it where the wall clock jumps.
    public var steadyNanoseconds: @Sendable () -> Int64 = SteadyTime.boot
    /// Whether the disk of the metadata and of staging has room for more. Asked with every commit.
    public var hasRoom: @Sendable () -> Bool
    /// What fsync and close wait for.
    public var durability: Durability
    /// Whether a volume that a fault of the disk made read-only takes changes again by itself once the cause is gone.
    public var resumes = false
    /// Why the volume is somebody else's by now; nil while it is ours. Asked before each commit.
    public var loss: @Sendable () -> String? = { nil }
    /// Takes faults, one line each: what the administrator of the volume must know.
    public var report: @Sendable (String) -> Void
    /// Counts and times commits, of one kind.
    public var commits: OperationMeter

    /// Where the copies of the metadata are that snapshots are made of; nil: there are no snapshots.
    public var snapshotDirectory: String?
    /// How room comes back.
    public var space = SpacePolicy()

    /// Users and groups of this machine.
    public var site: any SiteAccounts = NoSite()
    /// How the volume's ids are in the namespace of this process: what `/proc` shows.
    public var machine = Identity.oneToOne

    public init(
        limits: VolumeLimits = VolumeLimits(), trash: TrashSettings = .off,
        durability: Durability = .local,
        now: @escaping @Sendable () -> Timestamp = Timestamp.now,
        hasRoom: @escaping @Sendable () -> Bool = { true }, report: @escaping @Sendable (String) -> Void,
        commits: OperationMeter = OperationMeter(kinds: 1)
    ) {
        self.limits = limits
        self.trash = trash
        self.durability = durability
        self.now = now
        self.hasRoom = hasRoom
        self.report = report
        self.commits = commits
    }
}

/// POSIX over records and packs: one volume, served to any number of sessions.
///
/// Invariants
/// - Every verb is one metadata transaction, or a read-only one and one that checks again.
/// - An inode without a name is in the trash, with a parent, or an orphan, without one. An orphan is removed when no
///   session holds it.
/// - Bytes are in a pack before the extent that names them is recorded, and durable before it is committed.
/// - Locks are taken in the order of `docs/LOCKING.md`; no lock is held while the store is waited for.
// SAFETY: `sessions` and `orphans` are guarded by `monitor`; flags are atomic; the rest is constant.
public final class FileSystem: @unchecked Sendable {
    let metadata: any MetadataStore
    let packs: PackStore
    let configuration: FileSystemConfiguration
    let committer = Committer()
    let cursors = DirectoryCursors()
    let ahead = ReadAhead()
    /// Held by a write with O_APPEND while more than one session is there.
    let appendLock = Monitor()
    /// Held while a file is made until its session holds it, while more than one session is there: another may remove
    /// its name at once.
    private let creationLock = Monitor()
    private let monitor = Monitor()
    private var sessions: [Session] = []
    private var orphans: Set<InodeID> = []
    private let sessionCount = Atomic<Int>(0)
    /// Whether any inode ever had an extended attribute: most volumes never do, and the kernel asks for
    /// security.capability before the first write to every file.
    let hasAttributes = Atomic<Bool>(false)
    /// What gives room back, and its thread; nil for a snapshot, which is never changed.
    private(set) var collector: Collector?
    private let keeper = SpaceKeeper()
    private let expiry = SteadyTime()
    /// Held while a snapshot or a clone is made or removed, or a volume is restored: one at a time.
    let snapshotLock = Monitor()
    let isSnapshot: Bool
    /// Tells packs what foreign objects are: theirs as long as this lives.
    private var catalog: PacksInMetadata?
    let hasReportedFailure = Atomic<Bool>(false)
    let lost = LostChanges()
    let readFailures = ReadFailures()
    let accounts = AccountTable()
    /// The disk was short of room at the last look.
    let isDiskShort = Atomic<Bool>(false)
    private let isClosedWell = Atomic<Bool>(false)
    /// A request was refused for that since `relief` looked last.
    let wasRefused = Atomic<Bool>(false)
    let relief = StoreRelief()
    /// What it took when it was closed; set by `close`, for whoever called it.
    public private(set) var spaceAtEnd: SpaceTaken?
    /// A fault of a disk without room is over, and there is no room still: the next change may bring it back.
    let isFragile = Atomic<Bool>(false)
    /// Why the metadata is not copied into the store; nil where it is, or need not be.
    let copyTrouble = Mutex<String?>(nil)

    /// Opens the volume: makes the root of a new one, finishes what a crash left. `isTakenOver`: sessions of a process
    /// that died go on, and inodes without a name stay as long as one may hold them.
    public init(
        metadata: any MetadataStore, packs: PackStore, configuration: FileSystemConfiguration,
        isTakenOver: Bool = false
    ) throws(VolumeOpenFailure) {
        self.metadata = metadata
        self.packs = packs
        self.configuration = configuration
        isSnapshot = false
        do {
            try prepareVolume()
            if isTakenOver { orphans = try allOrphans() } else { try removeAllOrphans() }
            let ledger = PacksInMetadata(metadata, committer)
            catalog = ledger
            packs.connect(ledger)
            try packs.start(ledger, report: configuration.report)
            try settleLostPacks()
        } catch let error as PackRecoveryFailure {
            throw VolumeOpenFailure(description: error.description)
        } catch let error as Errno where error == Self.withoutRoot {
            throw VolumeOpenFailure(
                description: "metadata: the root directory is missing; mend it with: berth volume check --repair")
        } catch {
            throw VolumeOpenFailure(
                description: "metadata: \(metadata.failure ?? "\(error)"); check the volume's database")
        }
        committer.start(
            commit: { [unowned self] mustBeDurable in self.commit(mustBeDurable) })
        collector = Collector(metadata, packs, committer, configuration)
        do {
            try settleRestore()
        } catch {
            configuration.report("what a restoration that was cut short has left stays for now: \(error)")
        }
        keeper.start { [unowned self] in self.housekeep() }
    }

    /// Serves a snapshot: `metadata` is its copy, `packs` are those of its volume, which is in service.
    public init(snapshot metadata: any MetadataStore, packs: PackStore, configuration: FileSystemConfiguration) {
        self.metadata = metadata
        self.packs = packs
        self.configuration = configuration
        isSnapshot = true
        // Whether there are any is not worth finding out.
        hasAttributes.store(true, ordering: .relaxed)
        let catalog = PacksInMetadata(metadata, committer)
        self.catalog = catalog
        packs.connect(catalog)
    }

    /// What is done now and then, on a thread of its own: what nobody writes to is sealed, what was long enough in the
    /// trash leaves it, and room comes back.
    package func housekeep() {
        packs.sealIdleStreams()
        resume()
        noteFullness()
        guard metadata.failure == nil, let collector else { return }
        let now = expiry.now(configuration.now(), configuration.steadyNanoseconds())
        if isFragile.load(ordering: .relaxed), configuration.hasRoom() { isFragile.store(false, ordering: .relaxed) }
        // Nobody waits for these changes, and on a disk that has just refused some they would end the next ones, too.
        while !isFragile.load(ordering: .relaxed), !collector.isOver(), discardExpired(now) {}
        guard configuration.space.isAutomatic else { return }
        collector.collectInBackground()
    }

    // MARK: Sessions

    public func attach(_ session: Session) {
        monitor.lock()
        sessions.append(session)
        sessionCount.store(sessions.count, ordering: .releasing)
        monitor.unlock()
        session.retain(.root)
    }

    /// Ends a session. What only it held is removed.
    public func detach(_ session: Session) {
        monitor.lock()
        sessions.removeAll { $0 === session }
        sessionCount.store(sessions.count, ordering: .releasing)
        let unheld = orphans.filter { id in !sessions.contains { $0.holds(id) } }
        orphans.subtract(unheld)
        monitor.unlock()
        for id in unheld { reap(id) }
    }

    /// Whether another session may change what one has cached.
    public var isShared: Bool { sessionCount.load(ordering: .acquiring) > 1 }

    func others(than session: Session?) -> [Session] { monitor.withLock { sessions.filter { $0 !== session } } }

    // MARK: Transactions

    func read<Result>(
        _ body: (any MetadataTransaction) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        do {
            return try metadata.transaction(body)
        } catch .io {
            noteFailure()
            throw .io
        }
    }

    /// A transaction that changes something. Answers EROFS on a read-only session or a failed volume.
    func write<Result>(
        _ session: Session, _ body: (any MetadataTransaction) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        guard !session.isReadOnly, !isSnapshot else { throw .readOnly }
        if hasReportedFailure.load(ordering: .relaxed) { throw .readOnly }
        do {
            let result = try metadata.transaction(body)
            committer.noteChange()
            return result
        } catch .io {
            noteFailure()
            throw .io
        }
    }

    /// Answers ENOSPC while the disk has no room to spare: what makes the volume larger stops while there is some
    /// left for the metadata, so that files can be removed and the volume stays writable.
    func requireRoom() throws(Errno) {
        guard isDiskShort.load(ordering: .relaxed) else { return }
        guard configuration.hasRoom() else {
            wasRefused.store(true, ordering: .relaxed)
            throw .noSpace
        }
        isDiskShort.store(false, ordering: .relaxed)
    }

    /// Says once why the volume takes no more changes.
    func noteFailure() {
        guard let reason = metadata.failure else { return }
        if !hasReportedFailure.exchange(true, ordering: .acquiringAndReleasing) {
            configuration.report("the volume is read-only from now on: \(reason); \(wayBack)")
        }
    }

    /// Another process writes to the volume: nothing is committed any more, and what was not is lost.
    public func giveUp(_ reason: String) {
        metadata.fail(reason)
        noteFailure()
    }

    /// Why the volume takes no changes, or nil where it does.
    public var readOnlyReason: String? { metadata.failure }

    // MARK: Inodes without a name

    /// Whether a session holds the inode.
    func isHeld(_ id: InodeID) -> Bool { monitor.withLock { sessions.contains { $0.holds(id) } } }

    /// `id` lost its last name in a transaction that is over.
    func orphaned(_ id: InodeID) {
        let isHeld = beforeOthersReap {
            monitor.withLock {
                let isHeld = sessions.contains { $0.holds(id) }
                if isHeld { orphans.insert(id) }
                return isHeld
            }
        }
        if !isHeld { reap(id) }
    }

    /// Runs what must not fall between another session's making an inode and holding it.
    func beforeOthersReap<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        guard isShared else { return try body() }
        return try creationLock.withLock(body)
    }

    /// `id` got a name again.
    func named(_ id: InodeID) {
        monitor.withLock { _ = orphans.remove(id) }
    }

    /// The kernel forgot lookups of an inode.
    public func forget(_ id: InodeID, count: UInt64, session: Session) {
        guard session.release(id, count: count) else { return }
        monitor.lock()
        let isAlone = sessions.count == 1
        let isOver =
            !orphans.isEmpty && orphans.contains(id) && !sessions.contains { $0.holds(id, hasForgotten: isAlone) }
        if isOver { orphans.remove(id) }
        monitor.unlock()
        if isOver { reap(id) }
    }

    private func reap(_ id: InodeID) {
        // A failure is noted, and the next opening removes it.
        try? maintain { transaction throws(Errno) in
            guard let inode = try transaction.inode(id), inode.linkCount == 0, !inode.isInTrash else { return }
            try transaction.remove(id)
        }
    }

    /// A transaction that changes something on nobody's behalf: of the volume itself, or of its user past any session.
    func maintain<Result>(
        _ body: (any MetadataTransaction) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        guard !isSnapshot else { throw .readOnly }
        do {
            let result = try metadata.maintenance(body)
            committer.noteChange()
            return result
        } catch .io {
            noteFailure()
            throw .io
        }
    }

    // MARK: Durability

    /// fsync, fsyncdir, syncfs: everything before the call survives a crash of the machine.
    public func synchronize() throws(Errno) {
        do {
            try committer.synchronize()
        } catch {
            noteFailure()
            throw .io
        }
    }

    /// The end has begun: whoever waits for the store is let go. Before sessions are ended, which waits for them.
    public func letGo() {
        collector?.stop()
        packs.letGo()
    }

    private func commit(_ mustBeDurable: Bool) -> Errno? {
        if let reason = configuration.loss() { giveUp(reason) }
        if !configuration.hasRoom() { isDiskShort.store(true, ordering: .relaxed) }
        do throws(Errno) {
            try configuration.commits.measure(0) { () throws(Errno) in
                // Most bytes first, while requests go on; the rest inside, while none can. Where bytes are lost the
                // failure shows inside again, and ends the metadata's life.
                try? packs.synchronize()
                try metadata.commit { () throws(Errno) in try packs.prepareCommit() }
                if mustBeDurable { try metadata.synchronize() }
            }
            return nil
        } catch {
            noteFailure()
            return .io
        }
    }

    /// Ends the volume's service: stores what should be stored, or with `storesAll` what there is, and commits. Answers
    /// why it is not in the store.
    public func close(storeSeconds: Double, storesAll: Bool = false) -> String? {
        collector?.stop()
        keeper.stop()
        let unstored = packs.close(seconds: storeSeconds, all: storesAll)
        committer.stop()
        packs.giveBackRoom()
        spaceAtEnd = try? spaceTaken()
        do {
            try metadata.close()
        } catch {
            return "metadata: \(metadata.failure ?? "\(error)")"
        }
        isClosedWell.store(true, ordering: .releasing)
        return unstored
    }

    /// The metadata is closed, and its file is what the volume holds. Not after a fault, or where another machine has the volume.
    public var hasClosedWell: Bool { isClosedWell.load(ordering: .acquiring) }

    /// What it may hold; nil where there is no limit.
    public var limits: (inodes: UInt64?, bytes: UInt64?) { (configuration.limits.inodes, configuration.limits.bytes) }

    /// What the volume holds.
    public func usage() throws(Errno) -> Usage {
        try read { transaction throws(Errno) in try transaction.usage() }
    }
}

/// Why a volume could not be opened, in one line.
public struct VolumeOpenFailure: Error, CustomStringConvertible, Sendable {
    public let description: String
}
