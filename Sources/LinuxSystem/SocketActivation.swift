import CLinux
import FileModel
import Glibc

/// A socket that a service manager opened for this process (sd_listen_fds(3)).
public enum SocketActivation {
    private static let firstDescriptor: Int32 = 3

    /// The socket that was passed, which must listen at `path`; nil where none was passed.
    public static func listener(
        at path: String, environment: [String: String], processID: Int32 = getpid()
    ) throws(SystemFailure) -> FileDescriptor? {
        // The variables may have been meant for a parent of ours.
        guard let count = environment["LISTEN_FDS"], environment["LISTEN_PID"] == "\(processID)" else { return nil }
        var name = [CChar](repeating: 0, count: UnixSocket.maximumAddressLength + 1)
        guard count == "1", berth_unix_name(firstDescriptor, &name, Int32(name.count)) == 0 else {
            throw SystemFailure(
                "the socket unit", "passes something else than one listening unix socket (LISTEN_FDS=\(count))",
                fix: "give it one ListenStream=\(path)", status: .configuration)
        }
        let found = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard found == path else {
            throw SystemFailure(
                "the socket unit", "listens at \(found), and podman is told of \(path)",
                fix: "give it ListenStream=\(path)", status: .configuration)
        }
        let number = berth_duplicate_from(firstDescriptor, firstDescriptor + 1)
        guard number >= 0 else { throw SystemFailure(path, "cannot be taken over", .current) }
        let socket = FileDescriptor(owning: number)
        close(firstDescriptor)
        // Listened on again, so that clients see this process at the other end and not the service manager.
        guard listen(socket.rawValue, UnixSocket.backlog) == 0 else {
            throw SystemFailure(path, "cannot be listened on", .current)
        }
        return socket
    }

    /// Whether somebody listens at a path, without knocking: knocking would start what waits behind it.
    public static func isListenedOn(_ path: String) -> Bool {
        // Number, references, protocol, flags, type, state, inode, path; the flag says that the socket accepts.
        guard let bytes = (try? AtomicFile.read("/proc/net/unix", limit: 16 << 20)) ?? nil else { return false }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").contains { line in
            let words = line.split(separator: " ", maxSplits: 7)
            return words.count == 8 && words[7] == path && words[3] == "00010000"
        }
    }
}
