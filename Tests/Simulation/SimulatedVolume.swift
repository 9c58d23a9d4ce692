import CSimulation
import FileModel
import LinuxSystem
import Metadata
import ObjectStorage
import Packs
import SQLiteMetadata
import Synchronization
import TestSupport
import VFS

/// Where one history keeps its files.
struct SimulatedPlace {
    let root: String
    /// Memory that a server leaves to the next, as long as its keeper lives.
    var legacy: VolumeLegacy

    var disk: String { root + "/disk" }
    var durable: String { root + "/durable" }
    var bucket: String { root + "/bucket" }
    var database: String { disk + "/meta.db" }
    var staging: String { disk + "/staging" }

    func store(_ plan: LifePlan) throws(ObjectStoreError) -> any ObjectStore {
        plan.storesOnDisk
            ? try DirectoryStore(root: disk + "/store") : SimulatedStore(root: bucket, refusedPuts: plan.refusedPuts)
    }
}

/// The parts of a volume, put together as its server does it.
final class SimulatedVolume {
    let metadata: SQLiteMetadataStore
    let packs: PackStore
    let fileSystem: FileSystem
    let caller: Caller

    init(_ place: SimulatedPlace, _ plan: LifePlan, report: @escaping @Sendable (String) -> Void) throws {
        let store = try place.store(plan)
        try StagingRescue.run(place.legacy.buffers, staging: place.staging)
        metadata = try SQLiteMetadataStore(path: place.database, redo: RedoLog(place.legacy.redo, slots: nil))
        packs = try PackStore(
            PackStoreConfiguration(
                stagingDirectory: place.staging, cacheDirectory: place.disk + "/cache", cacheLimit: plan.cacheLimit,
                compression: .zstd, epoch: try metadata.nextEpoch(), bufferMemory: place.legacy.buffers),
            store: store)
        fileSystem = try FileSystem(
            metadata: metadata, packs: packs,
            configuration: FileSystemConfiguration(hasRoom: { simulation_is_full() == 0 }, report: report))
        let session = Session(name: "client", identity: .oneToOne, isReadOnly: false, invalidate: { _, _ in })
        fileSystem.attach(session)
        caller = Caller(session: session, userID: 0, groupID: 0, isSuperuser: true, umask: 0)
    }

    var tree: VolumeTree { VolumeTree(fileSystem, caller) }

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
