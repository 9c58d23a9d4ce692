import FileModel
import Glibc
import LinuxSystem
import Synchronization

/// Takes clients of a unix socket: each gets a thread, and only the process's own user is answered.
///
/// Invariants
/// - `socket` is touched by the listener's own thread only, once `start` was called.
/// - Where the socket's file is taken away (a logout empties the runtime directory), a new one is made as soon as
///   its place exists again.
// SAFETY: `socket` is used by the listener's thread only; `isOpen` is atomic.
public final class RequestListener<Request: Decodable & Sendable, Reply: Encodable & Sendable>: @unchecked Sendable {
    public typealias Conversation = RequestConversation<Request, Reply>

    /// Clients at once. More wait in the socket's backlog.
    private static var maximumClients: Int { 32 }
    /// How often the socket's file is looked for.
    private static var watchInterval: Duration { .seconds(1) }

    private var socket: FileDescriptor
    private let path: String
    /// The file that is ours: one that another process made in its place is not taken away.
    private let file: Mutex<FileMark?>
    private let conversation: Conversation
    private let note: Conversation.Note
    private let renew: @Sendable (_ path: String) -> FileDescriptor?
    private let clients = Atomic<Int>(0)
    private let isOpen = Atomic<Bool>(true)

    /// `renew` makes the socket that takes the place of one whose file was removed; nil where it cannot now. `host`: what
    /// clients show who are in no container.
    public init(
        _ socket: consuming FileDescriptor, path: String, host: HostView?, note: @escaping Conversation.Note,
        renew: @escaping @Sendable (_ path: String) -> FileDescriptor? = { try? UnixSocket.listenAgain(at: $0) },
        answer: @escaping Conversation.Answer
    ) {
        self.renew = renew
        self.socket = socket
        self.path = path
        file = Mutex(FileMark(path))
        self.note = note
        conversation = Conversation(host: host, note: note, answer: answer)
    }

    /// Whether somebody is connected.
    public var hasClients: Bool { clients.load(ordering: .relaxed) > 0 }

    /// Serves until the process ends.
    public func start() {
        _ = WorkerThread(name: "berth-control") {
            while true { self.takeOne() }
        }
    }

    /// No client finds the socket from now on.
    public func close() {
        isOpen.store(false, ordering: .relaxed)
        if let own = file.withLock({ $0 }), FileMark(path) == own { unlink(path) }
    }

    private func takeOne() {
        guard clients.load(ordering: .relaxed) < Self.maximumClients else {
            usleep(10_000)
            return
        }
        let client: FileDescriptor
        do {
            guard let accepted = try UnixSocket.accept(on: socket, timeout: Self.watchInterval) else {
                return restoreFile()
            }
            client = accepted
        } catch {
            usleep(10_000)
            return
        }
        let channel = FrameChannel(client, name: "client")
        guard let peer = try? channel.peer(), peer.isOurs else {
            return note("a stranger was turned away", "another user")
        }
        clients.add(1, ordering: .relaxed)
        _ = WorkerThread(name: "berth-client") {
            self.conversation.hold(channel)
            self.clients.subtract(1, ordering: .relaxed)
        }
    }

    private func restoreFile() {
        guard isOpen.load(ordering: .relaxed), FileMark(path) == nil, let fresh = renew(path) else { return }
        socket = fresh
        file.withLock { $0 = FileMark(path) }
        note("the socket's file was gone and is made again", path)
    }
}

/// Which file a path names, without following a link.
public struct FileMark: Equatable, Sendable {
    private let device: UInt64
    private let inode: UInt64

    /// Nil where there is none.
    public init?(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        self.init(status)
    }

    /// As above, of what links lead to.
    public init?(followingLinks path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        self.init(status)
    }

    private init(_ status: stat) {
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }
}
