import ArgumentParser
import FileModel
import Glibc
import LinuxSystem
import Metrics
import Volumes

struct StatsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stats",
        abstract: "Show what volumes do: requests, latencies, cache, store.",
        discussion: """
            On a terminal the picture is renewed each second until interrupted. Elsewhere one line a volume tells of the \
            time since its server started; with --interval or --count there is another line each interval. No server is \
            started for it.
            """)

    @Argument(help: "The volume; default: all that are served.")
    var name: String?

    @Flag(help: "Print once, as JSON: totals since the server started.")
    var json = false

    @Flag(help: "Print once, as Prometheus' text format.")
    var prometheus = false

    @Option(help: "Seconds between two looks.")
    var interval: Double?

    @Option(help: "How many looks.")
    var count: Int?

    func validate() throws {
        guard !json || !prometheus else { throw ValidationError("--json goes without --prometheus") }
        guard !(json || prometheus) || (interval == nil && count == nil) else {
            throw ValidationError("--json and --prometheus print once: leave --interval and --count out")
        }
        if let interval, !(0.1...86_400).contains(interval) {
            throw ValidationError("--interval takes 0.1 to 86400 seconds")
        }
        if let count, count < 1 { throw ValidationError("--count takes a number above 0") }
    }

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let collector = StatisticsCollector(site.mounts)
            let first = try look(collector)
            if json {
                let views = first.served.map(StatisticsView.init)
                if name != nil, let view = views.first { return try Output.json(view) }
                return try Output.json(views)
            }
            if prometheus {
                return try Output.write(
                    Exposition.text(first.served, unserved: first.unserved, version: Release.version))
            }
            try watch(first.served, collector)
        }
    }

    /// A volume that is named must be served.
    private func look(
        _ collector: StatisticsCollector
    ) throws(SystemFailure) -> (served: [VolumeStatistics], unserved: [String]) {
        guard let name else { return collector.all() }
        guard let found = try collector.one(try VolumeName(name)) else {
            throw SystemFailure(
                "volume \"\(name)\"", "has no server, so that nothing is counted", fix: "mount it first",
                status: .unavailable)
        }
        return ([found], [])
    }

    private func watch(_ first: [VolumeStatistics], _ collector: StatisticsCollector) throws(SystemFailure) {
        let display = StatisticsDisplay(isSingle: name != nil)
        let isTerminal = isatty(1) == 1
        let looks = count ?? (isTerminal || interval != nil ? .max : 1)
        var before: [VolumeStatistics] = []
        var now = first
        for number in 1...looks {
            try Output.write(isTerminal ? display.picture(now, since: before) : display.lines(now, since: before))
            guard number < looks else { return }
            usleep(UInt32((interval ?? 1) * 1e6))
            before = now
            // Its server may end meanwhile, and another may start.
            now = (try? look(collector).served) ?? []
        }
    }
}

/// A volume's totals, for scripts.
private struct StatisticsView: Encodable {
    struct Operation: Encodable {
        var count: UInt64
        var errors: UInt64
        var meanSeconds: Double?
        var p50Seconds: Double?
        var p99Seconds: Double?
        var p999Seconds: Double?

        init(_ operation: OperationStatistics) {
            let latency = operation.latency
            count = latency.count
            errors = operation.errors
            meanSeconds = count > 0 ? Double(latency.totalNanoseconds) / 1e9 / Double(count) : nil
            (p50Seconds, p99Seconds, p999Seconds) = (
                latency.quantile(0.5).map { $0 / 1e9 }, latency.quantile(0.99).map { $0 / 1e9 },
                latency.quantile(0.999).map { $0 / 1e9 }
            )
        }
    }

    struct Store: Encodable {
        var requests: [String: Operation]
        var retries: UInt64
        var bytesSent: UInt64
        var bytesReceived: UInt64
    }

    var volume: String
    var version: String
    /// The server's pid.
    var server: Int32
    var uptimeSeconds: Double
    var operations: [String: Operation]
    var bytesRead: UInt64
    var bytesWritten: UInt64
    var ioErrors: UInt64
    var hitRatio: Double?
    var packs: PackStatistics
    var store: Store
    var commits: Operation
    var now: VolumeGauges

    init(_ volume: VolumeStatistics) {
        self.volume = volume.volume
        version = volume.version
        server = volume.processID
        uptimeSeconds = volume.uptimeSeconds
        operations = volume.requests.operations.mapValues(Operation.init)
        bytesRead = volume.requests.bytesRead
        bytesWritten = volume.requests.bytesWritten
        ioErrors = volume.requests.faults
        hitRatio = VolumeRates(volume, since: nil).hitRatio
        packs = volume.packs
        store = Store(
            requests: volume.store.requests.mapValues(Operation.init), retries: volume.store.retries,
            bytesSent: volume.store.bytesSent, bytesReceived: volume.store.bytesReceived)
        commits = Operation(volume.commits)
        now = volume.gauges
    }
}
