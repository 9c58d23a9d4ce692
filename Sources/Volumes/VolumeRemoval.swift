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
        let lock = try withdraw(name)
        // While the volume is still there: where the bucket cannot be had, nothing is lost track of.
        if case .bucket = record.place(volume), !keepData { try supervisor.askBucket("clear", volume.record) }
        try registry.remove(record, caches: try cachePlaces(of: record).existing, keepData: keepData)
        lock.remove()
        try forget(record)
        release(record)
    }

    /// What an engine removes is kept as long as its user set (`volume-trash`), all of it; nothing is done to a store.
    public func discard(_ name: VolumeName, now: Int64) throws(SystemFailure) {
        let record = try registry.record(name)
        let lock = try withdraw(name)
        let caches = (try? cachePlaces(of: record).existing) ?? []
        let entry = try trash.take(record, now: now)
        lock.remove()
        for cache in caches { FileTree.remove(cache) }
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
        let isTaken = try isInUse(place)
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
        guard let keptSeconds else { return ([], []) }
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

    /// Whether a volume that is there has its data at a place. One whose record cannot be read may have.
    private func isInUse(_ place: StorePlace) throws(SystemFailure) -> Bool {
        let listed = try registry.list()
        guard listed.failures.isEmpty else { return true }
        return listed.records.contains { other in
            guard other.options.store != nil else { return false }
            let theirs = other.place(registry.paths.volume(other.name))
            if case .directory(let one) = place, case .directory(let two) = theirs {
                return one == two || Self.isSame(one, two)
            }
            return theirs == place
        }
    }

    /// Whichever links lead there.
    private static func isSame(_ one: String, _ two: String) -> Bool {
        guard let first = FileMark(followingLinks: one) else { return false }
        return first == FileMark(followingLinks: two)
    }

    /// How long what an engine removes is kept; 0: not at all; nil where the settings cannot be read, which must not throw
    /// volumes away.
    private var keptSeconds: UInt64? { (try? UserSettings.load(registry.paths))?.volumeTrash }

    /// Sees to it that nobody uses a volume, its server included, and that none starts while the lock is held. Refused while it is
    /// mounted anywhere, or served on another node.
    private func withdraw(_ name: VolumeName) throws(SystemFailure) -> FileLock {
        let volume = registry.paths.volume(name.description)
        try refuseWhileCloned(name)
        endIdleHookMounts(volume)
        try refuseWhileInUse(volume)
        try stopServer(volume)
        try registry.paths.prepare()
        guard let lock = try FileLock.take(volume.startLock, until: Deadline(after: .seconds(10))),
            try supervisor.running(volume) == nil
        else {
            throw SystemFailure(
                "volume \"\(name)\"", "is being mounted", fix: "unmount it, and try again", errno: .busy,
                status: .temporaryFailure)
        }
        try NodeLease.refuseElsewhere(volume.lock, volume: volume.name)
        return lock
    }

    private func forget(_ record: VolumeRecord) throws(SystemFailure) {
        try PathMap(registry).forget(record.name)
        rmdir(registry.paths.volume(record.name).podmanHolder)
    }
}
