/// What a volume's server did between two looks, or since it started.
public struct VolumeRates: Sendable, Equatable {
    public struct Operation: Sendable, Equatable {
        public var name: String
        public var perSecond: Double
        public var errorsPerSecond: Double
        public var latency: LatencyHistogram
    }

    public var seconds: Double
    /// Those that happened in between, the most frequent first.
    public var operations: [Operation]
    /// Of all requests for whose answer somebody waits.
    public var latency: LatencyHistogram
    public var bytesRead: Double
    public var bytesWritten: Double
    /// The share of frames that were here; nil where none was read.
    public var hitRatio: Double?
    public var bytesSent: Double
    public var bytesReceived: Double
    public var storeRequests: Double
    public var storeErrors: Double

    /// Requests a second.
    public var perSecond: Double { operations.reduce(0) { $0 + $1.perSecond } }
    public var errorsPerSecond: Double { operations.reduce(0) { $0 + $1.errorsPerSecond } }

    /// `earlier` counts only where it is of the same process.
    public init(_ now: VolumeStatistics, since earlier: VolumeStatistics?) {
        let before = earlier.flatMap { $0.processID == now.processID && $0.startTime == now.startTime ? $0 : nil }
        let seconds = max(now.uptimeSeconds - (before?.uptimeSeconds ?? 0), 0.001)
        func rate(_ path: KeyPath<VolumeStatistics, UInt64>) -> Double {
            Double(now[keyPath: path] - min(before?[keyPath: path] ?? 0, now[keyPath: path])) / seconds
        }
        self.seconds = seconds
        latency = LatencyHistogram()
        operations = []
        for (name, total) in now.requests.operations {
            let part = total.since(before?.requests.operations[name])
            let count = part.latency.count
            guard count > 0 else { continue }
            operations.append(
                Operation(
                    name: name, perSecond: Double(count) / seconds, errorsPerSecond: Double(part.errors) / seconds,
                    latency: part.latency))
            // Nobody waits for a forget.
            if ![FileOperation.forget.rawValue, FileOperation.other.rawValue].contains(name) {
                latency.merge(part.latency)
            }
        }
        operations.sort { ($1.perSecond, $0.name) < ($0.perSecond, $1.name) }
        bytesRead = rate(\.requests.bytesRead)
        bytesWritten = rate(\.requests.bytesWritten)
        bytesSent = rate(\.store.bytesSent)
        bytesReceived = rate(\.store.bytesReceived)
        let frames = rate(\.packs.hitFrames) + rate(\.packs.missedFrames)
        hitRatio = frames > 0 ? rate(\.packs.hitFrames) / frames : nil
        let requests = now.store.requests.map { $0.value.since(before?.store.requests[$0.key]) }
        storeRequests = requests.reduce(0) { $0 + Double($1.latency.count) } / seconds
        storeErrors = requests.reduce(0) { $0 + Double($1.errors) } / seconds
    }
}
