import FileModel
import LinuxSystem
import Metadata
import Synchronization

/// `.snapshots` in the root of a volume: each snapshot under its name, read-only, in the volume's own mount.
///
/// Invariants
/// - A snapshot's number stands for it alone, and is never given to another: what a kernel remembers of one that is removed
///   is ESTALE, and not another's files.
/// - A snapshot in `views` is open; it is given back once, when it was not used for a while or is withdrawn.
/// - `openLock` is held while one is opened, and taken before `monitor`; no other lock is taken below `monitor`.
// SAFETY: every mutable member is guarded by `monitor`; `isShown` is atomic.
public final class SnapshotDirectory: @unchecked Sendable {
    public static let name = FileName(trusted: Array(".snapshots".utf8))

    /// Each has three files open. From this many on those go first that nobody used for a moment.
    private static let openLimit = 32
    private static let shortIdle = Duration.seconds(5)

    private struct View {
        var name: String
        var fileSystem: FileSystem
        var lastUse: ContinuousClock.Instant
    }

    private let volume: FileSystem
    private let open: @Sendable (String) throws(Errno) -> FileSystem
    private let close: @Sendable (String) -> Void
    private let isShown: Atomic<Bool>
    private let openLock = Monitor()
    private let monitor = Monitor()
    private var views: [UInt64: View] = [:]
    private var withdrawn: Set<String> = []
    /// When one was removed last: kernels keep a listing as long as the directory's time stays.
    private var lastRemoval = Timestamp(nanoseconds: 0)

    /// `open` answers the file system of a snapshot, which `close` gives back.
    public init(
        of volume: FileSystem, isShown: Bool, open: @escaping @Sendable (String) throws(Errno) -> FileSystem,
        close: @escaping @Sendable (String) -> Void
    ) {
        self.volume = volume
        self.isShown = Atomic(isShown)
        self.open = open
        self.close = close
    }

    /// Whether it can be found.
    public func show(_ isShown: Bool) { self.isShown.store(isShown, ordering: .relaxed) }

    // MARK: The directory

    private func snapshots() throws(Errno) -> [Hold] { try volume.holds().filter { $0.kind == .snapshot } }

    /// The directory itself. Answers ENOENT where the volume has no snapshot, or does not show them.
    public func attributes() throws(Errno) -> Inode {
        let snapshots = try snapshots()
        guard isShown.load(ordering: .relaxed), let last = snapshots.last else { throw .noEntry }
        return Self.inode(
            SnapshotNode.directory, like: try volume.attributes(of: .root),
            links: 2 + UInt32(clamping: snapshots.count), max(last.created, monitor.withLock { lastRemoval }))
    }

    private static func inode(_ node: SnapshotNode, like root: Inode, links: UInt32, _ time: Timestamp) -> Inode {
        Inode(
            id: node.number, kind: .directory, permissions: root.permissions & 0o555, userID: root.userID,
            groupID: root.groupID, linkCount: links, time: time, parent: .root)
    }

    /// The root of a snapshot. Answers ENOENT where there is none of that name.
    public func lookup(_ name: FileName) throws(Errno) -> Inode {
        let text = String(decoding: name.bytes, as: UTF8.self)
        guard isShown.load(ordering: .relaxed), let hold = try snapshots().first(where: { $0.name == text }),
            Array(text.utf8) == name.bytes
        else { throw .noEntry }
        let node = try SnapshotNode.root(of: hold)
        var inode = try view(of: node.ordinal).attributes(of: .root)
        inode.id = node.number
        return inode
    }

    /// Hands over entries as `FileSystem.list` does; none is opened for it, so that of a snapshot only number and kind
    /// are right. The offset is the number of entries before.
    public func list(from offset: UInt64, take: (ListedEntry) -> Bool) throws(Errno) {
        let own = try attributes()
        let root = try volume.attributes(of: .root)
        var entries: [(name: [UInt8], inode: Inode)] = [([0x2E], own), ([0x2E, 0x2E], root)]
        for hold in try snapshots() {
            let node = try SnapshotNode.root(of: hold)
            entries.append((Array(hold.name.utf8), Self.inode(node, like: root, links: 2, hold.created)))
        }
        for (index, entry) in entries.enumerated().dropFirst(Int(clamping: offset)) {
            guard take(ListedEntry(name: entry.name, inode: entry.inode, nextOffset: UInt64(index) + 1)) else { return }
        }
    }

    // MARK: Snapshots that are being read

    /// The file system of a snapshot. Answers ESTALE for one that is gone.
    public func view(of ordinal: UInt64) throws(Errno) -> FileSystem {
        if let open = opened(ordinal) { return open }
        return try openLock.withLock { () throws(Errno) in
            if let open = opened(ordinal) { return open }
            guard let name = try snapshots().first(where: { UInt64(exactly: $0.id) == ordinal })?.name,
                monitor.withLock({ !withdrawn.contains(name) })
            else { throw .stale }
            if monitor.withLock({ views.count >= Self.openLimit }) { closeIdle(after: Self.shortIdle) }
            let fileSystem = try open(name)
            monitor.withLock {
                views[ordinal] = View(name: name, fileSystem: fileSystem, lastUse: .now)
            }
            return fileSystem
        }
    }

    private func opened(_ ordinal: UInt64) -> FileSystem? {
        monitor.withLock {
            views[ordinal]?.lastUse = .now
            return views[ordinal]?.fileSystem
        }
    }

    /// Gives back what was not used for so long.
    public func closeIdle(after age: Duration) {
        closeAll { $0.lastUse.duration(to: .now) > age }
    }

    /// Runs what removes a snapshot, which nobody can read here any more.
    public func withdrawing<Result, Failure: Error>(
        _ name: String, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        // Under the lock: whoever is opening it is done, and finds it withdrawn the next time.
        openLock.withLock { _ = monitor.withLock { withdrawn.insert(name) } }
        closeAll { $0.name == name }
        defer {
            let now = volume.configuration.now()
            monitor.withLock {
                withdrawn.remove(name)
                lastRemoval = now
            }
            announce(name)
        }
        return try body()
    }

    /// Tells kernels that a snapshot was made, or is gone.
    public func announce(_ name: String) {
        let own = SnapshotNode.directory.number
        volume.announceToAll([
            .entry(parent: own, name: FileName(trusted: Array(name.utf8))), .listing(own),
            .entry(parent: .root, name: Self.name),
        ])
    }

    private func closeAll(_ isOver: (View) -> Bool) {
        let closed = monitor.withLock {
            let closed = views.filter { isOver($0.value) }
            for ordinal in closed.keys { views[ordinal] = nil }
            return closed.values.map(\.name)
        }
        for name in closed { close(name) }
    }
}
