import LinuxSystem
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// The Docker-compatible volume plugin on a unix socket.
///
/// Invariants
/// - The driver is called on threads of a pool, never on the event loop.
/// - Only the user's own processes are answered, whatever the socket's mode became.
public final class PluginServer: Sendable {
    /// Mounts wait for servers to start; more wait in line.
    private static let threads = 8
    private static let maximumConnections = 256
    private static let idleTimeout = TimeAmount.seconds(120)

    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let pool = NIOThreadPool(numberOfThreads: PluginServer.threads)
    private let channel: any Channel

    /// Starts to serve a listening socket.
    public init(
        _ socket: consuming LinuxSystem.FileDescriptor, driver: any VolumeDriver, userID: UInt32, logger: Logger
    ) throws(SystemFailure) {
        pool.start()
        let router = PluginRouter(driver: driver)
        let pool = self.pool
        let connections = ConnectionCount(limit: Self.maximumConnections)
        let bootstrap = ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                guard connections.add(channel) else { return channel.close() }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(IdleStateHandler(allTimeout: Self.idleTimeout))
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(
                        PluginHandler(router: router, pool: pool, userID: userID, logger: logger))
                }
            }
        let number = socket.take()
        do {
            channel = try bootstrap.withBoundSocket(number).wait()
        } catch {
            throw SystemFailure("the plugin socket", "cannot be served: \(error)", status: .systemError)
        }
    }

    /// Takes no more requests and finishes those under way.
    public func stop() {
        try? channel.close().wait()
        try? pool.syncShutdownGracefully()
        try? group.syncShutdownGracefully()
    }
}

/// How many clients there are.
private final class ConnectionCount: Sendable {
    private let count = Atomic<Int>(0)
    private let limit: Int

    init(limit: Int) {
        self.limit = limit
    }

    /// False where there are too many already.
    func add(_ channel: any Channel) -> Bool {
        guard count.load(ordering: .relaxed) < limit else { return false }
        count.add(1, ordering: .relaxed)
        channel.closeFuture.whenComplete { _ in self.count.subtract(1, ordering: .relaxed) }
        return true
    }
}
