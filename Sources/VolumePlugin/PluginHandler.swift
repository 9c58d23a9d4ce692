import LinuxSystem
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix

/// One connection: takes a request at a time, has it answered by the pool, writes the response.
// SAFETY: NIO calls a handler on its channel's event loop only, and results of the pool hop back to it.
final class PluginHandler: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// Names and options of a volume fit many times.
    private static let maximumBodyBytes = 1 << 20

    /// How long the rest of a request that was refused is read and dropped.
    private static let drainTime = TimeAmount.seconds(10)

    private enum State {
        case idle
        case receiving(HTTPRequestHead, ByteBuffer)
        case answering
        /// A refusal was sent; what still comes is dropped until the connection is closed.
        case refused
    }

    private let responder: any HTTPResponder
    private let pool: NIOThreadPool
    /// Whose processes are answered; nil where that cannot be known.
    private let userID: UInt32?
    private let logger: Logger
    private var state = State.idle
    /// Who is at the other end: asked once, when they have just connected.
    private var peer: EventLoopFuture<PeerProcess?>?

    init(responder: any HTTPResponder, pool: NIOThreadPool, userID: UInt32?, logger: Logger) {
        self.responder = responder
        self.pool = pool
        self.userID = userID
        self.logger = logger
    }

    func channelActive(context: ChannelHandlerContext) {
        peer = findPeer(context)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (unwrapInboundIn(data), state) {
        case (.head(let head), .idle):
            state = .receiving(head, context.channel.allocator.buffer(capacity: 0))
        case (.body(var part), .receiving(let head, var body)):
            guard body.readableBytes + part.readableBytes <= Self.maximumBodyBytes else {
                return refuse(context, 413, "the body is longer than \(Self.maximumBodyBytes) bytes")
            }
            // Out of the state first, or the buffer would be copied for each part.
            state = .idle
            body.writeBuffer(&part)
            state = .receiving(head, body)
        case (.end, .receiving(let head, let body)):
            state = .answering
            answer(context, head, Array(body.readableBytesView))
        case (.end, .refused): context.close(promise: nil)
        default: break
        }
    }

    private func answer(_ context: ChannelHandlerContext, _ head: HTTPRequestHead, _ body: [UInt8]) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        guard let found = peer else { return refuse(context, 500, "the caller cannot be identified") }
        found.flatMap { [pool, responder, userID, logger] peer -> EventLoopFuture<PluginResponse> in
            let credentials = peer?.credentials
            guard credentials.map({ $0.userID == userID && $0.isOurs }) ?? (userID == nil) else {
                logger.warning("a stranger was turned away", metadata: ["uid": "\(credentials?.userID ?? 0)"])
                return bound.eventLoop.makeSucceededFuture(.refusal(403, "this socket serves its owner only"))
            }
            return pool.runIfActive(eventLoop: bound.eventLoop) {
                responder.respond(method: head.method.rawValue, path: head.uri, body: body, peer: peer)
            }
        }.whenComplete { result in
            let (handler, context) = bound.value
            switch result {
            case .success(let response):
                handler.send(response, context, keepAlive: head.isKeepAlive && response.status == 200)
            case .failure(let error): handler.refuse(context, 500, "the plugin is ending: \(error)")
            }
        }
    }

    /// Who is at the other end, where anybody is to be told apart; nil where the kernel cannot be asked.
    private func findPeer(_ context: ChannelHandlerContext) -> EventLoopFuture<PeerProcess?>? {
        guard userID != nil else { return context.eventLoop.makeSucceededFuture(nil) }
        guard let provider = context.channel as? any SocketOptionProvider else { return nil }
        let found: EventLoopFuture<SocketPeer> = provider.unsafeGetSocketOption(level: .socket, name: .peerCredentials)
        let handle: EventLoopFuture<Int32> = provider.unsafeGetSocketOption(level: .socket, name: .peerHandle)
        // Before Linux 6.5 there is none to be had.
        return found.and(handle.recover { _ in -1 }).map { peer, handle in
            PeerProcess(
                PeerCredentials(processID: peer.processID, userID: peer.userID, groupID: peer.groupID),
                handle: handle >= 0 ? handle : nil)
        }
    }

    private func refuse(_ context: ChannelHandlerContext, _ status: Int, _ message: String) {
        send(.refusal(status, message), context, keepAlive: false)
    }

    private func send(_ response: PluginResponse, _ context: ChannelHandlerContext, keepAlive: Bool) {
        var isDraining = false
        if case .receiving = state {
            // The sender reads the answer only after its last byte: closed at once, it would see a broken pipe.
            isDraining = true
            context.eventLoop.scheduleTask(in: Self.drainTime) { [channel = context.channel] in
                channel.close(promise: nil)
            }
        }
        state = keepAlive ? .idle : .refused
        var headers = HTTPHeaders()
        headers.add(name: "Content-Type", value: response.contentType)
        headers.add(name: "Content-Length", value: "\(response.body.count)")
        if !keepAlive { headers.add(name: "Connection", value: "close") }
        let head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: response.status), headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: response.body)))), promise: nil)
        // Engines may hang up before they have read the answer: a failed write is no fault.
        let channel = context.channel
        let closesNow = !keepAlive && !isDraining
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in
            if closesNow { channel.close(promise: nil) }
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent, case .answering = state { return }
        if event is IdleStateHandler.IdleStateEvent {
            context.close(promise: nil)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        logger.debug("a connection failed", metadata: ["cause": "\(error)"])
        context.close(promise: nil)
    }
}

/// `struct ucred` of socket(7): who is at the other end of a unix socket.
private struct SocketPeer: Sendable {
    var processID: Int32 = 0
    var userID: UInt32 = 0
    var groupID: UInt32 = 0
}

extension NIOBSDSocket.Option {
    /// SO_PEERCRED of Linux.
    fileprivate static let peerCredentials = NIOBSDSocket.Option(rawValue: 17)
    /// SO_PEERPIDFD of Linux 6.5.
    fileprivate static let peerHandle = NIOBSDSocket.Option(rawValue: 77)
}
