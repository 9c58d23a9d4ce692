import CLinux
import FileModel
import Glibc

/// Who is at the other end of a unix socket, as the kernel saw it when they connected.
public struct PeerCredentials: Equatable, Sendable {
    public var processID: Int32
    public var userID: UInt32
    public var groupID: UInt32

    public init(processID: Int32, userID: UInt32, groupID: UInt32) {
        self.processID = processID
        self.userID = userID
        self.groupID = groupID
    }

    /// What a user namespace shows of every id that it does not map (`/proc/sys/kernel/overflowuid`).
    private static let overflowID: UInt32 = 65534

    /// Whether it is a process of this one's user. Nobody is where this user has no id here: all strangers look like it.
    public var isOurs: Bool {
        userID == geteuid()
            && (userID != Self.overflowID || NamespaceIDs(of: "self")?.outside(Self.overflowID) != nil)
    }
}

/// Stream sockets in the file system.
public enum UnixSocket {
    /// Bytes of the path in an address: the kernel's holds 108 with the final NUL. Longer paths of ours are reached through
    /// their directory; programs that know nothing of it, such as podman, have no way to them.
    public static let maximumAddressLength = 107
    /// Bytes of a socket's name in its directory: what `/proc/self/fd/2147483647/` leaves of an address.
    public static let maximumNameLength = maximumAddressLength - 25
    /// Clients that may wait to be accepted.
    public static let backlog: Int32 = 64

    /// Listens at `path`, for this user only: its directory is made (or checked to be) 0700 and ours, the
    /// socket is 0600. A socket left by a dead process is replaced; one that somebody answers is not.
    public static func listen(at path: String) throws(SystemFailure) -> FileDescriptor {
        try checkPath(path)
        guard let slash = path.lastSlash, slash != path.startIndex else {
            throw SystemFailure(path, "a socket needs an absolute path in a directory of ours", status: .usage)
        }
        try SecureDirectory.make(String(path[..<slash]))
        let descriptor = try make(path)
        let address = try SocketAddress(path)
        if berth_bind_unix(descriptor.rawValue, address.text) != 0 {
            guard errno == EADDRINUSE else { throw SystemFailure(path, "cannot be bound", .current) }
            try removeStale(path)
            guard berth_bind_unix(descriptor.rawValue, address.text) == 0 else {
                throw SystemFailure(path, "cannot be bound", .current)
            }
        }
        // Nobody else can reach it in between: the directory is 0700.
        guard chmod(path, 0o600) == 0, Glibc.listen(descriptor.rawValue, backlog) == 0 else {
            throw SystemFailure(path, "cannot be listened on", .current)
        }
        return descriptor
    }

    /// Listens at a path that was ours and whose file somebody removed. Asks nobody: a file that is there stays.
    public static func listenAgain(at path: String) throws(SystemFailure) -> FileDescriptor {
        try SecureDirectory.make(String(path[..<(path.lastSlash ?? path.startIndex)]))
        let descriptor = try make(path)
        let address = try SocketAddress(path)
        // Its directory is ours alone; the mode is that of the process's umask.
        guard berth_bind_unix(descriptor.rawValue, address.text) == 0, Glibc.listen(descriptor.rawValue, backlog) == 0
        else {
            throw SystemFailure(path, "cannot be listened on", .current)
        }
        return descriptor
    }

    /// The next connection, or nil when `timeout` passed without one.
    public static func accept(
        on listener: borrowing FileDescriptor, timeout: Duration? = nil
    ) throws(Errno) -> FileDescriptor? {
        let deadline = Deadline(after: timeout)
        while true {
            if timeout != nil, try !listener.waitReadable(until: deadline) { return nil }
            let number = berth_accept(listener.rawValue)
            if number >= 0 { return FileDescriptor(owning: number) }
            // The connection may be gone again before it is accepted.
            guard errno == EINTR || errno == ECONNABORTED || errno == EAGAIN else { throw .current }
        }
    }

    /// Connects to a process of this user. ENOENT and ECONNREFUSED in the failure's errno mean that nobody listens; EPERM
    /// that somebody else does, who is sent nothing.
    public static func connect(to path: String, timeout: Duration) throws(SystemFailure) -> FileDescriptor {
        try checkPath(path)
        let descriptor = try make(path)
        let address: SocketAddress
        do {
            address = try SocketAddress(path)
        } catch {
            throw SystemFailure(path, "cannot be connected to", error.errno ?? .noEntry, status: .unavailable)
        }
        let deadline = Deadline(after: timeout)
        // Non-blocking, because connecting to a full backlog would wait without a limit.
        guard berth_set_nonblocking(descriptor.rawValue, 1) == 0 else {
            throw SystemFailure(path, "cannot be connected to", .current)
        }
        while berth_connect_unix(descriptor.rawValue, address.text) != 0 {
            guard errno == EAGAIN || errno == EINTR else {
                throw SystemFailure(path, "cannot be connected to", .current, status: .unavailable)
            }
            if deadline.hasPassed {
                throw SystemFailure(path, "does not accept connections", Errno(ETIMEDOUT), status: .temporaryFailure)
            }
            usleep(10_000)
        }
        guard berth_set_nonblocking(descriptor.rawValue, 0) == 0 else {
            throw SystemFailure(path, "cannot be connected to", .current)
        }
        try refuseStranger(descriptor, path)
        return descriptor
    }

