import FileModel
import Glibc
import LinuxSystem

/// What an OCI hook asks of `berth serve`, which lives outside the container engine's namespaces. Frames are those
/// of `ServerRequest`.
public enum SupervisorRequest: Codable, Sendable, Equatable {
    /// Have a server for this volume. Answered when it serves.
    case serve(volume: String)
    /// Are you there?
    case ping
    /// Which version does this process run?
    case version
    /// Whose volumes does this process serve?
    case data
}

public enum SupervisorReply: Codable, Sendable, Equatable {
    case done
    case version(String)
    /// The data directory.
    case data(String)
    /// `code` is an exit status of `sysexits.h`.
    case failed(code: Int32, message: String)
}

/// Asks `berth serve` for things.
public struct SupervisorClient: Sendable {
    private let channel: FrameChannel

    /// systemd starts `berth serve` when a client knocks at its socket.
    private static let wakeTimeout = Duration.seconds(20)

    /// Connects, and has systemd start `berth serve` where it listens in its place; nil where neither is there.
    public init?(waking paths: SitePaths) throws(SystemFailure) {
        if let client = try SupervisorClient(socket: paths.supervisorSocket) {
            self = client
            return
        }
        do {
            _ = try UnixSocket.connect(to: paths.pluginSocket, timeout: .seconds(2))
        } catch  where error.errno == .noEntry || error.errno == Errno(ECONNREFUSED) {
            return nil
        }
        let deadline = Deadline(after: Self.wakeTimeout)
        while !deadline.hasPassed {
            if let client = try SupervisorClient(socket: paths.supervisorSocket) {
                self = client
                return
            }
            usleep(20_000)
        }
        throw SystemFailure(
            paths.pluginSocket, "is listened on, and no `berth serve` was started behind it",
            fix: "look at: journalctl --user -u berth", status: .temporaryFailure)
    }

    /// Connects; nil where no `berth serve` runs.
    public init?(socket path: String, timeout: Duration = .seconds(2)) throws(SystemFailure) {
        do {
            channel = try FrameChannel.connect(to: path, timeout: timeout)
        } catch  where error.errno == .noEntry || error.errno == Errno(ECONNREFUSED) {
            return nil
        }
    }

    /// The data directory of the `berth serve` that has this runtime directory, where that is another one than ours: two homes
    /// of one user may share a runtime directory. One of an earlier version does not say.
    public static func otherData(_ paths: SitePaths) -> String? {
        guard let client = (try? SupervisorClient(socket: paths.supervisorSocket)) ?? nil,
            case .data(let data)? = try? client.ask(.data, timeout: .seconds(2))
        else { return nil }
        let isSame = SitePaths.mark(data) == paths.dataMark
        return isSame ? nil : data
    }

    /// Sends a request and waits for its reply. A refusal is thrown with its own words.
    @discardableResult
    public func ask(_ request: SupervisorRequest, timeout: Duration) throws(SystemFailure) -> SupervisorReply {
        try channel.send(request, timeout: timeout)
        guard let frame = try channel.receive(SupervisorReply.self, timeout: timeout) else {
            throw SystemFailure(channel.name, "`berth serve` hung up without an answer", status: .unavailable)
        }
        if case .failed(let code, let message) = frame.message {
            throw SystemFailure(passingOn: message, status: ExitStatus(rawValue: code) ?? .unavailable)
        }
        return frame.message
    }
}
