import CFUSE
import CLinux
import FileModel
import Glibc
import LinuxSystem
import Metrics
import Synchronization
import VFS

/// One `/dev/fuse` descriptor being served: libfuse's session, the volume's session, and the threads of both.
///
/// Invariants
/// - `handle` lives as long as this object; it is used by the loop's threads and the invalidation thread.
/// - `fileSystem.detach` follows the end of the loop, so no request meets a detached session.
// SAFETY: `handle`, `loop` and `session` are set before any thread starts, and never again.
public final class Connection: Endpoint, @unchecked Sendable {
    /// The kernel's readahead and background writes in flight.
    private static let backgroundRequests: UInt32 = 64
    static let maximumTransfer: UInt32 = 1 << 20

    let fileSystem: FileSystem
    let session: Session
    /// `.snapshots`; nil where a snapshot is what is mounted.
    let snapshots: SnapshotDirectory?
    /// What reads snapshots through it: with the session's ids, and nothing is changed.
    let browsing: Session
    let queue = InvalidationQueue()
    let listings = ListingFence()
    private var handle: OpaquePointer?
    private var loop: RequestLoop?
    let slots: RequestSlots?
    private let isSuspended = Atomic<Bool>(false)
    /// The descriptor's number; it is libfuse's.
    public private(set) var device: Int32 = -1

    /// Prepares to serve a mounted descriptor. Nothing is answered before `serve`. `takingOver`: what an earlier server
    /// of this session agreed on with the kernel.
    public init(
        _ device: consuming FileDescriptor, fileSystem: FileSystem, snapshots: SnapshotDirectory?, name: String,
        identity: Identity, isReadOnly: Bool, meter: RequestMeter, slots: RequestSlots? = nil,
        takingOver negotiation: Negotiation? = nil
    ) throws(ConnectionFailure) {
        self.fileSystem = fileSystem
        self.snapshots = snapshots
        self.slots = slots
        let queue = self.queue
        session = Session(
            name: name, identity: identity, isReadOnly: isReadOnly, isTakenOver: negotiation != nil
        ) { queue.add($0, beforeWaiting: $1) }
        browsing = Session(name: "snapshot", identity: identity, isReadOnly: true, invalidate: { _, _ in })
        super.init()
        var operations = Self.operations()
        handle = try Self.makeHandle(&operations, Unmanaged.passUnretained(self).toOpaque())
        var io = RequestHook.functions
        // From here on libfuse owns the descriptor's number and closes it with the session.
        let number = device.take()
        self.device = number
        guard let handle, fuse_session_custom_io(handle, &io, number) == 0 else {
            close(number)
            throw ConnectionFailure(step: "custom_io", errno: .current)
        }
        let loop: RequestLoop
        do throws(Errno) {
            loop = try RequestLoop(
                handle, device: number, meter: meter, slots: slots, session: Self.number(ofSession: name))
        } catch {
            throw ConnectionFailure(step: "eventfd", errno: error)
        }
        self.loop = loop
        if let negotiation, !hook.replay(negotiation, to: handle) {
            throw ConnectionFailure(step: "the kernel and an earlier server agreed otherwise", errno: Errno(EPROTO))
        }
        session.whenWaiting { [unowned loop] in loop.passOn() }
        browsing.whenWaiting { [unowned loop] in loop.passOn() }
    }

    deinit {
        if let handle { fuse_session_destroy(handle) }
    }

    /// What the session's root shows once, as proof that its mount is this connection's.
    public func showOnce(_ secret: String) { session.showOnce(secret) }

    /// The part of a session's random name that tells its requests from others'.
    private static func number(ofSession name: String) -> UInt64 { UInt64(name.prefix(16), radix: 16) ?? 0 }

    /// Serves until the file system is unmounted or the connection is aborted. Blocks. `isReady` is called once,
    /// when the kernel's INIT has been answered: from then on the mount is alive.
    public func serve(isReady: @escaping @Sendable () -> Void) {
        hook.whenReady(isReady)
        fileSystem.attach(session)
        if session.isTakenOver {
            // Before the first is received: it would be asked again while it is answered.
            notify(Self.resend)
            isReady()
        }
        // `serve` keeps the object alive, and joins the thread before it returns.
        let pump = WorkerThread(name: "berth-inval") { [unowned self] in
            self.invalidate()
            // Not before: a notice may wait for a lock of the kernel that only the answer to a request releases.
            self.loop?.stop()
        }
        if !pump.isRunning { loop?.stop() }
        loop?.run()
        queue.close()
        pump.join()
        if !isSuspended.load(ordering: .acquiring) { fileSystem.detach(session) }
    }

    /// What a later server must know to take the session over; nil where the kernel cannot do its part.
    public var negotiation: Negotiation? { hook.canResend ? hook.negotiation : nil }

