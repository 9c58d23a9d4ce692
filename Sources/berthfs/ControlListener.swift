import Control
import FileModel
import Glibc
import LinuxSystem
import Logging
import Synchronization

/// Takes clients of the control socket: each gets a thread, and only the server's own user is answered.
final class ControlListener: Sendable {
    /// Clients at once. More wait in the socket's backlog.
    private static let maximumClients = 32
    /// A client that says nothing for this long is let go.
    private static let idleTimeout = Duration.seconds(60)

    private let socket: FileDescriptor
    private let path: String
    private let server: Server
    private let logger: Logger
    private let clients = Atomic<Int>(0)

    init(_ socket: consuming FileDescriptor, path: String, server: Server, logger: Logger) {
        self.socket = socket
        self.path = path
        self.server = server
        self.logger = logger
    }

    /// Serves until the process ends.
    func start() {
        _ = WorkerThread(name: "berth-control") {
            while true { self.takeOne() }
        }
    }

    /// No client finds the server from now on.
    func close() {
        unlink(path)
    }

    private func takeOne() {
        guard clients.load(ordering: .relaxed) < Self.maximumClients else {
            usleep(10_000)
            return
        }
        let client: FileDescriptor
        do {
            guard let accepted = try UnixSocket.accept(on: socket) else { return }
            client = accepted
        } catch {
            usleep(10_000)
            return
        }
        let channel = FrameChannel(client, name: "client")
        guard let peer = try? channel.peer(), peer.userID == geteuid() else {
            logger.warning("a stranger was turned away")
            return
        }
        clients.add(1, ordering: .relaxed)
        _ = WorkerThread(name: "berth-client") {
            self.serve(channel)
            self.clients.subtract(1, ordering: .relaxed)
        }
    }

    private func serve(_ channel: FrameChannel) {
        do throws(SystemFailure) {
            while var frame = try channel.receive(ServerRequest.self, timeout: Self.idleTimeout) {
                let passed = frame.takeDescriptor()
                try channel.send(server.answer(frame.message, passed: passed), timeout: .seconds(5))
            }
        } catch {
            logger.debug("a client was let go", metadata: ["cause": "\(error.message)"])
        }
    }
}
