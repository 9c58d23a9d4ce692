import FileModel
import Glibc
import LinuxSystem

/// The volume's lock: who holds it may open the volume. It lies beside the database, so it also meets a server
/// with another runtime directory, and one on another node where the file system has locks for that.
///
/// The file says who holds it: `serving PID`, or `closing PID` from the moment a server has begun to end, and on a
/// second line where the server listens, for those who look for it in another runtime directory.
struct VolumeLock: ~Copyable {
    /// What a server that is ending may need to store its last packs.
    private static let closingPatience = Duration.seconds(45)

    private let descriptor: FileDescriptor
    private let socket: String

    /// The lock as an earlier server of this keeper left it, held all the time.
    init(_ paths: VolumePaths, inherited: consuming FileDescriptor) {
        descriptor = inherited
        socket = paths.controlSocket
        note("serving")
    }

    /// The descriptor's number: whoever has a copy of it holds the lock, too.
    var number: Int32 { descriptor.rawValue }

    /// Takes the lock. Waits for a server that is ending, not for one that serves.
    init(_ paths: VolumePaths) throws(SystemFailure) {
        let path = paths.lock
        let descriptor = try explaining(path, "cannot be opened") { () throws(Errno) in
            try FileDescriptor.open(path, O_RDWR | O_CREAT | O_NOFOLLOW)
        }
        let deadline = Deadline(after: Self.closingPatience)
        while flock(descriptor.rawValue, LOCK_EX | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR else {
                throw SystemFailure(path, "cannot be locked", .current, fix: "keep volumes on a file system with locks")
            }
            let holder = (try? AtomicFile.read(path)) ?? nil
            let text = String(decoding: holder ?? [], as: UTF8.self).split(separator: "\n").first.map(String.init) ?? ""
            guard text.hasPrefix("closing"), !deadline.hasPassed else {
                throw SystemFailure(
                    "volume \"\(paths.name)\"", "is in use by another process (\(text.isEmpty ? "starting" : text))",
                    fix: "use its mount, or end it first (`berth stop --all`)", errno: .busy, status: .temporaryFailure)
            }
            usleep(20_000)
        }
        self.descriptor = descriptor
        socket = paths.controlSocket
        note("serving")
    }

    /// The volume is being closed: the next server may wait for it.
    borrowing func noteClosing() { note("closing") }

    private borrowing func note(_ state: String) {
        let line = Array("\(state) \(getpid())\n\(socket)\n".utf8)
        // The content is for people and for patience; the lock itself does not depend on it.
        guard ftruncate(descriptor.rawValue, 0) == 0 else { return }
        _ = pwrite(descriptor.rawValue, line, line.count, 0)
    }
}
