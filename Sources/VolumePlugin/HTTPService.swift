import LinuxSystem
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// Answers requests: the method, the path, the body, and who asks where that is known.
protocol HTTPResponder: Sendable {
    func respond(method: String, path: String, body: [UInt8], peer: PeerProcess?) -> PluginResponse
}

/// HTTP on a listening socket.
///
/// Invariants
/// - The responder is called on threads of a pool, never on the event loop.
/// - With a user, only that user's processes are answered, whatever the socket's mode became.
final class HTTPService: Sendable {
    private static let maximumConnections = 256
    private static let idleTimeout = TimeAmount.seconds(120)

    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let pool: NIOThreadPool
    private let channel: any Channel

    /// Starts to serve. `name` is for errors; without `userID` whoever gets there is answered.
    init(
        _ socket: consuming LinuxSystem.FileDescriptor, named name: String, threads: Int, responder: any HTTPResponder,
        userID: UInt32?, logger: Logger
    ) throws(SystemFailure) {
        let pool = NIOThreadPool(numberOfThreads: threads)
        self.pool = pool
        pool.start()
        let connections = ConnectionCount(limit: Self.maximumConnections)
        let bootstrap = ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                guard connections.add(channel) else { return channel.close() }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(IdleStateHandler(allTimeout: Self.idleTimeout))
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(
                        PluginHandler(responder: responder, pool: pool, userID: userID, logger: logger))
                }
            }
        let number = socket.take()
        do {
            channel = try bootstrap.withBoundSocket(number).wait()
        } catch {
            throw SystemFailure(name, "cannot be served: \(error)", status: .systemError)
        }
    }

    /// Takes no more requests and finishes those under way.
    func stop() {
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
