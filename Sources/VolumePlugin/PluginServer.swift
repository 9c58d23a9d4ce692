import LinuxSystem
import Logging

/// The Docker-compatible volume plugin on a unix socket.
public final class PluginServer: Sendable {
    /// Mounts wait for servers to start; more wait in line.
    private static let threads = 8

    private let service: HTTPService

    /// Starts to serve a listening socket.
    public init(
        _ socket: consuming LinuxSystem.FileDescriptor, driver: any VolumeDriver, userID: UInt32, logger: Logger
    ) throws(SystemFailure) {
        service = try HTTPService(
            socket, named: "the plugin socket", threads: Self.threads, responder: PluginRouter(driver: driver),
            userID: userID, logger: logger)
    }

    /// Takes no more requests and finishes those under way.
    public func stop() { service.stop() }
}
