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
    /// What data may take of a deadline that is for it and for the metadata.
    private static let dataShare = 0.75

    /// Has a volume's server put all into the store, and a copy of the metadata, until the deadline. `show` is told what is
    /// left. Answers that, or nil where no server runs.
    public func drain(
        _ volume: VolumePaths, until deadline: Deadline, show: (StagedTotal) -> Void = { _ in }
    ) throws(SystemFailure) -> StagedTotal? {
        guard let client = try supervisor.running(volume) else { return nil }
        let whole = deadline.remainingMilliseconds
        // Who does not wait sets no bound.
        var order = CopyOrder(dataSeconds: whole > 0 ? Double(whole) / 1000 * Self.dataShare : nil)
        while true {
            let left = deadline.remainingMilliseconds
            let seconds = left < 0 ? Self.drainStep : min(Self.drainStep, Double(left) / 1000)
            let request = ServerRequest.store(seconds: seconds, copy: order)
            guard case .staged(let total) = try client.ask(request, timeout: .seconds(60)) else {
                throw client.confused
            }
            show(total)
            if total.isSettled || deadline.hasPassed { return total }
            // One that failed while data is on its way is asked for again.
            order.change = nil
            if case .copying(let change) = total.metadata { order.change = change }
        }
    }

    /// What the store has not got of a volume that no server has open.
    public func leftBehind(by record: VolumeRecord) -> StagedTotal {
        let staged = StagedData(registry.paths.volume(record.name))
        var total = StagedTotal(packs: staged.packs, bytes: staged.bytes, failure: nil)
        total.metadata = copyState(of: record)
        return total
    }

    /// What is known of the copy of the metadata of a volume that no server has open; nil where none is ever made.
    private func copyState(of record: VolumeRecord) -> MetadataCopyState? {
        guard record.options.store != nil else { return nil }
        guard record.copyInterval != nil else { return .off }
        let volume = registry.paths.volume(record.name)
        // A volume that was never opened has nothing to be copied.
        guard access(volume.database, F_OK) == 0, access(volume.copiedMark, F_OK) != 0 else { return .copied }
        return .failed("see \(volume.log)")
    }
}
