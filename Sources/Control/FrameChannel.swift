import CLinux
import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem

/// A connection that carries messages, each one frame: a 4-byte big-endian length and that many bytes of
/// JSON. A descriptor rides with the first byte. Calls block; at most one thread sends and one receives.
public final class FrameChannel: Sendable {
    /// The largest message either side may send.
    public static let maximumFrameBytes = 1 << 20

    private let socket: FileDescriptor
    /// The other end, for messages.
    public let name: String

    public init(_ socket: consuming FileDescriptor, name: String) {
        self.socket = socket
        self.name = name
    }

    /// Connects to a server's control socket.
    public static func connect(to path: String, timeout: Duration) throws(SystemFailure) -> FrameChannel {
        FrameChannel(try UnixSocket.connect(to: path, timeout: timeout), name: path)
    }

    public func peer() throws(Errno) -> PeerCredentials { try UnixSocket.peer(of: socket) }

    /// Sends a message, and a descriptor (which stays the caller's) with it.
    public func send(
        _ message: some Encodable, passing descriptor: Int32? = nil, timeout: Duration? = nil
    ) throws(SystemFailure) {
        let body: [UInt8]
        do {
            body = Array(try JSONEncoder().encode(message))
        } catch {
            throw SystemFailure(name, "a message cannot be encoded: \(error)", status: .software)
        }
        guard body.count <= Self.maximumFrameBytes else {
            throw SystemFailure(name, "a message of \(body.count) bytes is too long to send", status: .software)
        }
        let frame = (0..<4).map { UInt8(truncatingIfNeeded: body.count >> (24 - 8 * $0)) } + body
        let deadline = Deadline(after: timeout)
        var sent = 0
        while sent < frame.count {
            guard try mapping({ () throws(Errno) in try socket.waitWritable(until: deadline) }) else {
                throw timedOut(timeout)
            }
            let count = frame.withUnsafeBytes {
                UnixSocket.send(
                    UnsafeRawBufferPointer(rebasing: $0[sent...]), passing: sent == 0 ? descriptor : nil,
                    on: socket.rawValue)
            }
            if count < 0, errno == EINTR || errno == EAGAIN { continue }
            guard count >= 0 else { throw failed(.current) }
            sent += count
        }
    }

    /// The next message and the descriptor that came with it; nil when the other end has hung up.
    public func receive<Message: Decodable>(
        _ type: Message.Type, timeout: Duration? = nil
    ) throws(SystemFailure) -> ReceivedFrame<Message>? {
        let deadline = Deadline(after: timeout)
        var passed: FileDescriptor?
        guard let header = try read(4, until: deadline, timeout, &passed) else { return nil }
        let length = header.reduce(0) { $0 << 8 | Int($1) }
        guard length <= Self.maximumFrameBytes else {
            throw SystemFailure(
                name, "sent a frame of \(length) bytes; at most \(Self.maximumFrameBytes) are taken", status: .dataError
            )
        }
        var extra: FileDescriptor?
        guard let body = try read(length, until: deadline, timeout, &extra) else {
            throw SystemFailure(name, "hung up in the middle of a message", status: .unavailable)
        }
        do {
            return ReceivedFrame(try JSONDecoder().decode(type, from: Data(body)), passed.take())
        } catch {
            throw SystemFailure(name, "sent a message that is not understood", status: .dataError)
        }
    }

    /// Exactly `count` bytes, or nil where the other end hung up before the first.
    private func read(
        _ count: Int, until deadline: Deadline, _ timeout: Duration?, _ passed: inout FileDescriptor?
    ) throws(SystemFailure) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            guard try mapping({ () throws(Errno) in try socket.waitReadable(until: deadline) }) else {
                throw timedOut(timeout)
            }
            var number: Int32 = -1
            let received = bytes.withUnsafeMutableBytes {
                berth_receive_with_fd(socket.rawValue, $0.baseAddress.map { $0 + done }, count - done, &number)
            }
            if received < 0, errno == EINTR || errno == EAGAIN { continue }
            guard received >= 0 else { throw failed(.current) }
            if number >= 0 { passed = FileDescriptor(owning: number) }
            if received == 0 {
                if done == 0 { return nil }
                throw SystemFailure(name, "hung up in the middle of a message", status: .unavailable)
            }
            done += received
        }
        return bytes
    }

    private func mapping(_ body: () throws(Errno) -> Bool) throws(SystemFailure) -> Bool {
        do { return try body() } catch { throw failed(error) }
    }

    private func failed(_ errno: Errno) -> SystemFailure {
        SystemFailure(name, "the connection failed", errno, status: .unavailable)
    }

    private func timedOut(_ timeout: Duration?) -> SystemFailure {
        SystemFailure(
            name, "did not answer within \(timeout ?? .zero)", errno: Errno(ETIMEDOUT), status: .temporaryFailure)
    }
}

/// A message as it came, with the descriptor that rode along.
public struct ReceivedFrame<Message>: ~Copyable {
    public let message: Message
    private var descriptor: FileDescriptor?

    init(_ message: Message, _ descriptor: consuming FileDescriptor?) {
        self.message = message
        self.descriptor = descriptor
    }

    /// Hands over the descriptor; nil where none came, and the second time.
    public mutating func takeDescriptor() -> FileDescriptor? { descriptor.take() }
}
