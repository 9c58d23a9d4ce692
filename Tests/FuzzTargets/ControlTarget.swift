import Control
import Glibc
import LinuxSystem

/// What comes over a control socket: whole streams of frames, in pieces.
enum ControlTarget {
    @Sendable static func run(_ bytes: [UInt8]) -> String? {
        // The first byte says which messages the reader expects.
        guard let first = bytes.first else { return nil }
        let stream = Array(bytes.dropFirst().prefix(1 << 16))
        switch first % 4 {
        case 0: receive(ServerRequest.self, stream)
        case 1: receive(ServerReply.self, stream)
        case 2: receive(SupervisorRequest.self, stream)
        default: receive(HookEvent.self, stream)
        }
        return nil
    }

    private static func receive<Message: Decodable>(_ type: Message.Type, _ stream: [UInt8]) {
        var pair: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0 else { return }
        // A stream fits into the socket's buffer, so that nobody waits.
        var size: Int32 = 1 << 18
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        _ = stream.withUnsafeBytes { send(pair[0], $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        close(pair[0])
        let channel = FrameChannel(FileDescriptor(owning: pair[1]), name: "fuzz")
        while let frame = try? channel.receive(type, timeout: .seconds(5)) { _ = frame.message }
    }
}
