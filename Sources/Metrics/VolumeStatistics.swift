/// Requests of the kernel, since the server started.
public struct RequestStatistics: Codable, Sendable, Equatable {
    /// By `FileOperation`, those that happened. ENOENT and the like are answers, and no errors.
    public var operations: [String: OperationStatistics]
    public var bytesRead: UInt64
    public var bytesWritten: UInt64
    /// Requests answered with EIO.
    public var faults: UInt64

    public init(
        operations: [String: OperationStatistics], bytesRead: UInt64, bytesWritten: UInt64, faults: UInt64
    ) {
        self.operations = operations
        self.bytesRead = bytesRead
        self.bytesWritten = bytesWritten
        self.faults = faults
    }
}

/// Requests to the store, since the server started.
public struct StoreStatistics: Codable, Sendable, Equatable {
    /// By `StoreVerb`, all of them.
    public var requests: [String: OperationStatistics]
    public var retries: UInt64
    /// Of bodies.
    public var bytesSent: UInt64
    public var bytesReceived: UInt64

    public init(requests: [String: OperationStatistics], retries: UInt64, bytesSent: UInt64, bytesReceived: UInt64) {
        self.requests = requests
        self.retries = retries
        self.bytesSent = bytesSent
        self.bytesReceived = bytesReceived
    }
}

/// What happened to packs since the server started.
public struct PackStatistics: Codable, Sendable, Equatable {
    public var hitFrames: UInt64
    public var missedFrames: UInt64
    public var fetchedBytes: UInt64
    public var evictedPacks: UInt64
    public var sealedPacks: UInt64
    public var sealedRawBytes: UInt64
    public var sealedStoredBytes: UInt64
    public var sealFailures: UInt64
}

/// How things are now.
public struct VolumeGauges: Codable, Sendable, Equatable {
    /// Sessions by runtime, as `SessionOrigin` names it.
    public var sessions: [String: Int] = [:]
    public var inodes: UInt64 = 0
    public var bytes: UInt64 = 0
    public var inodeLimit: UInt64?
    public var byteLimit: UInt64?
    public var cachedPacks: Int = 0
    public var cachedBytes: UInt64 = 0
    public var cacheLimit: UInt64 = 0
    public var stagedPacks: Int = 0
    public var stagedBytes: UInt64 = 0
    /// Whether something is wrong now, by part; nil where the server is older.
    public var faults: [String: Bool]?
    /// Of the server's process.
    public var residentBytes: UInt64 = 0
    public var processorSeconds: Double = 0

    public init() {}
}

/// All that a volume's server tells of itself, for `berth stats` and for Prometheus.
public struct VolumeStatistics: Codable, Sendable, Equatable {
    public var volume: String
    public var version: String
    public var processID: Int32
    /// Unix time, in seconds.
    public var startTime: Double
    /// Since the start, on a clock that does not jump.
    public var uptimeSeconds: Double
    public var requests: RequestStatistics
    public var store: StoreStatistics
    public var packs: PackStatistics
    public var commits: OperationStatistics
    public var gauges: VolumeGauges

    /// Takes the counters as they are now.
    public init(
        volume: String, version: String, processID: Int32, startTime: Double, meter: VolumeMeter, gauges: VolumeGauges
    ) {
        self.volume = volume
        self.version = version
        self.processID = processID
        self.startTime = startTime
        self.gauges = gauges
        uptimeSeconds = Double(monotonicNanoseconds() &- meter.startNanoseconds) / 1e9
        requests = meter.requests.statistics()
        store = meter.store.statistics()
        packs = meter.packs.statistics()
        commits = meter.commits.statistics(0)
    }
}
