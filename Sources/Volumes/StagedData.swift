import Control
import FileModel
import Glibc
import LinuxSystem

/// What a volume has in staging on this machine.
public struct StagedData: Equatable, Sendable {
    public var packs: Int
    public var bytes: UInt64

    /// As the files of staging tell, for a volume that no server has open.
    public init(_ volume: VolumePaths) { self.init(staging: volume.staging) }

    init(staging: String) {
        packs = 0
        bytes = 0
        for name in (try? FileTree.names(in: staging)) ?? [] where name.hasSuffix(".raw") {
            var status = stat()
            guard lstat("\(staging)/\(name)", &status) == 0, status.st_size > 0 else { continue }
            packs += 1
            bytes += UInt64(status.st_size)
        }
    }
}

extension MountService {
    /// The volumes of this user that are mounted at a directory, or served at all.
    public func servedVolumes(mountedAt directory: String?) throws(SystemFailure) -> [VolumePaths] {
        if let directory {
            let mount = MountInfo.at(Self.mountedPath(directory), in: try MountInfo.all())
            let name = mount.flatMap { Self.volume(of: $0) }.flatMap { try? VolumeName($0) }
            return name.map { [registry.paths.volume($0.description)] } ?? []
        }
        var found: [VolumePaths] = []
        for record in try registry.list().records {
            let volume = registry.paths.volume(record.name)
            if try supervisor.running(volume) != nil { found.append(volume) }
        }
        return found
    }

    /// The longest that a server is asked to wait in one request.
    private static let drainStep = 2.0

    /// Has a volume's server put all into the store until the deadline. `show` is told what is left. Answers that, or nil
    /// where no server runs.
    public func drain(
        _ volume: VolumePaths, until deadline: Deadline, show: (StagedTotal) -> Void = { _ in }
    ) throws(SystemFailure) -> StagedTotal? {
        guard let client = try supervisor.running(volume) else { return nil }
        while true {
            let left = deadline.remainingMilliseconds
            let seconds = left < 0 ? Self.drainStep : min(Self.drainStep, Double(left) / 1000)
            guard case .staged(let total) = try client.ask(.store(seconds: seconds), timeout: .seconds(60)) else {
                throw client.confused
            }
            show(total)
            if total.packs == 0 || deadline.hasPassed { return total }
        }
    }
}
