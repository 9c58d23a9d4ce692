import CLinux
import Control
import FUSEBridge
import FileModel
import Glibc
import LinuxSystem
import Logging
import Metrics
import VFS
import Volumes

/// One volume being served: its sessions, and the clients that ask for more.
///
/// Invariants
/// - A session is in `sessions` from before its INIT is answered until its loop has ended.
/// - The server ends `linger` after its last session did, or when it is told to.
// SAFETY: every mutable member is guarded by `monitor`.
final class Server: @unchecked Sendable {
    /// The kernel sends INIT with the mount; only a dead connection takes this long.
    private static let readySeconds = 10.0
    /// Sessions of one volume: podman's namespace, host mounts, jobs of one user on one node.
    private static let maximumSessions = 64

    private struct Served {
        var connection: Connection
        var attachment: Attachment
    }

    private let volume: String
    private let fileSystem: FileSystem
    private let logger: Logger
    /// How long it goes on without a session, and how long it waits for its first.
    private let linger: Duration
    /// How long a snapshot stays open that is read through `.snapshots`.
    private static let snapshotIdle = Duration.seconds(60)
    private static let firstSessionLinger = Duration.seconds(10)
    private var hadSession = false
    private let monitor = Monitor()
    private var sessions: [String: Served] = [:]
    private var isStopping = false
    private var isRestarting = false
    private var isAsked: @Sendable () -> Bool = { false }
    /// What somebody who told it to end gives the store; nil: nobody said.
    private var storeSeconds: Double?
    private var lastActivity = ContinuousClock.now

    private let warmer: Warmer
    private let legacy: Legacy
    private let confinement: Confinement
    private let census: StatisticsCensus
    private let snapshots: SnapshotService
    /// Nobody may come in: the volume's content is being replaced.
    private var isClosedToSessions = false
    private let space: SpaceService
    /// Takes over what changed in the volume's record.
    private let reload: @Sendable () throws(SystemFailure) -> Void
    private let transfers: Transfers
    private let trust: SourceTrust
    /// Nil where the metadata is never copied.
    private let copier: MetadataCopier?
    /// The volume's own.
    private let paths: VolumePaths

    init(
        _ paths: VolumePaths, fileSystem: FileSystem, warmer: Warmer, snapshots: SnapshotService,
        transfers: Transfers, trust: SourceTrust, copier: MetadataCopier?, census: StatisticsCensus, legacy: Legacy,
        confinement: Confinement, linger: Duration, logger: Logger,
        reload: @escaping @Sendable () throws(SystemFailure) -> Void
    ) {
        self.legacy = legacy
        self.confinement = confinement
        self.warmer = warmer
        self.census = census
        self.snapshots = snapshots
        self.reload = reload
        space = SpaceService(volume: paths.name, fileSystem: fileSystem)
        self.transfers = transfers
        self.trust = trust
        self.copier = copier
        self.paths = paths
        self.linger = linger
        volume = paths.name
        self.fileSystem = fileSystem
        self.logger = logger
    }

