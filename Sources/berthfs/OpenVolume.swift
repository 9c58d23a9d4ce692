import FileModel
import Glibc
import LinuxSystem
import Logging
import Metadata
import ObjectStorage
import Packs
import SQLiteMetadata
import Sandbox
import VFS
import Volumes

/// Opens a volume's parts and puts them together. Errors name the part and what to do.
struct OpenVolume {
    let store: any ObjectStore
    let metadata: SQLiteMetadataStore
    let packs: PackStore
    let fileSystem: FileSystem
    let configuration: FileSystemConfiguration
    /// What the server must get at.
    let reach: SystemCallFilter.Reach

    init(_ record: VolumeRecord, _ paths: VolumePaths, logger: Logger) throws(SystemFailure) {
        let subject = "volume \"\(record.name)\""
        let directory = paths.directory
        store = try Self.store(record, paths, logger: logger)
        let cache = record.cache(paths)
        // Copies are proved before use, but they can be read: nobody else may enter, or have made it.
        try SecureDirectory.make(cache)
        metadata = try Self.metadata(paths)
        reach = try Self.reach(record, paths, metadata)
        let opener = ForeignStores(reach: reach).opener
        do throws(Errno) {
            packs = try PackStore(
                PackStoreConfiguration(
                    stagingDirectory: paths.staging, cacheDirectory: cache,
                    cacheLimit: Self.cacheLimit(cache, record.options.cacheSize),
                    compression: record.packCompression, epoch: try Self.nextEpoch(metadata),
                    baseEpoch: record.bases?.map(\.lastEpoch).max() ?? 0,
                    foreignOpener: opener),
                store: store)
        } catch {
            throw SystemFailure(
                subject, "staging \(paths.staging) or cache \(cache) cannot be used", error,
                fix: "make room, and make sure both are yours")
        }
        var settings = FileSystemConfiguration(
            sizeLimit: record.options.size, inodeLimit: record.options.inodes, trash: record.trashSettings(),
            hasRoom: { Self.hasRoom(directory) },
            report: { logger.error("fault", metadata: ["volume": "\(record.name)", "cause": "\($0)"]) })
        settings.snapshotDirectory = paths.snapshots
        configuration = settings
        do {
            fileSystem = try FileSystem(metadata: metadata, packs: packs, configuration: settings)
        } catch {
            throw SystemFailure(subject, error.description, status: .dataError)
        }
    }

    /// The volume's store, looked at now, and not at the first read that misses the cache.
    static func store(_ record: VolumeRecord, _ paths: VolumePaths, logger: Logger?) throws(SystemFailure)
        -> any ObjectStore
    {
        let own = try ownStore(record, paths, logger)
        guard let bases = record.bases, !bases.isEmpty else { return own }
        var layers: [LayeredStore.Base] = []
        for base in bases {
            let store = try ownStore(
                VolumeRecord(name: try VolumeName(base.volume), createdAt: "", options: base.options),
                paths.sibling(base.volume), logger)
            layers.append(LayeredStore.Base(store: store, lastEpoch: base.lastEpoch))
        }
        return LayeredStore(own: own, bases: layers)
    }

    private static func ownStore(
        _ record: VolumeRecord, _ paths: VolumePaths, _ logger: Logger?
    ) throws(SystemFailure) -> any ObjectStore {
        switch record.place(paths) {
        case .directory(let root): try directoryStore(root)
        case .bucket: try Bucket(record).open(logger: logger)
        }
    }

    private static func directoryStore(_ root: String) throws(SystemFailure) -> DirectoryStore {
        let fix = "mount its file system, or make it yours again"
        do {
            let store = try DirectoryStore(root: root)
            guard access(root, R_OK | W_OK | X_OK) == 0 else {
                throw SystemFailure("store \(root)", "cannot be used", .current, fix: fix, status: .unavailable)
            }
            return store
        } catch let error as SystemFailure {
            throw error
        } catch {
            throw SystemFailure("store \(root)", "cannot be used: \(error)", fix: fix, status: .unavailable)
        }
    }

