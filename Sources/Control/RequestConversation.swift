import LinuxSystem

/// One client's requests, each answered before the next is read.
public struct RequestConversation<Request: Decodable & Sendable, Reply: Encodable & Sendable>: Sendable {
    /// Answers a request and the descriptor that came with it.
    public typealias Answer = @Sendable (Request, RequestOrigin, consuming FileDescriptor?) -> Reply
    /// Takes note of what went wrong with a client: a constant message, and the cause.
    public typealias Note = @Sendable (_ message: String, _ cause: String) -> Void

    /// A client of the host that says nothing for this long is let go.
    private static var idleTimeout: Duration { .seconds(60) }
    /// One that may be in a container has so long in all: a few of them must not take all places for long.
    private static var strangersTime: Duration { .seconds(30) }
    private static var replyTimeout: Duration { .seconds(5) }

    private let host: HostView?
    private let note: Note
    private let answer: Answer

    /// `host`: what clients show who are in no container; nil: nobody is taken for one.
    public init(host: HostView?, note: @escaping Note, answer: @escaping Answer) {
        self.host = host
        self.note = note
        self.answer = answer
    }

    /// Goes on until the client hangs up, is silent for too long, or says what is not understood.
    public func hold(_ channel: FrameChannel) {
        let origin = RequestOrigin(host: host)
        let started = ContinuousClock.now
        do throws(SystemFailure) {
            while true {
                let left = Self.strangersTime - started.duration(to: .now)
                let patience = origin.isHost || host == nil ? Self.idleTimeout : max(left, .zero)
                guard var frame = try channel.receive(Request.self, timeout: patience) else { return }
                let passed = frame.takeDescriptor()
                try channel.send(answer(frame.message, origin, passed), timeout: Self.replyTimeout)
            }
        } catch {
            note("a client was let go", error.message)
        }
    }
}