    /// Blocks until the server should end. True where another takes its place.
    func waitForEnd() -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        while !isStopping {
            let patience = hadSession ? linger : max(linger, Self.firstSessionLinger)
            // A client that has connected may be about to hand over a session.
            if isBusy || isAsked() { lastActivity = .now }
            if sessions.isEmpty && lastActivity.duration(to: .now) >= patience { isStopping = true }
            legacy.lookAfterKeeper()
            // Looks again each second: nothing has to wake it for the time to pass.
            guard !isStopping else { break }
            _ = monitor.wait(seconds: 1)
            monitor.unlock()
            snapshots.directory.closeIdle(after: Self.snapshotIdle)
            monitor.lock()
        }
        return isRestarting
    }

    /// Somebody waits for what it does beside serving requests.
    private var isBusy: Bool { warmer.isBusy || snapshots.isBusy || transfers.isBusy }

    /// Keeps an idle server while `isAsked` answers true. Call it before `waitForEnd`.
    func stayWhile(_ isAsked: @escaping @Sendable () -> Bool) { monitor.withLock { self.isAsked = isAsked } }

    /// `storeSeconds`: how long to go on storing, and all that is staged then.
    func stop(storeSeconds: Double? = nil) {
        monitor.lock()
        isStopping = true
        self.storeSeconds = storeSeconds ?? self.storeSeconds
        monitor.signalAll()
        monitor.unlock()
    }

    /// How long whoever told it to end gives the store.
    var chosenStoreSeconds: Double? { monitor.withLock { storeSeconds } }

    /// Ends the sessions that are still there, so that nothing comes in while the volume is closed.
    func endSessions() {
        let names = monitor.withLock { Array(sessions.keys) }
        for name in names { detach(name) }
    }

    /// Leaves everything to a new server, which gets at what has come since this one started.
    func replace() throws(SystemFailure) { try restart() }

    private func restart(mending: Bool = false) throws(SystemFailure) {
        guard !isBusy else {
            throw SystemFailure(
                "volume \"\(volume)\"", "is at work for somebody",
                fix: "wait for `berth warm`, `sync`, `import`, `export`, `snapshot` or `gc`, and try again",
                errno: .busy, status: .temporaryFailure)
        }
        guard fileSystem.mayHandOver else {
            throw SystemFailure(
                "volume \"\(volume)\"",
                "cannot be handed over while it is mounted: its disk lost what programs were shown",
                fix: "unmount it, and mount it again", errno: .io, status: .dataError)
        }
        monitor.lock()
        defer { monitor.unlock() }
        guard sessions.values.allSatisfy({ $0.connection.negotiation != nil }) else {
            throw SystemFailure(
                "volume \"\(volume)\"", "cannot be handed over while it is mounted: Linux 6.9 or later is needed",
                fix: "unmount it; its next mount starts the new program", errno: .notSupported, status: .unavailable)
        }
        guard !isStopping else {
            throw SystemFailure(
                "volume \"\(volume)\"", "its server ends", fix: "try again", errno: Errno(EAGAIN),
                status: .temporaryFailure)
        }
        if mending { try AtomicFile.replace(paths.mendMark, []) }
        isRestarting = true
        isStopping = true
        monitor.signalAll()
    }

    /// Answers the requests under way and stops reading; the sessions go on. What is not answered in time is asked
    /// again of the next server.
    func suspendSessions() {
        monitor.lock()
        defer { monitor.unlock() }
        for served in sessions.values { served.connection.suspend() }
        let deadline = Deadline(after: Self.suspendTimeout)
        while !sessions.isEmpty && monitor.wait(until: deadline) {}
    }

    private static let suspendTimeout = Duration.seconds(5)

    /// Goes on with the sessions of the server before. `distrusted`: what their kernels may have cached wrongly; nil
    /// where there is nothing.
    func takeOver(distrusted: Set<InodeID>?) {
        legacy.takeSessions { note, device throws(SystemFailure) in
            let served = try make(note.attachment, device, takingOver: note.negotiation)
            if let distrusted { served.connection.distrust(distrusted) }
            try start(served)
            logger.info("session taken over", metadata: metadata(note.attachment))
        }
    }

    func answer(
        _ request: ServerRequest, from origin: RequestOrigin, passed: consuming FileDescriptor?
    ) -> ServerReply {
        do throws(SystemFailure) {
            try refuseContainer(request, origin)
            if !origin.isHost, request == .status { return .status(statusForContainers()) }
            switch request {
            case .introduce: if let shown = passed.take() { origin.show(shown) }
            case .isServed(let session): try requireServed(session)
            case .attach(var attachment):
                // Numbers of a container are not the machine's, and names of the machine are not for it to find out.
                if !origin.namesHostIDs { attachment.identity.isOfSite = nil }
                return try attach(attachment, passed)
            case .detach(let session): detach(session)
            case .status: return .status(status())
            case .sync:
                do { try fileSystem.synchronize() } catch {
                    throw SystemFailure("volume \"\(volume)\"", "cannot be synchronized", error)
                }
            case .stop(let seconds): stop(storeSeconds: seconds.map { max(0, $0) })
            case .restart: try restart()
            case .mend: try restart(mending: true)
            case .warm(let order): return .warming(try warmer.start(order, list: passed))
            case .warming(let job): return .warming(try warmer.progress(job))
            case .evict(let selection, let pinnedToo):
                let evicted = try warmer.evict(selection, list: passed, pinnedToo: pinnedToo)
                return .evicted(packs: evicted.packs, bytes: evicted.bytes, pinned: evicted.pinned)
            case .unpin(let selection): return .unpinned(packs: try warmer.unpin(selection, list: passed))
            case .cache: return .cache(warmer.cacheReport())
            case .store(let seconds, let order): return .staged(try store(seconds, order))
            case .statistics: return .statistics(try census.take(attachments()))
            case .reload: try reload()
            case .space(let request):
                defer { touch() }
                return .space(try space.answer(request))
            case .snapshot(let request): return .snapshot(try answer(request))
            case .collect(let dryRun): return .collected(try snapshots.collect(dryRun: dryRun, lines: passed))
            case .importData(let order): return .transferring(try transfers.start(order))
            case .exportData(let order): return .transferring(try transfers.start(order, passed))
            case .transferring(let job): return .transferring(try transfers.progress(job))
            case .copy(let name): try copyMetadata(name)
            }
            return .done
        } catch {
            return .failed(
                code: error.errno?.rawValue ?? 0, message: error.message, status: error.status.rawValue)
        }
    }

    private func store(_ seconds: Double, _ order: CopyOrder?) throws(SystemFailure) -> StagedTotal {
        let deadline = Deadline(after: .seconds(min(max(seconds, 0), Warmer.longestStore)))
        // Asked for first: before its data is stored nothing is copied.
        let change = order.flatMap { copier?.ask($0) }
        return try warmer.store(seconds: seconds) { change.flatMap { copier?.state($0, until: deadline) } }
    }

    private func attach(
        _ attachment: Attachment, _ passed: consuming FileDescriptor?
    ) throws(SystemFailure) -> ServerReply {
        guard let device = passed.take(), attachment.isSound, FUSEDevice.isOne(device.rawValue) else {
            // libfuse believes what it reads there, as if the kernel had written it.
            throw SystemFailure(
                "attach", "came without a descriptor of /dev/fuse, or with numbers that cannot be",
                status: .dataError)
        }
        let served = try make(attachment, device, takingOver: nil)
        let secret = SessionMarker.newSession()
        if attachment.wantsProof == true { served.connection.showOnce(secret) }
        try start(served)
        // From here on a server that follows can take it over.
        legacy.keep(served.connection, attachment)
        logger.info("session started", metadata: metadata(attachment))
        return attachment.wantsProof == true ? .proof(secret) : .done
    }

    /// What a container asks that it must not. What it may end is a mount that Apptainer made for one container.
    private func refuseContainer(_ request: ServerRequest, _ origin: RequestOrigin) throws(SystemFailure) {
        guard !origin.isHost else { return }
        var isAllowed = request.isForContainers || request == .status
        if case .detach(let name) = request {
            isAllowed = monitor.withLock { sessions[name].map { $0.attachment.origin?.runtime == .apptainer } ?? true }
        }
        guard !isAllowed else { return }
        throw SystemFailure(
            "volume \"\(volume)\"", "takes no such request from inside a container or another user namespace",
            fix: "run the command outside", errno: .notPermitted, status: .noPermission)
    }

    /// What a helper of an older version asks for, to see whether its session goes on: names of Apptainer's sessions.
    private func statusForContainers() -> ServerStatus {
        let own = attachments().filter { $0.origin?.runtime == .apptainer }
        return ServerStatus(
            volume: volume, processID: getpid(), version: Release.version,
            sessions: own.map { .init(session: $0.session, mountpoint: "", readOnly: $0.readOnly) },
            readOnlyReason: nil,
            files: 0, bytes: 0)
    }

    private func requireServed(_ session: String) throws(SystemFailure) {
        guard isServed(session) else {
            throw SystemFailure("session \(session)", "is not served", errno: .noEntry, status: .unavailable)
        }
    }

    private func make(
        _ attachment: Attachment, _ device: consuming FileDescriptor, takingOver negotiation: Negotiation?
    ) throws(SystemFailure) -> Served {
        let shown = try attachment.snapshot.map { name throws(SystemFailure) in try snapshots.shown.open(name) }
        do {
            let connection = try Connection(
                device, fileSystem: shown ?? fileSystem, snapshots: shown == nil ? snapshots.directory : nil,
                name: attachment.session, identity: attachment.identity,
                isReadOnly: attachment.readOnly || shown != nil, meter: census.meter.requests, slots: legacy.slots,
                takingOver: negotiation)
            return Served(connection: connection, attachment: attachment)
        } catch {
            if let name = attachment.snapshot { snapshots.shown.release(name) }
            throw SystemFailure(attachment.mountpoint, error.description, status: .systemError)
        }
    }

    private func start(_ served: Served) throws(SystemFailure) {
        let connection = served.connection
        let attachment = served.attachment
        do throws(SystemFailure) {
            try add(served)
        } catch {
            if let name = attachment.snapshot { snapshots.shown.release(name) }
            throw error
        }
        let ready = Latch()
        // Detached on purpose: it ends with its session, and `sessions` says when that is.
        _ = WorkerThread(name: "berth-session") {
            connection.serve(isReady: ready.open)
            ready.open()
            self.ended(attachment)
        }
        guard ready.wait(seconds: Self.readySeconds), isServed(attachment.session) else {
            connection.abort()
            throw SystemFailure(
                attachment.mountpoint, "the kernel did not start the session", fix: "unmount it and mount it again",
                status: .systemError)
        }
    }

    private func add(_ served: Served) throws(SystemFailure) {
        monitor.lock()
        defer { monitor.unlock() }
        guard !isStopping, !isClosedToSessions else {
            throw SystemFailure(
                "volume \"\(volume)\"", isStopping ? "its server is ending" : "is being restored", fix: "try again",
                errno: Errno(EAGAIN),
                status: .temporaryFailure)
        }
        let name = served.attachment.session
        guard sessions[name] == nil, sessions.count < Self.maximumSessions else {
            throw SystemFailure(
                "volume \"\(volume)\"", "has \(sessions.count) sessions, and none can be added",
                fix: "unmount some", errno: .busy, status: .temporaryFailure)
        }
        sessions[name] = served
        hadSession = true
    }

    private func ended(_ attachment: Attachment) {
        if !monitor.withLock({ isRestarting }) { legacy.drop(attachment.session) }
        let goesOn = fileSystem.mayGoOn
        monitor.lock()
        sessions[attachment.session] = nil
        lastActivity = .now
        // The next mount gets one that opens the volume anew.
        if sessions.isEmpty && !goesOn { isStopping = true }
        monitor.signalAll()
        monitor.unlock()
        if let name = attachment.snapshot { snapshots.shown.release(name) }
        logger.info("session ended", metadata: metadata(attachment))
    }

    private func answer(_ request: SnapshotRequest) throws(SystemFailure) -> SnapshotReply {
        guard case .restoreAll = request else {
            return try snapshots.answer(request, sessions: attachments())
        }
        try closeToSessions()
        defer { monitor.withLock { isClosedToSessions = false } }
        return try snapshots.answer(request, sessions: [])
    }

    private func closeToSessions() throws(SystemFailure) {
        monitor.lock()
        defer { monitor.unlock() }
        guard sessions.isEmpty else {
            let places = sessions.values.map(\.attachment.mountpoint).sorted().joined(separator: ", ")
            throw SystemFailure(
                "volume \"\(volume)\"", "is mounted at \(places)", fix: "unmount it first, or restore a path of it",
                errno: .busy, status: .temporaryFailure)
        }
        isClosedToSessions = true
    }

    /// A server that is asked things does not end between two questions.
    private func touch() { monitor.withLock { lastActivity = .now } }

    private func isServed(_ session: String) -> Bool { monitor.withLock { sessions[session] != nil } }

    /// Ends a session and waits until its last request has been answered.
    private func detach(_ session: String) {
        guard let served = monitor.withLock({ sessions[session] }) else { return }
        served.connection.abort()
        monitor.lock()
        while sessions[session] != nil { monitor.wait() }
        monitor.unlock()
    }

    private func attachments() -> [Attachment] { monitor.withLock { sessions.values.map(\.attachment) } }

    private func copyMetadata(_ name: String) throws(SystemFailure) {
        guard name.endsWithBytes(of: ".db"), name != "meta.db", !name.startsWithBytes(of: "."), !name.hasByte("/")
        else {
            throw SystemFailure(name, "is no name for a copy of the metadata", status: .usage)
        }
        let path = "\(paths.directory)/\(name)"
        unlink(path)
        do {
            try fileSystem.copyMetadata(to: path)
        } catch {
            throw SystemFailure(path, "cannot be made", error, fix: "make room", status: .cannotCreate)
        }
    }

    private func status() -> ServerStatus {
        // Also where the metadata cannot be read: the faults say so.
        let usage = try? fileSystem.usage()
        let list = attachments().map {
            ServerStatus.Session(
                session: $0.session, mountpoint: $0.mountpoint, readOnly: $0.readOnly, origin: $0.origin,
                users: $0.identity.users)
        }
        return ServerStatus(
            volume: volume, processID: getpid(), version: Release.version,
            sessions: list.sorted { $0.mountpoint < $1.mountpoint }, readOnlyReason: fileSystem.readOnlyReason,
            faults: fileSystem.faults, files: usage?.files ?? 0, bytes: usage?.bytes ?? 0, keeperID: legacy.keeperID,
            handover: legacy.keeperID.map { _ in Handover.format }, irreplaceable: irreplaceable,
            closedSources: trust.closed, sourcesAtStart: trust.atStart, confinement: confinement)
    }

    private var irreplaceable: String? {
        if let reason = legacy.trouble { return reason }
        let canAll = monitor.withLock { sessions.values.allSatisfy { $0.connection.negotiation != nil } }
        return canAll ? nil : "Linux 6.9 or later is needed to replace it"
    }

    private func metadata(_ attachment: Attachment) -> Logger.Metadata {
        var metadata: Logger.Metadata = [
            "volume": "\(volume)", "mountpoint": "\(attachment.mountpoint)", "session": "\(attachment.session)",
        ]
        if let origin = attachment.origin { metadata["runtime"] = "\(origin.runtime.rawValue)" }
        if let job = attachment.origin?.job { metadata["job"] = "\(job)" }
        return metadata
    }
}

/// A door that opens once.
// SAFETY: `isOpen` is guarded by `monitor`.
final class Latch: @unchecked Sendable {
    private let monitor = Monitor()
    private var isOpen = false

    @Sendable func open() {
        monitor.lock()
        isOpen = true
        monitor.signalAll()
        monitor.unlock()
    }

    /// False when time ran out.
    func wait(seconds: Double) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        while !isOpen {
            if !monitor.wait(seconds: seconds) { break }
        }
        return isOpen
    }
}