    /// Whoever made the file first may listen there.
    private static func refuseStranger(_ socket: borrowing FileDescriptor, _ path: String) throws(SystemFailure) {
        let listener: PeerCredentials
        do {
            listener = try peer(of: socket)
        } catch {
            throw SystemFailure(path, "does not tell who listens there", error, status: .noPermission)
        }
        guard !listener.isOurs else { return }
        let name = Account.named(id: listener.userID)?.name ?? "?"
        throw SystemFailure(
            path, "user \(name) (uid \(listener.userID)) listens there, and not you (uid \(geteuid()))",
            fix: "set BERTH_RUNTIME_DIR to a directory that only you can write to", errno: .notPermitted,
            status: .noPermission)
    }

    /// Two connected sockets.
    public static func pair() throws(Errno) -> FileDescriptor.Pair {
        var ends: [Int32] = [-1, -1]
        guard berth_unix_pair(&ends) == 0 else { throw .current }
        return FileDescriptor.Pair(first: FileDescriptor(owning: ends[0]), second: FileDescriptor(owning: ends[1]))
    }

    /// Sends bytes, and a descriptor (which stays the caller's) with the first of them. Returns how many were sent; a
    /// negative number, and `errno`, where none could be.
    public static func send(_ bytes: UnsafeRawBufferPointer, passing descriptor: Int32?, on socket: Int32) -> Int {
        berth_send_with_fd(socket, bytes.baseAddress, bytes.count, descriptor ?? -1)
    }

    /// Who connected.
    public static func peer(of socket: borrowing FileDescriptor) throws(Errno) -> PeerCredentials {
        try peer(ofRaw: socket.rawValue)
    }

    /// As `peer(of:)`, for a descriptor that something else owns.
    public static func peer(ofRaw number: Int32) throws(Errno) -> PeerCredentials {
        var peer = berth_peer()
        guard berth_peer_credentials(number, &peer) == 0 else { throw .current }
        return PeerCredentials(processID: peer.pid, userID: peer.uid, groupID: peer.gid)
    }

    private static func make(_ path: String) throws(SystemFailure) -> FileDescriptor {
        let number = berth_unix_stream()
        guard number >= 0 else { throw SystemFailure(path, "no socket can be made", .current) }
        return FileDescriptor(owning: number)
    }

    /// Whether an address can be made of a path.
    static func isUsable(_ path: String) -> Bool {
        path.utf8.count <= maximumAddressLength || nameLength(path) <= maximumNameLength
    }

    private static func nameLength(_ path: String) -> Int {
        path.utf8.reversed().prefix { $0 != UInt8(ascii: "/") }.count
    }

    /// Refuses a socket's name that is too long for any address.
    public static func checkPath(_ path: String) throws(SystemFailure) {
        guard isUsable(path) else {
            throw SystemFailure(
                path, "the name has \(nameLength(path)) bytes, and a socket's may have \(maximumNameLength)",
                fix: "choose a shorter name", errno: .nameTooLong, status: .configuration)
        }
    }

    private static func removeStale(_ path: String) throws(SystemFailure) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw SystemFailure(path, "is in the way and is not a socket", fix: "remove it", status: .cannotCreate)
        }
        do {
            _ = try connect(to: path, timeout: .seconds(1))
        } catch  where error.errno == Errno(ECONNREFUSED) {
            guard unlink(path) == 0 || errno == ENOENT else {
                throw SystemFailure(path, "the socket of a dead process cannot be removed", .current)
            }
            return
        }
        throw SystemFailure(
            path, "another process listens there", errno: Errno(EADDRINUSE), status: .temporaryFailure)
    }
}

/// What the kernel takes for a socket's path: the path, or where that is too long its name below the open directory.
private struct SocketAddress: ~Copyable {
    let text: String
    private let directory: FileDescriptor?

    init(_ path: String) throws(SystemFailure) {
        guard path.utf8.count > UnixSocket.maximumAddressLength, let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
        else {
            text = path
            directory = nil
            return
        }
        let number = open(String(path[..<slash]), GuardedOpen.place | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else { throw SystemFailure(path, "cannot be reached", .current, status: .unavailable) }
        directory = FileDescriptor(owning: number)
        text = "/proc/self/fd/\(number)\(path[slash...])"
    }
}
