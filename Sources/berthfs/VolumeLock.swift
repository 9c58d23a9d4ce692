import FileModel
import Glibc
import LinuxSystem
import Volumes

/// The volume's lock: who holds it may open the volume. It lies beside the database, so it also meets a server
/// with another runtime directory, and one on another node where the file system has locks for that; where it has none,
/// what the file says decides (`NodeLease`).
struct VolumeLock: ~Copyable {
    /// What a server that is ending may need to store its last packs.
    private static let closingPatience = Duration.seconds(45)

    private let descriptor: FileDescriptor
    /// Ends before the descriptor is closed.
    let lease: NodeLease
    /// Another process holds the lock, too, and goes on with the volume should this one die.
    private let isInherited: Bool

    private init(_ descriptor: consuming FileDescriptor, _ lease: NodeLease, isInherited: Bool) {
        self.descriptor = descriptor
        self.lease = lease
        self.isInherited = isInherited
    }

    /// The descriptor's number: whoever has a copy of it holds the lock, too.
    var number: Int32 { descriptor.rawValue }

    /// The lock as an earlier server of this keeper left it, held all the time. Throws where another node has taken the
    /// volume meanwhile.
    static func inherit(
        _ paths: VolumePaths, _ descriptor: consuming FileDescriptor, report: @escaping @Sendable (String) -> Void
    ) throws(SystemFailure) -> VolumeLock {
        let lease = NodeLease(
            paths.lock, descriptor.rawValue, volume: paths.name, socket: paths.controlSocket, report: report)
        try lease.resume()
        return VolumeLock(descriptor, lease, isInherited: true)
    }

    /// Takes the lock. Waits for a server that is ending, not for one that serves.
    static func take(
        _ paths: VolumePaths, report: @escaping @Sendable (String) -> Void = VolumeLock.print
    ) throws(SystemFailure) -> VolumeLock {
        let path = paths.lock
        let descriptor = try explaining(path, "cannot be opened") { () throws(Errno) in
            try FileDescriptor.open(path, O_RDWR | O_CREAT | O_NOFOLLOW)
        }
        let deadline = Deadline(after: closingPatience)
        while flock(descriptor.rawValue, LOCK_EX | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR else {
                throw SystemFailure(path, "cannot be locked", .current, fix: "keep volumes on a file system with locks")
            }
            let holder = LockNote(at: path)
            // One that has closed the volume lets go when it has ended, and its keeper with it.
            guard let state = holder?.state, state != .serving, !deadline.hasPassed else {
                throw SystemFailure(
                    "volume \"\(paths.name)\"", "is in use by another process (\(words(holder)))",
                    fix: "use its mount, or end it first (`berth stop --all`)", errno: .busy, status: .temporaryFailure)
            }
            usleep(20_000)
        }
        let lease = NodeLease(
            path, descriptor.rawValue, volume: paths.name, socket: paths.controlSocket, report: report)
        try lease.claim()
        return VolumeLock(descriptor, lease, isInherited: false)
    }

    deinit { lease.end(isClosed: !isInherited) }

    /// The volume is being closed: the next server may wait for it.
    borrowing func noteClosing() { lease.noteClosing() }

    /// The volume is closed, and nobody goes on with it.
    borrowing func noteClosed() { lease.end(isClosed: true) }

    private static func words(_ holder: LockNote?) -> String {
        guard let holder, holder.state != .closed else { return "starting" }
        let place = holder.node.map { $0 == .current() ? "" : " on \($0.host)" } ?? ""
        return "\(holder.state.rawValue) \(holder.processID)\(place)"
    }

    /// For who waits at a terminal.
    private static func print(_ words: String) {
        let line = Array("berthfs: \(words)\n".utf8)
        _ = write(STDERR_FILENO, line, line.count)
    }
}
