import FileModel
import Glibc
import LinuxSystem
import Metrics

/// Asks a volume's server for things: one request, one reply.
public struct ServerClient: Sendable {
    private let channel: FrameChannel

    /// The socket it is connected to.
    public var socket: String { channel.name }

    /// Connects. A failure's errno ENOENT or ECONNREFUSED means that no server runs.
    public init(socket path: String, timeout: Duration = .seconds(2)) throws(SystemFailure) {
        channel = try FrameChannel.connect(to: path, timeout: timeout)
    }

    /// Sends a request and waits for its reply. A refusal is thrown with the server's own words.
    @discardableResult
    public func ask(
        _ request: ServerRequest, passing descriptor: Int32? = nil, timeout: Duration
    ) throws(SystemFailure) -> ServerReply {
        do {
            return try exchange(channel, request, descriptor, timeout)
        } catch  where request.isRepeatable && error.isHangUp {
            // The server was just replaced; the next one listens on the same socket.
            return try exchange(try FrameChannel.connect(to: socket, timeout: timeout), request, descriptor, timeout)
        }
    }

    private func exchange(
        _ channel: FrameChannel, _ request: ServerRequest, _ descriptor: Int32?, _ timeout: Duration
    ) throws(SystemFailure) -> ServerReply {
        try channel.send(request, passing: descriptor, timeout: timeout)
        guard let frame = try channel.receive(ServerReply.self, timeout: timeout) else {
            throw SystemFailure(
                channel.name, "the server hung up without an answer", errno: Errno(ECONNRESET), status: .unavailable)
        }
        if case .failed(let code, let message, let status) = frame.message {
            throw SystemFailure(
                passingOn: message, errno: code == 0 ? nil : Errno(code),
                status: status.flatMap(ExitStatus.init) ?? .unavailable)
        }
        return frame.message
    }

    /// What the server counted. One of a version that does not count hangs up.
    public func statistics(timeout: Duration = .seconds(5)) throws(SystemFailure) -> VolumeStatistics {
        guard case .statistics(let statistics) = try ask(.statistics, timeout: timeout) else {
            throw SystemFailure(
                channel.name, "answered a question for its statistics with something else", status: .dataError)
        }
        return statistics
    }

    /// What an answer is that does not fit its question.
    public var confused: SystemFailure {
        SystemFailure(socket, "answered with something else", status: .dataError)
    }

    /// Who the server is and what it serves.
    public func status(timeout: Duration = .seconds(5)) throws(SystemFailure) -> ServerStatus {
        guard case .status(let status) = try ask(.status, timeout: timeout) else {
            throw SystemFailure(
                channel.name, "answered a question for its status with something else", status: .dataError)
        }
        return status
    }
}

extension SystemFailure {
    /// The other end of a connection has gone, before it took what was asked or after.
    public var isHangUp: Bool { errno == Errno(ECONNRESET) || errno == Errno(EPIPE) }
}
