import FileModel
import LinuxSystem

/// Something the kernel of another session may have cached and that has changed.
public enum Invalidation: Sendable, Equatable {
    /// A name appeared, went, or stands for something else.
    case entry(parent: InodeID, name: FileName)
    /// Attributes changed.
    case attributes(InodeID)
    /// Names in a directory changed, and with them its attributes.
    case listing(InodeID)
    /// File data changed, and with it attributes.
    case data(InodeID)
    /// Any name may stand for something else.
    case names
}

/// One mounted FUSE connection: its ids, its rights, and what its kernel holds.
// SAFETY: `lookups` and `secret` are guarded by `monitor`; `willWait` is set before any request; the rest is constant.
public final class Session: @unchecked Sendable {
    public let name: String
    public let identity: Identity
    public let isReadOnly: Bool
    /// Another process served it before, and what its kernel held then is not known: it may be any inode.
    public let isTakenOver: Bool
    /// Takes what other sessions changed, called by their requests. It calls its second argument before it waits.
    let invalidate: @Sendable ([Invalidation], () -> Void) -> Void
    private let monitor = Monitor()
    private var lookups = LookupTable()
    private var secret: String?
    /// Called by a thread that answers a request and is about to wait for a store or a disk.
    public private(set) var willWait: @Sendable () -> Void = {}

    public init(
        name: String, identity: Identity, isReadOnly: Bool, isTakenOver: Bool = false,
        invalidate: @escaping @Sendable ([Invalidation], () -> Void) -> Void
    ) {
        self.name = name
        self.identity = identity
        self.isReadOnly = isReadOnly
        self.isTakenOver = isTakenOver
        self.invalidate = invalidate
    }

    /// Sets what a request does before it waits for something slow. Call it before the first request.
    public func whenWaiting(_ body: @escaping @Sendable () -> Void) { willWait = body }

    /// What the session's root shows the first one who asks, to prove that the mount is this session's.
    public func showOnce(_ secret: String) { monitor.withLock { self.secret = secret } }

    func takeSecret() -> String? { monitor.withLock { secret.take() } }

    /// The kernel is about to be told of `id`.
    public func retain(_ id: InodeID) {
        monitor.lock()
        lookups.add(id)
        monitor.unlock()
    }

    /// The kernel forgot `count` lookups. True when it holds the inode no more.
    func release(_ id: InodeID, count: UInt64) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        return lookups.remove(id, count: count)
    }

    /// Whether the kernel can have cached anything of it: what is in a directory that it does not know, it does not know.
    func isConcerned(by change: Invalidation) -> Bool {
        switch change {
        case .entry(let parent, _), .listing(let parent): SnapshotNode.isOne(parent) || holds(parent)
        default: true
        }
    }

    /// As `FileSystem.forget`, of an inode of a snapshot: nothing ends with its last lookup.
    public func forget(_ id: InodeID, count: UInt64) { _ = release(id, count: count) }

    /// Whether the kernel may hold an inode. `hasForgotten`: it has just forgotten all lookups of it that are known,
    /// and no other session changes names. A kernel forgets an inode's lookups together, so that those of before a
    /// takeover are forgotten, too; where names change under it, it may forget a single one.
    func holds(_ id: InodeID, hasForgotten: Bool = false) -> Bool {
        if isTakenOver && !hasForgotten { return true }
        monitor.lock()
        defer { monitor.unlock() }
        return lookups.holds(id)
    }
}

/// Who asks, in volume ids.
public struct Caller: Sendable {
    public let session: Session
    public let userID: UInt32
    public let groupID: UInt32
    /// Superuser of the session's namespace: keeps set-id bits on write and truncate (CAP_FSETID).
    public let isSuperuser: Bool
    /// Bits a new file's mode loses, unless a default ACL decides.
    public let umask: UInt32
    /// The thread's number, as the namespace of processes has it that the session was mounted in; 0 where it has none.
    public let thread: Int32

    public init(
        session: Session, userID: UInt32, groupID: UInt32, isSuperuser: Bool, umask: UInt32, thread: Int32 = 0
    ) {
        self.thread = thread
        self.session = session
        self.userID = userID
        self.groupID = groupID
        self.isSuperuser = isSuperuser
        self.umask = umask
    }
}
