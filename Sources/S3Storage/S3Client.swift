import FileModel
import LinuxSystem
import Metrics
import ObjectStorage
import Synchronization

/// One thing asked of a bucket.
struct S3Call {
    var method: HTTPRequest.Method
    /// The object's key; nil for the bucket itself.
    var key: String?
    var query: [(name: String, value: String)] = []
    var headers: [String: String] = [:]
    var body: UnsafeRawBufferPointer?
    var target: UnsafeMutableRawBufferPointer?
    /// What the keys must be allowed.
    var permission: String
    var budget = RetryBudget.transfer
    /// Nobody waits for it.
    var inBackground = false
    /// Whose end ends it; nil: nobody's.
    var errand: StoreErrand?
    /// Finds fault with a reply that claims success.
    var check: (HTTPReply) -> S3Failure? = { _ in nil }
}

extension S3Call {
    fileprivate var verb: StoreVerb {
        switch method {
        case .get: key == nil ? .list : .get
        case .head: .head
        case .put: .put
        case .delete: .delete
        }
    }
}

extension S3Failure {
    /// What a store says of an object is no failure of the store.
    fileprivate var isAnswer: Bool {
        switch kind {
        case .missing, .pastEnd, .taken: true
        default: false
        }
    }
}

/// Signs requests, sends them, and tries again within a budget what may go better.
final class S3Client: Sendable {
    /// Beside what a body of that size takes at `slowestBytesPerSecond`.
    private static let requestSeconds = 60
    private static let slowestBytesPerSecond = 64 << 10
    private let slowest: Int

    let location: S3Location
    private let certificates: String?
    private let surroundings: S3Surroundings
    private let readCredentials: @Sendable () throws(SystemFailure) -> S3Credentials
    private let credentials: Mutex<S3Credentials>
    private let pool = HandlePool()
    private let meter: StoreMeter
    private let upload: RateLimit?
    private let download: RateLimit?

    /// Reads the keys; they are read again when the store refuses them.
    init(
        _ location: S3Location, certificates: String?, limits: S3Limits, surroundings: S3Surroundings,
        meter: StoreMeter,
        credentials: @escaping @Sendable () throws(SystemFailure) -> S3Credentials
    ) throws(SystemFailure) {
        self.location = location
        self.certificates = certificates
        self.surroundings = surroundings
        self.meter = meter
        readCredentials = credentials
        upload = limits.upload.map { RateLimit(bytesPerSecond: $0) }
        download = limits.download.map { RateLimit(bytesPerSecond: $0) }
        // What goes slowly by the user's wish must not be cut for it, however many share it.
        slowest = min(
            Self.slowestBytesPerSecond, (limits.upload ?? .max) / HandlePool.limit,
            (limits.download ?? .max) / HandlePool.limit)
        self.credentials = Mutex(try credentials())
    }

    private enum Outcome {
        case done(HTTPReply)
        case failed(S3Failure)
    }

    func send(_ call: S3Call) throws(S3Failure) -> HTTPReply {
        let start = ContinuousClock.now
        // Once per run of the body's bytes, not per attempt.
        let bodyHash = call.body.map { RequestSignature.hash($0) } ?? RequestSignature.emptyBodyHash
        var attempt = 0
        var mayRenew = true
        while true {
            attempt += 1
            let keys = credentials.withLock { $0 }
            let failure: S3Failure
            switch once(call, keys, bodyHash) {
            case .done(let reply): return reply
            case .failed(let cause): failure = cause
            }
            if failure.mayHaveOldKeys, mayRenew {
                mayRenew = false
                if renew(keys) { continue }
            }
            let elapsed = start.duration(to: .now) / .seconds(1)
            let pause = call.budget.pause(
                after: attempt, elapsed: elapsed, asked: failure.retryAfter, chance: surroundings.chance())
            guard failure.isPassing, let pause else { throw Self.tried(failure, attempt) }
            try rest(pause, call.errand)
            meter.countRetry()
        }
    }

    /// Between two tries. Who ends the errand does not wait for the end of it.
    private func rest(_ seconds: Double, _ errand: StoreErrand?) throws(S3Failure) {
        guard let errand else { return surroundings.sleep(seconds) }
        var left = seconds
        while left > 0 {
            if errand.isOver { throw Self.over }
            surroundings.sleep(min(left, Self.restStep))
            left -= Self.restStep
        }
    }

    private static let restStep = 0.25
    private static let over = S3Failure(kind: .away, cause: "the volume's server is ending")

    private static func tried(_ failure: S3Failure, _ attempts: Int) -> S3Failure {
        guard failure.isPassing, attempts > 1 else { return failure }
        var failure = failure
        failure.cause += " (tried \(attempts) times)"
        return failure
    }

    /// True where there are other keys than `old` now.
    private func renew(_ old: S3Credentials) -> Bool {
        guard let fresh = try? readCredentials() else { return false }
        return credentials.withLock { current in
            defer { current = fresh }
            return fresh != old
        }
    }

    private func once(_ call: S3Call, _ keys: S3Credentials, _ bodyHash: String) -> Outcome {
        let start = monotonicNanoseconds()
        let outcome = attempt(call, keys, bodyHash)
        var isError = false
        if case .failed(let failure) = outcome { isError = !failure.isAnswer }
        meter.record(call.verb, nanoseconds: monotonicNanoseconds() &- start, isError: isError)
        return outcome
    }

    private func attempt(_ call: S3Call, _ keys: S3Credentials, _ bodyHash: String) -> Outcome {
        let now = surroundings.now()
        if call.errand?.isOver == true { return .failed(Self.over) }
        let diagnosis = S3Diagnosis(location: location, keys: keys.source, permission: call.permission, now: now)
        let request = request(call, keys, bodyHash, now)
        let reply: HTTPReply
        do throws(TransferFailure) {
            reply = try pool.withHandle(inBackground: call.inBackground) { handle throws(TransferFailure) in
                guard let handle else { throw TransferFailure.noMemory }
                return try handle.perform(request, trusting: certificates)
            }
        } catch {
            return .failed(call.errand?.isOver == true ? Self.over : diagnosis.failure(error))
        }
        guard (200...299).contains(reply.status) else { return .failed(diagnosis.failure(reply)) }
        if let failure = call.check(reply) { return .failed(failure) }
        return .done(reply)
    }

    private func request(_ call: S3Call, _ keys: S3Credentials, _ bodyHash: String, _ now: Int) -> HTTPRequest {
        let (host, root) = location.origin
        let path = root + "/" + (call.key.map { RequestSignature.encode($0, isPath: true) } ?? "")
        let signature = RequestSignature(credentials: keys, region: location.region, time: now)
        // Of the rest, what a proxy on the way may change is checked in the answer.
        var headers = signature.headers(
            method: call.method.rawValue, path: path, query: call.query, headers: ["host": host], bodyHash: bodyHash)
        headers.merge(call.headers) { added, _ in added }
        let query = RequestSignature.query(call.query)
        let bytes = max(call.body?.count ?? 0, call.target?.count ?? 0)
        var request = HTTPRequest(
            method: call.method, url: location.transport + host + path + (query.isEmpty ? "" : "?" + query),
            headers: headers, body: call.body, target: call.target, meter: meter,
            timeout: .seconds(Self.requestSeconds + bytes / slowest))
        if upload != nil || download != nil {
            request.rate = RequestRate(up: upload, down: download, inBackground: call.inBackground)
        }
        if let errand = call.errand { request.isAbandoned = { errand.isOver } }
        return request
    }
}
