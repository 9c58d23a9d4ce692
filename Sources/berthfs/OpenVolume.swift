import Control
import FileModel
import Glibc
import LinuxSystem
import Logging
import Metadata
import Metrics
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
    let paths: VolumePaths
    let meter = VolumeMeter()
    let keeper: CacheKeeper
    let configuration: FileSystemConfiguration
    /// What the server must get at.
    let reach: SystemCallFilter.Reach
    let trust: SourceTrust

    /// With a legacy, what an earlier server had not committed is done again.
    init(
        _ record: VolumeRecord, _ paths: VolumePaths, _ caches: CacheSite, _ chosen: ChosenCache,
        legacy: Legacy? = nil, lease: NodeLease? = nil, machine: Identity = .oneToOne, logger: Logger
    ) throws(SystemFailure) {
        let subject = "volume \"\(record.name)\""
        let directory = paths.directory
        self.paths = paths
        try SecureDirectory.make(directory)
        // Programs wait while a session is taken over, and the store was looked at when it began.
        store = try Self.store(
            record, paths, isKnown: legacy?.isTakenOver ?? false, logger: logger, meter: meter.store)
        let (cache, share) = (chosen.directory, chosen.share)
        if let refusal = try MissingMetadata.refusal(record, paths, store) { throw refusal }
        try Self.rescue(legacy, paths)
        metadata = try Self.metadata(paths, legacy?.redo)
        legacy?.settle()
        let sources = try Self.sources(record, metadata)
        let listed = try caches.registry.adoptSources(record, sources)
        reach = listed.reach(paths)
        trust = SourceTrust(listed, known: sources)
        for closed in trust.closed {
            logger.notice(
                "a source of imported files stays closed", metadata: ["volume": "\(record.name)", "cause": "\(closed)"])
        }
        let opener = ForeignStores(reach: reach, trust: trust, meter: meter.store).opener
        do throws(Errno) {
            var packing = PackStoreConfiguration(
                stagingDirectory: paths.staging, cacheDirectory: cache,
                cacheLimit: Int(clamping: share.bytes), cacheFloor: Int(clamping: share.free),
                compression: record.packCompression, epoch: try metadata.nextEpoch(),
                baseEpoch: record.bases?.map(\.lastEpoch).max() ?? 0, bufferMemory: legacy?.buffers,
                copySeal: Self.copySeal(paths),
                meter: meter.packs, foreignOpener: opener,
                reportCache: { logger.warning("cache", metadata: ["volume": "\(record.name)", "cause": "\($0)"]) })
            packing.cacheUnasked = share.limits.unasked
            packs = try PackStore(packing, store: store)
        } catch {
            throw SystemFailure(
                subject, "staging \(paths.staging) or cache \(cache) cannot be used", error,
                fix: "make room, and make sure both are yours")
        }
        keeper = CacheKeeper(record.name, caches, packs, chosen)
        var configuration = FileSystemConfiguration(
            limits: record.limits(), trash: record.trashSettings(),
            durability: record.options.durability == .store ? .store(seconds: Self.storeSeconds) : .local,
            hasRoom: { Self.hasRoom(directory) },
            report: { logger.error("fault", metadata: ["volume": "\(record.name)", "cause": "\($0)"]) },
            commits: meter.commits)
        configuration.snapshotDirectory = paths.snapshots
        configuration.resumes = true
        if let lease { configuration.loss = { lease.loss() } }
        if let legacy { configuration.site = MachineAccounts(legacy.link, volume: record.name, logger: logger) }
        configuration.machine = machine
        self.configuration = configuration
        do {
            fileSystem = try FileSystem(
                metadata: metadata, packs: packs, configuration: configuration,
                isTakenOver: legacy?.isTakenOver ?? false)
        } catch {
            throw SystemFailure(subject, error.description, status: .dataError)
        }
    }

    /// The volume's store, looked at now, and not at the first read that misses the cache.
    static func store(
        _ record: VolumeRecord, _ paths: VolumePaths, isKnown: Bool = false, logger: Logger?,
        meter: StoreMeter = StoreMeter()
    ) throws(SystemFailure) -> any ObjectStore {
        let own = try ownStore(record, paths, isKnown, logger, meter)
        guard let bases = record.bases, !bases.isEmpty else { return own }
        var layers: [LayeredStore.Base] = []
        for base in bases {
            let store = try ownStore(
                VolumeRecord(name: try VolumeName(base.volume), createdAt: "", options: record.opened(base)),
                paths.sibling(base.volume), isKnown, logger, meter)
            layers.append(LayeredStore.Base(store: store, lastEpoch: base.lastEpoch))
        }
        return LayeredStore(own: own, bases: layers)
    }

    private static func ownStore(
        _ record: VolumeRecord, _ paths: VolumePaths, _ isKnown: Bool, _ logger: Logger?, _ meter: StoreMeter
    ) throws(SystemFailure) -> any ObjectStore {
        switch record.place(paths) {
        case .directory(let root):
            if !isKnown {
                try StoreTrust.judge(
                    root, isShared: record.options.isStoreShared == true, volume: record.name)
            }
            return try directoryStore(root, isKnown, meter)
        case .bucket:
            let bucket = try Bucket(record, meter: meter)
            return isKnown ? bucket.store : try bucket.open(logger: logger)
        }
    }

    private static func directoryStore(
        _ root: String, _ isKnown: Bool, _ meter: StoreMeter
    ) throws(SystemFailure) -> DirectoryStore {
        if isKnown { return DirectoryStore(knownRoot: root, meter: meter) }
        let fix = "mount its file system, or make it yours again"
        do {
            let store = try DirectoryStore(root: root, meter: meter)
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

    /// What the kernels of the sessions may have cached and what is not so: where there are several, what one changed
    /// and the others were not told of; where acknowledged changes are lost, these. Nil where all is well.
    func distrusted(_ legacy: Legacy) -> Set<InodeID>? {
        let sessions = legacy.link.names.count { $0.hasPrefix(Handover.sessionPrefix) }
        guard sessions > 1 || !metadata.redone.isWhole else { return nil }
        return metadata.recentInodes()
    }

    /// File data first: what is done again names it, and is committed with the next epoch.
    private static func rescue(_ legacy: Legacy?, _ paths: VolumePaths) throws(SystemFailure) {
        guard let legacy, legacy.hasBuffers, let buffers = legacy.buffers else { return }
        try explaining(paths.staging, "what the last server left cannot be written") { () throws(Errno) in
            try StagingRescue.run(buffers, staging: paths.staging)
        }
    }

    private static func sources(
        _ record: VolumeRecord, _ metadata: SQLiteMetadataStore
    ) throws(SystemFailure) -> [ForeignSource] {
        do {
            return try metadata.transaction { transaction throws(Errno) in try transaction.sources() }
        } catch {
            throw SystemFailure("volume \"\(record.name)\"", "its metadata cannot be read", error, status: .dataError)
        }
    }

    static func metadata(_ paths: VolumePaths, _ redo: RedoLog? = nil) throws(SystemFailure) -> SQLiteMetadataStore {
        do {
            return try SQLiteMetadataStore(path: paths.database, redo: redo)
        } catch {
            throw SystemFailure("volume \"\(paths.name)\"", error.description, status: .dataError)
        }
    }

    /// The volume's key for its copies; a new one where it has none, or none that can be kept: copies are proved anew then.
    private static func copySeal(_ paths: VolumePaths) -> CopySeal {
        let found = (try? AtomicFile.read(paths.copyKey, limit: CopySeal.keyBytes)) ?? nil
        if let seal = found.flatMap({ CopySeal(bytes: $0) }) { return seal }
        let seal = CopySeal.random()
        try? AtomicFile.replace(paths.copyKey, seal.bytes)
        return seal
    }

    /// What fsync and close wait for the store at most, where they do.
    private static let storeSeconds = 120.0

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
    /// Snapshots whose copies did not come along are gone, and hold nothing any more: answers their names.
    static func passOver(
        _ database: String, snapshots: String, generation: UInt32? = nil, knownEpoch: UInt32 = 0
    ) throws(SystemFailure) -> [String] {
        do {
            let metadata = try SQLiteMetadataStore(path: database)
            try metadata.passOverEpochs(by: epochDistance, known: knownEpoch)
            let lost = try metadata.transaction { transaction throws(Errno) in
                let lost = try transaction.holds().filter {
                    $0.kind == .snapshot && access("\(snapshots)/\($0.name).db", F_OK) != 0
                }
                for hold in lost { try transaction.removeHold(hold.id) }
                return lost.map(\.name)
            }
            if let generation {
                try metadata.transaction { transaction throws(Errno) in
                    try transaction.setSetting(generationKey, to: "\(generation)")
                }
            }
            try metadata.commit(prepare: {})
            try metadata.close()
            return lost
        } catch {
            throw SystemFailure(database, "cannot be settled: \(error)", status: .dataError)
        }
    }

    /// What the metadata keeps for itself: the log that two checkpoints may hold, and the writes of one commit
    /// interval. A small disk is asked for a twentieth.
    private static let reservedBytes: UInt64 = 256 << 20

    private static func hasRoom(_ directory: String) -> Bool {
        guard let room = DiskRoom(of: directory) else { return true }
        return room.free >= min(reservedBytes, room.total / 20)
    }
}
