import Control
import Glibc
import LinuxSystem
import Synchronization

/// Both sides of the control protocol with somebody hostile at the other end: whole conversations, with descriptors.
enum ControlPeerTargets {
    /// A connected pair: ours as a channel, theirs as a number with everything they say already sent.
    private static func connect(saying stream: [UInt8], passing descriptor: Int32) -> (FrameChannel, Int32)? {
        var pair: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0 else { return nil }
        // What is said fits into the socket's buffer, so that nobody waits.
        var size: Int32 = 1 << 18
        for end in pair { setsockopt(end, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size)) }
        let theirs = FileDescriptor(owning: pair[0])
        var rest = stream[...]
        // Frame by frame, so that a descriptor can ride with each first byte.
        while !rest.isEmpty {
            let part = Array(rest.prefix(4 + rest.prefix(4).reduce(0) { ($0 << 8 | Int($1)) & 0xFFFFF }))
            send(part, descriptor, theirs.rawValue)
            rest = rest.dropFirst(part.count)
        }
        shutdown(theirs.rawValue, Int32(SHUT_WR))
        return (FrameChannel(FileDescriptor(owning: pair[1]), name: "fuzz"), theirs.take())
    }

    private static func send(_ bytes: [UInt8], _ descriptor: Int32, _ socket: Int32) {
        _ = bytes.withUnsafeBytes { UnixSocket.send($0, passing: descriptor, on: socket) }
    }

    /// A client that never showed where it is gets only what containers may ask, whatever it says and passes.
    @Sendable static func server(_ bytes: [UInt8]) -> String? {
        guard let first = bytes.first else { return nil }
        let host = HostView.own()
        // Descriptors that prove nothing, or one of the two that prove something.
        let path: String = first % 3 == 0 ? "/" : first % 3 == 1 ? "/proc/self/ns/user" : "/dev/null"
        guard let passed = try? FileDescriptor.open(path, O_RDONLY) else { return nil }
        let stream = Array(bytes.dropFirst().prefix(1 << 16))
        guard let (channel, theirs) = connect(saying: stream, passing: passed.rawValue) else { return nil }
        defer { close(theirs) }
        let broken = Mutex<String?>(nil)
        let conversation = RequestConversation<ServerRequest, ServerReply>(host: host, note: { _, _ in }) {
            request, origin, descriptor in
            if case .introduce = request {
                if let descriptor { origin.show(descriptor) }
            } else if origin.isHost {
                broken.withLock { $0 = "one descriptor alone made a client one of the host: \(request)" }
            }
            return .done
        }
        conversation.hold(channel)
        return broken.withLock { $0 }
    }

    /// A server that answers what it likes: the client says so, and never takes it for an answer to something else.
    @Sendable static func client(_ bytes: [UInt8]) -> String? {
        guard let first = bytes.first, let passed = try? FileDescriptor.open("/dev/null", O_RDONLY) else { return nil }
        let stream = Array(bytes.dropFirst().prefix(1 << 16))
        guard let (channel, theirs) = connect(saying: stream, passing: passed.rawValue) else { return nil }
        defer { close(theirs) }
        let client = ServerClient(channel)
        let patience = Duration.milliseconds(200)
        switch first % 4 {
        case 0: _ = try? client.status(timeout: patience)
        case 1: _ = try? client.statistics(timeout: patience)
        case 2: _ = try? client.isServing("s", timeout: patience)
        default:
            let attachment = Attachment(session: "s", mountpoint: "/m", readOnly: true, identity: .oneToOne)
            guard let proof = try? client.attach(attachment, passed.rawValue, timeout: patience) else { return nil }
            // A path that shows no session proves none, whatever the server said.
            if (try? proof.check("/")) != nil { return "a directory of the host was taken for the session \(proof)" }
        }
        return nil
    }
}
