import Control
import FileModel
import LinuxSystem

/// Changing a volume that is there, and looking after its cache without a server.
extension MountService {
    public var cacheSite: CacheSite { CacheSite(registry, environment: environment) }

    public func cachePlaces(of record: VolumeRecord) throws(SystemFailure) -> CachePlaces {
        cacheSite.places(record, try UserSettings.load(registry.paths))
    }

    /// Changes options. A running server takes up new bounds within seconds; a new `cache-dir` needs the volume unmounted,
    /// and the copies in the old one go.
    public func change(_ name: VolumeName, _ words: [String]) throws(SystemFailure) -> VolumeRecord {
        let old = try registry.record(name)
        var new = old
        for word in words { try new.options.change(word) }
        if new.options.cacheDirectory != old.options.cacheDirectory {
            try cachePlaces(of: new).judge()
            let volume = registry.paths.volume(old.name)
            try refuseWhileInUse(volume)
            try stopServer(volume)
        }
        let (before, after) = (try cachePlaces(of: old).existing, try cachePlaces(of: new).existing)
        new = try registry.change(name) { record throws(SystemFailure) in
            for word in words { try record.options.change(word) }
        }
        for directory in before where !after.contains(directory) { FileTree.remove(directory) }
        try supervisor.running(registry.paths.volume(new.name))?.ask(.reload, timeout: .seconds(10))
        return new
    }

    /// Drops the copies of a volume that no server has open. Nil where one runs: it must be asked.
    public func clearCache(
        _ record: VolumeRecord, pinnedToo: Bool
    ) throws(SystemFailure) -> (packs: Int, bytes: UInt64, pinned: Int)? {
        let volume = registry.paths.volume(record.name)
        if try supervisor.running(volume) != nil { return nil }
        try registry.paths.prepare()
        // No server starts meanwhile. One that does all the same, elsewhere, loses copies and no data.
        return try FileLock.holding(volume.startLock, within: .seconds(10)) { () throws(SystemFailure) in
            if try supervisor.running(volume) != nil { return nil }
            var sum = (packs: 0, bytes: UInt64(0), pinned: 0)
            for directory in try cachePlaces(of: record).existing {
                let gone = try CacheDirectory.clear(directory, pinnedToo: pinnedToo)
                sum = (sum.packs + gone.packs, sum.bytes + gone.bytes, sum.pinned + gone.pinned)
            }
            return sum
        }
    }
}
