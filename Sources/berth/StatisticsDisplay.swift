import LinuxSystem
import Metrics

/// Statistics as people read them.
struct StatisticsDisplay {
    private static let clearScreen = "\u{1B}[H\u{1B}[2J"
    private static let quantiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)]
    /// More do not fit beside the rest on a terminal of 24 lines.
    private static let operationLimit = 14

    let isSingle: Bool

    // MARK: Lines

    func lines(_ now: [VolumeStatistics], since before: [VolumeStatistics]) -> String {
        guard !now.isEmpty else { return "\(Output.timestamp()) nothing is served\n" }
        return now.map { volume in
            let rates = Self.rates(volume, before)
            let latencies = Self.quantiles.map { "\($0.0) \(Self.time(rates.latency.quantile($0.1)))" }
            let words =
                [
                    "requests \(Self.number(rates.perSecond))/s", "errors \(Self.number(rates.errorsPerSecond))/s",
                    "hits \(Self.share(rates.hitRatio))", "read \(Self.rate(rates.bytesRead))",
                    "written \(Self.rate(rates.bytesWritten))", "up \(Self.rate(rates.bytesSent))",
                    "down \(Self.rate(rates.bytesReceived))", "staged \(Output.bytes(volume.gauges.stagedBytes))",
                ] + latencies
            return "\(Output.timestamp()) \(volume.volume): \(words.joined(separator: ", "))\n"
        }.joined()
    }

    // MARK: Pictures

    func picture(_ now: [VolumeStatistics], since before: [VolumeStatistics]) -> String {
        guard !now.isEmpty else { return Self.clearScreen + "nothing is served\n" }
        return Self.clearScreen + (isSingle ? now.map { single($0, before) }.joined() : overview(now, before))
    }

    private func overview(_ now: [VolumeStatistics], _ before: [VolumeStatistics]) -> String {
        let head =
            ["volume", "requests/s", "errors/s", "hits", "read", "written", "up", "down", "staged"]
            + Self.quantiles.map(\.0)
        let rows = now.map { volume -> [String] in
            let rates = Self.rates(volume, before)
            return [
                volume.volume, Self.number(rates.perSecond), Self.number(rates.errorsPerSecond),
                Self.share(rates.hitRatio), Self.rate(rates.bytesRead), Self.rate(rates.bytesWritten),
                Self.rate(rates.bytesSent), Self.rate(rates.bytesReceived), Output.bytes(volume.gauges.stagedBytes),
            ] + Self.quantiles.map { Self.time(rates.latency.quantile($0.1)) }
        }
        return Output.columns([head] + rows)
    }

    private func single(_ volume: VolumeStatistics, _ before: [VolumeStatistics]) -> String {
        let rates = Self.rates(volume, before)
        let now = volume.gauges
        let sessions = now.sessions.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
        let latencies = Self.quantiles.map { "\($0.0) \(Self.time(rates.latency.quantile($0.1)))" }
        let failures = volume.store.requests.values.reduce(0) { $0 + $1.errors }
        let summary = [
            ["volume", "\(volume.volume), served by pid \(volume.processID) (\(volume.version))"],
            ["sessions", sessions.isEmpty ? "none" : sessions.joined(separator: ", ")],
            [
                "holds",
                "\(now.inodes) files\(Self.limit(now.inodeLimit.map { "\($0)" })), "
                    + "\(Output.bytes(now.bytes))\(Self.limit(now.byteLimit.map(Output.bytes)))",
            ],
            [
                "requests",
                "\(Self.number(rates.perSecond))/s, errors \(Self.number(rates.errorsPerSecond))/s, "
                    + latencies.joined(separator: ", "),
            ],
            ["data", "read \(Self.rate(rates.bytesRead)), written \(Self.rate(rates.bytesWritten))"],
            [
                "cache",
                "hits \(Self.share(rates.hitRatio)), \(now.cachedPacks) packs, "
                    + "\(Output.bytes(now.cachedBytes)) of \(Output.bytes(now.cacheLimit))",
            ],
            [
                "store",
                "up \(Self.rate(rates.bytesSent)), down \(Self.rate(rates.bytesReceived)), "
                    + "\(Self.number(rates.storeRequests)) requests/s; in all \(failures) errors, \(volume.store.retries) retries",
            ],
            ["staged", "\(now.stagedPacks) packs, \(Output.bytes(now.stagedBytes))"],
            ["server", "\(Output.bytes(now.residentBytes)) of memory"],
        ]
        let head = ["operation", "/s", "errors/s"] + Self.quantiles.map(\.0)
        let rows = rates.operations.prefix(Self.operationLimit).map { operation in
            [operation.name, Self.number(operation.perSecond), Self.number(operation.errorsPerSecond)]
                + Self.quantiles.map { Self.time(operation.latency.quantile($0.1)) }
        }
        return Output.columns(summary) + "\n" + Output.columns([head] + rows)
    }

    // MARK: Words

    private static func rates(_ volume: VolumeStatistics, _ before: [VolumeStatistics]) -> VolumeRates {
        VolumeRates(volume, since: before.first { $0.volume == volume.volume })
    }

    private static func limit(_ text: String?) -> String { text.map { " of \($0)" } ?? "" }

    /// With a decimal below ten.
    private static func number(_ value: Double) -> String {
        value > 0 && value < 10 ? "\((value * 10).rounded() / 10)" : "\(UInt64(clamping: value))"
    }

    private static func rate(_ bytesPerSecond: Double) -> String {
        Output.bytes(UInt64(clamping: bytesPerSecond)) + "/s"
    }

    private static func share(_ ratio: Double?) -> String {
        ratio.map { "\(($0 * 1000).rounded() / 10) %" } ?? "-"
    }

    private static func time(_ nanoseconds: Double?) -> String {
        guard let nanoseconds else { return "-" }
        for (unit, size) in [("s", 1e9), ("ms", 1e6)] where nanoseconds >= size {
            return "\((nanoseconds / size * 10).rounded() / 10) \(unit)"
        }
        return "\(UInt64(clamping: nanoseconds / 1e3)) µs"
    }
}