    /// Ends `serve` once the requests under way are answered, while the session goes on: another process that has the
    /// descriptor takes it over.
    public func suspend() {
        isSuspended.store(true, ordering: .releasing)
        queue.close()
    }

    /// What this session's kernel cached may be older than what another session did, or than what was lost. Call it
    /// before `serve`.
    public func distrust(_ inodes: Set<InodeID>) {
        notify(Self.newEpoch)
        queue.add(inodes.map { .data($0) }, beforeWaiting: {})
    }

    // FUSE_NOTIFY_RESEND (7.40) and FUSE_NOTIFY_INC_EPOCH (7.44) of `linux/fuse.h`. A kernel without them answers EINVAL.
    private static let resend: Int32 = 7
    private static let newEpoch: Int32 = 8

    private func notify(_ code: Int32) {
        var header = fuse_out_header()
        header.len = UInt32(MemoryLayout<fuse_out_header>.size)
        header.error = code
        _ = Glibc.write(device, &header, MemoryLayout<fuse_out_header>.size)
    }

    /// Ends service: the kernel answers ENOTCONN from then on. Safe from any thread.
    public func abort() {
        queue.close()
    }

    /// The thread that tells this session's kernel what others changed: outside every lock, and never awaited by
    /// a request, because two sessions in one directory would wait for each other.
    private func invalidate() {
        while let changes = queue.nextBatch() {
            // Of a directory it is enough to be told once, after the names in it.
            var directories: Set<InodeID> = []
            for change in changes where !queue.hasClosed {
                if case .listing(let id) = change { directories.insert(id) } else { tell(change) }
            }
            guard !directories.isEmpty else { continue }
            listings.passEarlier()
            for id in directories where !queue.hasClosed { tell(.listing(id)) }
        }
    }

    private func tell(_ change: Invalidation) {
        switch change {
        case .entry(let parent, let name):
            // libfuse sends the byte after the name, too.
            (name.bytes + [0]).withUnsafeBytes {
                _ = fuse_lowlevel_notify_inval_entry(
                    handle, parent.rawValue, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count - 1)
            }
        case .attributes(let id):
            fuse_lowlevel_notify_inval_inode(handle, id.rawValue, -1, 0)
        // The pages of a directory are its listing.
        case .data(let id), .listing(let id):
            fuse_lowlevel_notify_inval_inode(handle, id.rawValue, 0, 0)
        case .names: notify(Self.newEpoch)
        }
    }

    private static func makeHandle(
        _ operations: inout fuse_lowlevel_ops, _ userdata: UnsafeMutableRawPointer
    ) throws(ConnectionFailure) -> OpaquePointer {
        // One argument, the program's name: everything is set in `init` and on the mount itself.
        guard let name = strdup("berthfs") else { throw ConnectionFailure(step: "strdup", errno: .current) }
        defer { free(name) }
        var arguments: [UnsafeMutablePointer<CChar>?] = [name, nil]
        let handle = arguments.withUnsafeMutableBufferPointer { list in
            var vector = fuse_args(argc: 1, argv: list.baseAddress, allocated: 0)
            return fuse_session_new(&vector, &operations, MemoryLayout<fuse_lowlevel_ops>.size, userdata)
        }
        guard let handle else { throw ConnectionFailure(step: "session_new", errno: .current) }
        return handle
    }

    /// Chooses what the kernel and we agree on.
    func negotiate(_ connection: UnsafeMutablePointer<fuse_conn_info>) {
        // POSIX locks and flock stay in the kernel: every container of a node shares one session, so they meet
        // there, and a lock costs no round trip. ATOMIC_O_TRUNC is off because open is never sent. ASYNC_DIO is off because
        // the kernel drops no pages after an asynchronous write past them: who read meanwhile would read what was there
        // before for ever (decision 0008). A session that an older program began goes on as it was agreed.
        let wanted =
            FUSE_CAP_ASYNC_READ | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_DONT_MASK | FUSE_CAP_READDIRPLUS
            | FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL
            | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPENDIR_SUPPORT
            | (hook.hasAsynchronousDirect ? FUSE_CAP_ASYNC_DIO : 0)
        connection.pointee.want = connection.pointee.capable & UInt32(wanted)
        connection.pointee.max_write = Self.maximumTransfer
        connection.pointee.max_background = Self.backgroundRequests
        connection.pointee.congestion_threshold = Self.backgroundRequests * 3 / 4
        // Timestamps have nanoseconds.
        connection.pointee.time_gran = 1
    }
}

/// Why a descriptor cannot be served.
public struct ConnectionFailure: Error, CustomStringConvertible, Sendable {
    public let step: String
    public let errno: Errno

    public var description: String { "the FUSE descriptor cannot be served: \(step): \(errno)" }
}
