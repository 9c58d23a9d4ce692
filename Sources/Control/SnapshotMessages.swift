/// What is asked of a volume's server about snapshots and clones.
public enum SnapshotRequest: Codable, Sendable, Equatable {
    case create(name: String)
    case list
    case remove(name: String)
    /// The whole volume becomes what the snapshot holds. Nobody may use it.
    case restoreAll(name: String)
    /// Paths from the root, as bytes without a slash at their ends.
    case restore(name: String, path: [UInt8], target: [UInt8], replaces: Bool)
    /// Write the metadata of a volume that shares the packs to a new file at `path`, and hold the packs for it.
    case clone(volume: String, snapshot: String?, path: String)
    /// A clone is gone.
    case release(volume: String)
}

/// A snapshot, or a clone, of a volume.
public struct HeldView: Codable, Sendable, Equatable {
    public var name: String
    public var isClone: Bool
    /// Seconds since 1970.
    public var created: Int64
    /// Of the volume at that moment.
    public var files: UInt64
    public var bytes: UInt64
    /// Where a snapshot is mounted now.
    public var mountpoints: [String]

    public init(name: String, isClone: Bool, created: Int64, files: UInt64, bytes: UInt64, mountpoints: [String]) {
        self.name = name
        self.isClone = isClone
        self.created = created
        self.files = files
        self.bytes = bytes
        self.mountpoints = mountpoints
    }
}

public enum SnapshotReply: Codable, Sendable, Equatable {
    case done
    case list([HeldView])
    case restored(files: UInt64, bytes: UInt64)
    /// Packs up to this epoch are the original's.
    case cloned(lastEpoch: UInt32)
}

/// What a collection did, or would do. The lines about single packs go into the file that came with the request.
public struct CollectionSummary: Codable, Sendable, Equatable {
    public var isDryRun: Bool
    public var packs = 0
    public var kept = 0
    public var toCompact = 0
    public var toDelete = 0
    /// Bytes of the store's objects before, of those that the metadata names.
    public var storedBytes: UInt64 = 0
    /// Bytes that extents name.
    public var liveBytes: UInt64 = 0
    public var movedBytes: UInt64 = 0
    public var deletedPacks = 0
    /// Packs that go once the metadata was copied into the store.
    public var waitingPacks = 0
    public var unnamedObjects = 0
    public var deletedObjects = 0
    public var freedBytes: UInt64 = 0
    /// Files of the cache, and of puts that never ended, that were removed.
    public var leftovers = 0
    public var failures: [String] = []

    public init(isDryRun: Bool) {
        self.isDryRun = isDryRun
    }
}

/// One line of a collection: a pack, or an object that nothing names.
public struct CollectionLine: Codable, Sendable, Equatable {
    public var pack: String
    /// Bytes of the object; 0 while it is in staging.
    public var stored: UInt64
    public var raw: UInt64
    public var live: UInt64
    /// keep, compact or delete.
    public var action: String
    public var reason: String

    public init(pack: String, stored: UInt64, raw: UInt64, live: UInt64, action: String, reason: String) {
        self.pack = pack
        self.stored = stored
        self.raw = raw
        self.live = live
        self.action = action
        self.reason = reason
    }
}
