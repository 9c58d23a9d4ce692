import FileModel
import Glibc
import LinuxSystem
import Metrics
import Synchronization

/// Asks a volume's server for things: one request, one reply.
public struct ServerClient: Sendable {
    /// The socket it is connected to.
    public let socket: String
    private let line: Line

    /// The connection, and whether its other end knows that we are in no container.
    private final class Line: Sendable {
        struct State {
            var channel: FrameChannel
            var isIntroduced = false
        }

        let state: Mutex<State>

        init(_ channel: FrameChannel) {
            state = Mutex(State(channel: channel))
        }
    }

    /// Connects. A failure's errno ENOENT or ECONNREFUSED means that no server runs.
    public init(socket path: String, timeout: Duration = .seconds(2)) throws(SystemFailure) {
        self.init(try FrameChannel.connect(to: path, timeout: timeout))
    }

    package init(_ channel: FrameChannel) {
        socket = channel.name
        line = Line(channel)
    }

    /// Sends a request and waits for its reply. A refusal is thrown with the server's own words.
    @discardableResult
    public func ask(
        _ request: ServerRequest, passing descriptor: Int32? = nil, timeout: Duration
    ) throws(SystemFailure) -> ServerReply {
        do {
            return try exchange(try introduced(for: request, timeout), request, descriptor, timeout)
        } catch  where request.isRepeatable && error.isHangUp {
            // The server was just replaced; the next one listens on the same socket.
            try reconnect(timeout)
            return try exchange(try introduced(for: request, timeout), request, descriptor, timeout)
        }
    }

    /// Hands over a mounted `/dev/fuse` descriptor. Returns what its mount point must show.
    public func attach(
        _ attachment: Attachment, _ device: Int32, timeout: Duration
    ) throws(SystemFailure) -> SessionProof {
        var attachment = attachment
        attachment.wantsProof = true
        let reply = try ask(.attach(attachment), passing: device, timeout: timeout)
        guard case .proof(let secret) = reply else {
            return SessionProof(session: attachment.session, secret: nil)
        }
        return SessionProof(session: attachment.session, secret: secret)
    }

    /// The connection, once the server knows where we are; at once where the request needs no such thing.
    private func introduced(for request: ServerRequest, _ timeout: Duration) throws(SystemFailure) -> FrameChannel {
        guard line.state.withLock({ !$0.isIntroduced && request.gainsByIntroduction }) else {
            return line.state.withLock { $0.channel }
        }
        do throws(SystemFailure) {
            try introduce(timeout)
        } catch  where error.isHangUp {
            // One that was just replaced, whose next one asks; or one of a version that does not ask.
            try reconnect(timeout)
            do throws(SystemFailure) {
                try introduce(timeout)
            } catch  where error.isHangUp {
                try reconnect(timeout, isIntroduced: true)
            }
        }
        return line.state.withLock { $0.channel }
    }

    private func introduce(_ timeout: Duration) throws(SystemFailure) {
        let channel = line.state.withLock { $0.channel }
        let view = try HostView.descriptors()
        _ = try exchange(channel, .introduce, view.first.rawValue, timeout)
        _ = try exchange(channel, .introduce, view.second.rawValue, timeout)
        line.state.withLock { $0.isIntroduced = true }
    }

    private func reconnect(_ timeout: Duration, isIntroduced: Bool = false) throws(SystemFailure) {
        let channel = try FrameChannel.connect(to: socket, timeout: timeout)
        line.state.withLock { $0 = Line.State(channel: channel, isIntroduced: isIntroduced) }
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
                socket, "answered a question for its statistics with something else", status: .dataError)
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
                socket, "answered a question for its status with something else", status: .dataError)
        }
        return status
    }

    /// Whether the server serves a session.
    public func isServing(_ session: String, timeout: Duration = .seconds(5)) throws(SystemFailure) -> Bool {
        do {
            try ask(.isServed(session: session), timeout: timeout)
            return true
        } catch  where error.errno == .noEntry {
            return false
        } catch  where error.isHangUp {
            // A server of a version that does not know the question.
            return try status(timeout: timeout).sessions.contains { $0.session == session }
        }
    }
}

extension SystemFailure {
    /// The other end of a connection has gone, before it took what was asked or after.
    public var isHangUp: Bool { errno == Errno(ECONNRESET) || errno == Errno(EPIPE) }
}