    /// A volume whose metadata came from elsewhere may have imported from buckets; its next server gets keys, too.
    private static func reach(
        _ record: VolumeRecord, _ paths: VolumePaths, _ metadata: SQLiteMetadataStore
    ) throws(SystemFailure) -> SystemCallFilter.Reach {
        guard record.reach(paths) == .files else { return .network }
        let sources: [ForeignSource]
        do {
            sources = try metadata.transaction { transaction throws(Errno) in try transaction.sources() }
        } catch {
            throw SystemFailure("volume \"\(record.name)\"", "its metadata cannot be read", error, status: .dataError)
        }
        guard sources.contains(where: { !$0.url.hasPrefix(ForeignStores.fileScheme) }) else { return .files }
        try VolumeRegistry(paths: SitePaths(environment: ProcessEnvironment.current())).noteBuckets(record)
        return .network
    }

    static func metadata(_ paths: VolumePaths) throws(SystemFailure) -> SQLiteMetadataStore {
        do {
            return try SQLiteMetadataStore(path: paths.database)
        } catch {
            throw SystemFailure("volume \"\(paths.name)\"", error.description, status: .dataError)
        }
    }

    /// A number that no earlier opening had, durable before the first pack carries it.
    private static func nextEpoch(_ metadata: SQLiteMetadataStore) throws(Errno) -> UInt32 {
        let epoch = try metadata.transaction { transaction throws(Errno) in
            let epoch = (try transaction.setting(epochKey).flatMap { UInt32($0) } ?? 0) + 1
            // Further numbers are those of foreign objects.
            guard epoch < PackID.firstForeignEpoch else { throw .outOfRange }
            try transaction.setSetting(epochKey, to: "\(epoch)")
            return epoch
        }
        try metadata.commit(prepare: {})
        try metadata.synchronize()
        return epoch
    }

    static let epochKey = "epoch"
    /// How often the volume was recovered from its store.
    static let generationKey = "generation"

    func generation(_ paths: VolumePaths) throws(SystemFailure) -> UInt32 {
        do {
            return try metadata.transaction { transaction throws(Errno) in
                try transaction.setting(Self.generationKey).flatMap { UInt32($0) } ?? 0
            }
        } catch {
            throw SystemFailure(paths.database, "cannot be read", error)
        }
    }

    /// Far past what a machine that has the same store can have used of its own.
    private static let epochDistance: UInt32 = 1 << 16

    /// Metadata that came from elsewhere: packs that are made from now on must never have the name of one that is, or may
    /// still be, made there.
    static func passOver(_ database: String, generation: UInt32? = nil) throws(SystemFailure) {
        do {
            let metadata = try SQLiteMetadataStore(path: database)
            try metadata.transaction { transaction throws(Errno) in
                let epochs = try transaction.packs().map(\.id.epoch)
                let epoch = max(epochs.max() ?? 0, try transaction.setting(epochKey).flatMap { UInt32($0) } ?? 0)
                try transaction.setSetting(epochKey, to: "\(epoch + epochDistance)")
                if let generation { try transaction.setSetting(generationKey, to: "\(generation)") }
            }
            try metadata.commit(prepare: {})
            try metadata.close()
        } catch {
            throw SystemFailure(database, "cannot be settled: \(error)", status: .dataError)
        }
    }

    /// What the metadata keeps for itself: the log that two checkpoints may hold, and the writes of one commit
    /// interval. A small disk is asked for a twentieth.
    private static let reservedBytes: UInt64 = 256 << 20

    private static func hasRoom(_ directory: String) -> Bool {
        var status = statvfs()
        guard statvfs(directory, &status) == 0 else { return true }
        let unit = UInt64(status.f_frsize)
        return UInt64(status.f_bavail) * unit >= min(reservedBytes, UInt64(status.f_blocks) * unit / 20)
    }

    /// What the user chose; else 16 GiB, and never more than a quarter of what is free: the file system holds other things, too.
    private static func cacheLimit(_ directory: String, _ chosen: UInt64?) -> Int {
        if let chosen { return Int(clamping: chosen) }
        let most = 16 << 30
        var status = statvfs()
        let parent = directory.split(separator: "/").dropLast().joined(separator: "/")
        guard statvfs("/" + parent, &status) == 0 else { return most / 4 }
        return min(most, Int(clamping: UInt64(status.f_bavail) * UInt64(status.f_frsize) / 4))
    }
}
