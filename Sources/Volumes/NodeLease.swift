import CLinux
import FileModel
import Glibc
import LinuxSystem
import Synchronization

/// A node's claim to a volume, beside the lock of its file: some mounts of NFS and Lustre keep locks to each node, and two
/// nodes hold the same one then (decision 0077).
///
/// The holder writes a growing number into the file now and then. Whoever gets the lock while the file names another
/// machine, or an earlier boot, watches whether that number still grows. A holder that finds somebody else in the file
/// has lost the volume, and must not write to it any more.
///
/// Invariants
/// - No clock of one machine is compared with another's: a node measures by its own steady clock.
/// - The file is written only by who holds its lock on this node, in place and at once.
/// - The thread runs from `claim` or `resume` until `end`.
// SAFETY: `state` is guarded by its mutex, `isStopping` by `monitor`; `thread` is touched by the owner's thread alone.
public final class NodeLease: @unchecked Sendable {
    /// How often a holder shows that it lives. Twice as long as a network file system may keep what it read.
    public static let beatInterval = Duration.seconds(10)
    /// A holder is gone that has not shown itself for so many intervals.
    static let missedBeats = 3
    /// How long a holder that is ending may take, as with the lock itself.
    static let closingPatience = Duration.seconds(45)

    private struct State {
        var note: LockNote
        /// The last time that the file was seen to be ours.
        var proved: ContinuousClock.Instant
        var isEnded = false
        var loss: String?
    }

    private let path: String
    private let descriptor: Int32
    private let volume: String
    private let node: NodeIdentity
    private let interval: Duration
    /// Another node may hold the same file.
    private let isShared: Bool
    private let report: @Sendable (String) -> Void
    private let state: Mutex<State>
    private let monitor = Monitor()
    private var isStopping = false
    private var thread: WorkerThread?
    private let whenLost = Mutex<(@Sendable (String) -> Void)?>(nil)

    /// `descriptor` is of the file at `path`, locked by this process, and stays open as long as this. `report` takes what a
    /// user who waits must know.
    public init(
        _ path: String, _ descriptor: Int32, volume: String, socket: String?, node: NodeIdentity = .current(),
        interval: Duration = NodeLease.beatInterval, isShared: Bool? = nil,
        report: @escaping @Sendable (String) -> Void
    ) {
        self.path = path
        self.descriptor = descriptor
        self.volume = volume
        self.node = node
        self.interval = interval
        self.isShared = isShared ?? !SharedFileSystems.isLocal(descriptor)
        self.report = report
        let process = ProcessIdentity(of: getpid())
        let note = LockNote(
            state: .serving, processID: getpid(), startedAt: process?.startedAt, socket: socket, node: node,
            // Grows over all boots of a machine, or nearly: it only has to differ.
            beat: UInt64.random(in: 0..<(1 << 40)))
        state = Mutex(State(note: note, proved: .now))
    }

    // MARK: Taking

    /// Takes the volume, whose lock this process has just got. Waits until a holder on another machine, or of an earlier
    /// boot, has missed its beats; throws `busy` where that one lives.
    public func claim() throws(SystemFailure) {
        let found = LockNote(at: path)
        let mustWatch = found.map { mayLive($0) } ?? false
        if mustWatch, let found { try outwait(found) }
        write()
        if mustWatch {
            // Another node may have waited for the same holder: who wrote last has it.
            rest(interval / 10)
            if let other = rival() { throw refusal(other) }
        }
        start()
    }

    /// Goes on with the volume of a server that this one replaces, whose lock was held all the time. Throws `busy` where
    /// another node has taken it meanwhile.
    public func resume() throws(SystemFailure) {
        if let found = LockNote(at: path), found.isForeign(to: node) { throw refusal(found) }
        write()
        start()
    }

    private func mayLive(_ note: LockNote) -> Bool {
        guard note.state != .closed, note.isForeign(to: node) else { return false }
        // This machine before it was started anew: nobody else can have had a local disk.
        return isShared || note.node?.host != node.host
    }

    /// Refuses what must not be done to a volume that another machine may be serving. `path`: its lock's file.
    static func refuseElsewhere(_ path: String, volume: String, node: NodeIdentity = .current()) throws(SystemFailure) {
        guard let note = LockNote(at: path), note.state != .closed, note.isForeign(to: node) else { return }
        guard SharedFileSystems.mayHold(path) || note.node?.host != node.host else { return }
        throw SystemFailure(
            "volume \"\(volume)\"", "was last served on \(host(note)) and not closed there",
            fix:
                "end it there (`berth stop --all`); if that machine is gone, run `berth sync \(volume)` here, and try again",
            errno: .busy, status: .temporaryFailure)
    }

    private func outwait(_ first: LockNote) throws(SystemFailure) {
        let patience = interval * Self.missedBeats
        report(
            "volume \"\(volume)\" was last served on \(Self.host(first)) and not closed there: waiting "
                + "\(patience.components.seconds) s to see whether that server is gone")
        var last = first
        var quietSince = ContinuousClock.now
        let deadline = Deadline(after: Self.closingPatience)
        while ContinuousClock.now - quietSince < patience {
            rest(interval / 10)
            // Between two of its lines, or away for a moment: the next look tells.
            guard let note = LockNote(at: path), note != last else { continue }
            guard mayLive(note) else { return }
            guard note.state == .closing, !deadline.hasPassed else { throw refusal(note) }
            last = note
            quietSince = .now
        }
    }

