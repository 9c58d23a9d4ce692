import CSimulation
import FileModel
import LinuxSystem
import Metadata
import MetadataCopies
import ObjectStorage
import Packs
import SQLiteMetadata
import Synchronization
import TestSupport
import VFS

/// Where one history keeps its files.
struct SimulatedPlace: Sendable {
    let root: String
    /// Memory that a server leaves to the next, as long as its keeper lives.
    var legacy: VolumeLegacy
    var clock = SimulatedClock(ahead: 0)

    var disk: String { root + "/disk" }
    var durable: String { root + "/durable" }
    var bucket: String { root + "/bucket" }
    var database: String { disk + "/meta.db" }
    var staging: String { disk + "/staging" }
    var cache: String { disk + "/cache" }
    var copy: String { disk + "/copy.db" }
    /// Outside of the simulated disk: another machine's, and somebody else's files.
    var recovery: String { root + "/recovery" }
    var source: String { root + "/source" }

    /// What the file of `source` holds.
    static let adopted = [UInt8](repeating: 0x41, count: 150_000)

    func clone(_ name: String) -> String { disk + "/clone-\(name).db" }

    func store(_ plan: LifePlan) throws(ObjectStoreError) -> any ObjectStore {
        plan.storesOnDisk
            ? try DirectoryStore(root: disk + "/store") : SimulatedStore(root: bucket, clock: clock, plan: plan.bucket)
    }

    var opener: ForeignOpener {
        { _ throws(ObjectStoreError) -> any ForeignStore in ForeignDirectory(root: source) }
    }
}

/// The parts of a volume, put together as its server does it.
final class SimulatedVolume {
    let place: SimulatedPlace
    let metadata: SQLiteMetadataStore
    let packs: PackStore
    let fileSystem: FileSystem
    let configuration: FileSystemConfiguration
    let caller: Caller
    /// Where the metadata is copied into the bucket.
    let copier: CopyWriter?

    init(
        _ place: SimulatedPlace, _ plan: LifePlan, _ traits: VolumeTraits, report: @escaping @Sendable (String) -> Void
    ) throws {
        self.place = place
        let store = try place.store(plan)
        try StagingRescue.run(place.legacy.buffers, staging: place.staging)
        metadata = try SQLiteMetadataStore(path: place.database, redo: RedoLog(place.legacy.redo, slots: nil))
        packs = try PackStore(
            PackStoreConfiguration(
                stagingDirectory: place.staging, cacheDirectory: place.cache, cacheLimit: plan.cacheLimit,
                compression: .zstd, epoch: try metadata.nextEpoch(), bufferMemory: place.legacy.buffers,
                foreignOpener: place.opener), store: store)
        var configuration = FileSystemConfiguration(
            trash: TrashSettings(
                retentionNanoseconds: traits.keepsTrash ? 1 << 60 : 0, keepsTruncated: traits.keepsTruncated),
            durability: plan.waitsForStore ? .store(seconds: 600) : .local, now: place.clock.now,
            hasRoom: { simulation_is_full() == 0 }, report: report)
        configuration.snapshotDirectory = place.disk + "/snapshots"
        // Hours that are skipped have passed.
        let clock = place.clock
        configuration.steadyNanoseconds = { clock.now().nanoseconds }
        self.configuration = configuration
        fileSystem = try FileSystem(metadata: metadata, packs: packs, configuration: configuration)
        let session = Session(name: "client", identity: .oneToOne, isReadOnly: false, invalidate: { _, _ in })
        fileSystem.attach(session)
        caller = Caller(session: session, userID: 0, groupID: 0, isSuperuser: true, umask: 0)
        copier =
            traits.hasCopies && !plan.storesOnDisk ? CopyWriter(store: store, record: [], generation: 0) : nil
        if copier != nil { fileSystem.noteCopied(0) }
    }

    var tree: VolumeTree { VolumeTree(fileSystem, caller) }

    /// As `ModelVolume` has it.
    func picture() throws -> Picture {
        var picture = try tree.picture()
        try tree.addTrash(to: &picture)
        for (_, quota) in try fileSystem.quotas() {
            picture["quota"] = ModelVolume.words(quota.limits.bytes, quota.limits.inodes)
        }
        for hold in try fileSystem.holds() {
            picture[(hold.kind == .snapshot ? "snapshot " : "clone ") + hold.name] = "there"
        }
        return picture
    }

    func evict() throws {
        let stored = try metadata.transaction { transaction throws(Errno) in try transaction.packs() }
        for pack in stored where pack.state == .stored { _ = packs.evict(pack.id) }
    }

    /// Answers what is not in the store.
    func close() -> String? {
        fileSystem.detach(caller.session)
        return fileSystem.close(storeSeconds: 60)
    }

    /// Everything that a check of the whole volume finds, data included.
    static func problems(_ place: SimulatedPlace, _ plan: LifePlan, data: Bool) throws -> [String] {
        let report = try MetadataChecker.check(path: place.database)
        var problems = report.problems
        let checker = PackChecker(store: try place.store(plan), stagingDirectory: place.staging)
        // The object of a doomed one may be gone already.
        for pack in report.packs where pack.record.state != .doomed {
            _ = checker.check(pack.record, rawEnd: pack.rawEnd, data: data, &problems)
        }
        return problems.lines
    }
}
