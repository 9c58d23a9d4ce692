import LinuxSystem
import Logging

/// The Docker-compatible volume plugin on a unix socket.
public final class PluginServer: Sendable {
    /// Mounts wait for servers to start; more wait in line.
    private static let threads = 8

    private let service: HTTPService

    /// Starts to serve a listening socket. `host`: where engines are; a container that has the socket is not answered.
    public init(
        _ socket: consuming LinuxSystem.FileDescriptor, driver: any VolumeDriver, userID: UInt32, host: HostView?,
        logger: Logger
    ) throws(SystemFailure) {
        service = try HTTPService(
            socket, named: "the plugin socket", threads: Self.threads,
            responder: EnginesOnly(responder: PluginRouter(driver: driver), host: host, logger: logger),
            userID: userID, logger: logger)
    }

    /// Takes no more requests and finishes those under way.
    public func stop() { service.stop() }
}

/// Answers processes with this host's root directory: container engines, in whatever user namespace they work.
private struct EnginesOnly: HTTPResponder {
    let responder: PluginRouter
    let host: HostView?
    let logger: Logger

    func respond(method: String, path: String, body: [UInt8], peer: PeerProcess?) -> PluginResponse {
        guard let host, let peer, peer.hasRoot(of: host) else {
            logger.warning(
                "a container was turned away", metadata: ["pid": "\(peer?.credentials.processID ?? 0)"])
            return .refusal(
                403, "the volume plugin answers container engines of this host, not programs in containers")
        }
        return responder.respond(method: method, path: path, body: body, peer: peer.credentials)
    }
}