    private func refusal(_ note: LockNote) -> SystemFailure {
        SystemFailure(
            "volume \"\(volume)\"",
            "is in use on \(Self.host(note)) (process \(note.processID)), which the lock of \(path) does not tell here",
            fix:
                "end it there (`berth stop --all`), or wait \((interval * Self.missedBeats).components.seconds) s if that "
                + "machine is down; `berth doctor` says how to mount with locks that all nodes see",
            errno: .busy, status: .temporaryFailure)
    }

    private static func host(_ note: LockNote) -> String {
        let name = note.node?.host ?? ""
        return name.isEmpty ? "another machine" : "host \(name)"
    }

    private func rest(_ duration: Duration) {
        let parts = duration.components
        usleep(UInt32(clamping: parts.seconds * 1_000_000 + parts.attoseconds / 1_000_000_000_000))
    }

    // MARK: Holding

    /// Calls `body` once, from another thread, when somebody else has the volume.
    public func whenLost(_ body: @escaping @Sendable (String) -> Void) {
        whenLost.withLock { $0 = body }
        if let loss = state.withLock({ $0.loss }) { body(loss) }
    }

    /// The volume is being closed: who comes next may wait for it.
    public func noteClosing() {
        state.withLock { $0.note.state = .closing }
        write()
    }

    /// Why the volume is not ours any more; nil while it is. Costs a look at the clock, and at the file where the last
    /// beat is overdue: this machine, or the process, stood still, and another node may have taken the volume.
    public func loss() -> String? {
        let (loss, proved) = state.withLock { ($0.loss, $0.proved) }
        if loss != nil || ContinuousClock.now - proved < interval * 2 { return loss }
        return prove()
    }

    /// Looks whether the file is ours still.
    @discardableResult
    private func prove() -> String? {
        guard rival() != nil else {
            state.withLock { $0.proved = .now }
            return nil
        }
        // Of a program that first empties the file and then fills it, the second look has the whole note.
        rest(.milliseconds(50))
        guard let other = rival() else { return nil }
        let words =
            "\(Self.host(other)) (process \(other.processID)) has taken the volume: the lock of \(path) is not seen by all "
            + "nodes, or this machine stood still; nothing more is written here"
        let isNew = state.withLock { state in
            defer { state.loss = words }
            return state.loss == nil
        }
        if isNew { whenLost.withLock { $0 }?(words) }
        return words
    }

    /// Somebody else who says in the file that the volume is theirs.
    private func rival() -> LockNote? {
        guard let note = LockNote(at: path) else { return nil }
        let own = state.withLock { $0.note }
        let isOurs =
            note.node?.boot == own.node?.boot && note.processID == own.processID
            && note.startedAt == own.startedAt
        return isOurs ? nil : note
    }

    private func start() {
        thread = WorkerThread(name: "berth-lease") {
            // Two nodes that began at one moment find each other early.
            var pause = self.interval / 10
            while self.waitForBeat(pause) {
                pause = self.interval
                if self.prove() != nil { return }
                self.write()
            }
        }
    }

    /// False at the end.
    private func waitForBeat(_ pause: Duration) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        let deadline = Deadline(after: pause)
        while !isStopping && monitor.wait(until: deadline) {}
        return !isStopping
    }

    /// A write that fails is no fault of the volume: whether it is ours, reading tells.
    private func write() {
        let bytes = state.withLock { state -> [UInt8] in
            if state.loss != nil { return [] }
            state.note.beat += 1
            return state.note.encoded
        }
        guard !bytes.isEmpty, pwrite(descriptor, bytes, bytes.count, 0) == bytes.count else { return }
        _ = ftruncate(descriptor, off_t(bytes.count))
        // Other nodes see what the server of a network file system has.
        if isShared { fdatasync(descriptor) }
    }

    // MARK: The end

    /// Ends the claim. `isClosed`: nobody goes on with the volume here, and the next node need not wait.
    public func end(isClosed: Bool) {
        let isFirst = state.withLock { state in
            defer { state.isEnded = true }
            return !state.isEnded
        }
        guard isFirst else { return }
        monitor.lock()
        isStopping = true
        monitor.signalAll()
        monitor.unlock()
        thread?.join()
        thread = nil
        guard isClosed, rival() == nil else { return }
        state.withLock { $0.note.state = .closed }
        write()
    }
}

/// File systems that one machine has for itself, by the number of statfs(2) (`linux/magic.h`).
enum SharedFileSystems {
    private static let local: Set<UInt64> = [
        0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0xF2F5_2010, 0x2FC1_2FC1,  // ext, XFS, Btrfs, tmpfs, F2FS, ZFS
    ]

    /// Whether other machines may see what a path names; so is what cannot be opened.
    static func mayHold(_ path: String) -> Bool {
        guard let descriptor = try? FileDescriptor.open(path, O_RDONLY) else { return true }
        return !isLocal(descriptor.rawValue)
    }

    static func isLocal(_ descriptor: Int32) -> Bool {
        local.contains(UInt64(truncatingIfNeeded: berth_file_system_type(descriptor)) & 0xFFFF_FFFF)
    }
}
