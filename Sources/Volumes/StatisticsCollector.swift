import Control
import LinuxSystem
import Metrics

/// Asks the servers of a user's volumes what they counted. None is started for it.
public struct StatisticsCollector: Sendable {
    /// Of all servers together: who scrapes waits ten seconds.
    private static let totalTime = Duration.seconds(8)
    private static let serverTime = Duration.seconds(2)

    private let registry: VolumeRegistry
    private let supervisor: ServerSupervisor

    public init(_ mounts: MountService) {
        registry = mounts.registry
        supervisor = mounts.supervisor
    }

    /// What each server that answers tells, by name, and the volumes that none answers for.
    public func all() -> (served: [VolumeStatistics], unserved: [String]) {
        let deadline = Deadline(after: Self.totalTime)
        var served: [VolumeStatistics] = []
        var unserved: [String] = []
        for record in (try? registry.list().records) ?? [] {
            if !deadline.hasPassed, let found = (try? statistics(of: record.name)) ?? nil {
                served.append(found)
            } else {
                unserved.append(record.name)
            }
        }
        return (served, unserved)
    }

    /// Nil where no server runs.
    public func one(_ name: VolumeName) throws(SystemFailure) -> VolumeStatistics? {
        try statistics(of: try registry.record(name).name)
    }

    private func statistics(of volume: String) throws(SystemFailure) -> VolumeStatistics? {
        guard let client = try supervisor.running(supervisor.paths.volume(volume)) else { return nil }
        do {
            return try client.statistics(timeout: Self.serverTime)
        } catch {
            // An older server hangs up at a question that it does not know.
            throw SystemFailure(
                "volume \"\(volume)\"", "its server does not tell: \(error.cause)",
                fix: "where `berth status` shows an older version, restart it", status: .temporaryFailure)
        }
    }
}
