import Control
import FileModel
import Glibc
import LinuxSystem

/// Removing volumes: for good, as their user says, or into the trash of volumes, as a container engine says.
extension MountService {
    public var trash: VolumeTrash { VolumeTrash(registry) }

    /// Removes a volume and its data; with `keepData` what is in a store that was named stays there. Refused while it is mounted
    /// anywhere.
    public func remove(_ name: VolumeName, keepData: Bool = false) throws(SystemFailure) {
        let record = try registry.record(name)
        let volume = registry.paths.volume(record.name)
        try withdraw(name)
        // While the volume is still there: where the bucket cannot be had, nothing is lost track of.
        if case .bucket = record.place(volume), !keepData { try supervisor.askBucket("clear", volume.record) }
        try registry.remove(record, caches: try cachePlaces(of: record).existing, keepData: keepData)
        try forget(record)
        release(record)
    }

    /// What an engine removes is kept as long as its user set (`volume-trash`), all of it; nothing is done to a store.
    public func discard(_ name: VolumeName, now: Int64) throws(SystemFailure) {
        let record = try registry.record(name)
        try withdraw(name)
        let caches = (try? cachePlaces(of: record).existing) ?? []
        let entry = try trash.take(record, now: now)
        for cache in caches { FileTree.remove(cache) }
        unlink(registry.paths.volume(record.name).startLock)
        try forget(record)
        if keptSeconds == 0, entry.mayExpire { _ = try removeForGood(entry, keepData: true) }
    }

    /// Brings back a volume that an engine removed.
    public func restore(
        _ name: VolumeName, id: String?, as other: VolumeName?
    ) throws(SystemFailure) -> VolumeRecord {
        try trash.restore(try trash.entry(name, id: id), as: other)
    }

    /// Removes a volume that an engine removed, and its data, but for `keepData` of a named store. What a volume that is there
    /// has at the same place stays. Returns whether the data of a named store is left.
    public func removeForGood(_ entry: VolumeTrash.Entry, keepData: Bool) throws(SystemFailure) -> Bool {
        let place = entry.record.place(registry.paths.volume(entry.record.name))
        let isTaken = try registry.list().records.contains { other in
            other.options.store != nil && other.place(registry.paths.volume(other.name)) == place
        }
        let isKept = entry.record.options.store != nil && (keepData || isTaken)
        if case .bucket = place, !isKept { try supervisor.askBucket("clear", "\(entry.directory)/volume.json") }
        try registry.remove(entry.record, at: entry.directory, caches: [], keepData: isKept)
        trash.forget(entry)
        release(entry.record)
        return isKept
    }

    /// Removes what has been in the trash of volumes for as long as the user set. Returns the names, and what could not be.
    public func expireRemoved(now: Int64) -> (names: [String], failures: [SystemFailure]) {
        var names: [String] = []
        var failures: [SystemFailure] = []
        let limit = Int64(clamping: keptSeconds)
        for entry in (try? trash.list())?.entries ?? [] where entry.mayExpire {
            let (end, isFar) = entry.removedAt.addingReportingOverflow(limit)
            guard !isFar, end <= now else { continue }
            do throws(SystemFailure) {
                _ = try removeForGood(entry, keepData: true)
                names.append(entry.record.name)
            } catch {
                failures.append(error)
            }
        }
        return (names, failures)
    }

    /// How long what an engine removes is kept; 0: not at all.
    private var keptSeconds: UInt64 {
        // Settings that cannot be read must not throw volumes away.
        ((try? UserSettings.load(registry.paths)) ?? UserSettings()).volumeTrash
    }

    /// Sees to it that nobody uses a volume, its server included. Refused while it is mounted anywhere.
    private func withdraw(_ name: VolumeName) throws(SystemFailure) {
        let volume = registry.paths.volume(name.description)
        try refuseWhileCloned(name)
        endIdleHookMounts(volume)
        try refuseWhileInUse(volume)
        try stopServer(volume)
    }

    private func forget(_ record: VolumeRecord) throws(SystemFailure) {
        try PathMap(registry).forget(record.name)
        rmdir(registry.paths.volume(record.name).podmanHolder)
    }
}
