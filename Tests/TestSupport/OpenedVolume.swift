import CLinux
import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import Packs
import SQLiteMetadata
import VFS

/// A volume opened below FUSE, in a directory of its own, by a caller who is its user.
public final class OpenedVolume {
    public let directory: String
    public let metadata: SQLiteMetadataStore
    public let packs: PackStore
    public let fileSystem: FileSystem
    public let configuration: FileSystemConfiguration
    public let session: Session
    public let caller: Caller
    public let slots: RequestSlots?

    /// What outlives the process; nil where nothing does.
    private let legacy: VolumeLegacy?

    public var database: String { "\(directory)/meta.db" }

    /// Opens or makes the volume in `directory`. `epoch` grows with each opening. A clone has packs up to `baseEpoch` in
    /// the store of `base`. Room comes back when the test asks for it. `legacy` is what a process that died left.
    public init(
        _ directory: String, epoch: UInt32 = 1, sizeLimit: UInt64? = nil, limits: VolumeLimits? = nil,
        store: (any ObjectStore)? = nil,
        durability: Durability = .local, base: String? = nil, baseEpoch: UInt32 = 0,
        space: SpacePolicy? = nil, trash: TrashSettings = .off, legacy: VolumeLegacy? = nil,
        hasRoom: @escaping @Sendable () -> Bool = { true }, loss: @escaping @Sendable () -> String? = { nil },
        now: @escaping @Sendable () -> Timestamp = Timestamp.now, site: any SiteAccounts = NoSite(),
        machine: Identity = .oneToOne
    ) throws {
        self.directory = directory
        self.legacy = legacy
        let isTakenOver = legacy?.isUsed ?? false
        if let legacy, isTakenOver { try StagingRescue.run(legacy.buffers, staging: "\(directory)/staging") }
        let slots = legacy.map { RequestSlots($0.requests) }
        let own = try DirectoryStore(root: "\(directory)/store")
        let layered: any ObjectStore =
            try base.map {
                LayeredStore(own: own, bases: [.init(store: try DirectoryStore(root: $0), lastEpoch: baseEpoch)])
            } ?? own
        metadata = try SQLiteMetadataStore(
            path: "\(directory)/meta.db", redo: legacy.flatMap { RedoLog($0.redo, slots: slots) })
        slots?.settle()
        self.slots = slots
        legacy?.isUsed = true
        packs = try PackStore(
            PackStoreConfiguration(
                stagingDirectory: "\(directory)/staging", cacheDirectory: "\(directory)/cache", cacheLimit: 1 << 30,
                compression: .zstd, epoch: epoch, baseEpoch: baseEpoch, bufferMemory: legacy?.buffers,
                foreignOpener: { (source: ForeignSource) throws(ObjectStoreError) -> any ForeignStore in
                    ForeignDirectory(root: String(source.url.dropFirst("file://".utf8.count)))
                }),
            store: store ?? layered)
        var configuration = FileSystemConfiguration(
            limits: limits ?? VolumeLimits(bytes: sizeLimit), trash: trash, durability: durability, now: now,
            hasRoom: hasRoom, report: { _ in })
        // A test that moves the clock means time that passes.
        configuration.steadyNanoseconds = { now().nanoseconds }
        configuration.snapshotDirectory = "\(directory)/snapshots"
        configuration.loss = loss
        configuration.site = site
        configuration.machine = machine
        configuration.space.isAutomatic = false
        configuration.space = space ?? configuration.space
        self.configuration = configuration
        fileSystem = try FileSystem(
            metadata: metadata, packs: packs, configuration: configuration, isTakenOver: isTakenOver)
        session = Session(
            name: "test", identity: .oneToOne, isReadOnly: false, isTakenOver: isTakenOver, invalidate: { _, _ in })
        caller = Caller(session: session, userID: 0, groupID: 0, isSuperuser: true, umask: 0)
        fileSystem.attach(session)
    }

    public func close() throws {
        fileSystem.detach(session)
        if let failure = fileSystem.close(storeSeconds: 30) { throw TestFailure(failure) }
    }
}

/// Memory that outlives a server, as its keeper holds it.
// SAFETY: `isUsed` is changed and read by the thread that opens volumes over it; the rest is constant.
public final class VolumeLegacy: @unchecked Sendable {
    public let requests: SharedMemory
    public let redo: SharedMemory
    public let buffers: SharedMemory
    fileprivate(set) public var isUsed = false

    public init() throws {
        requests = try SharedMemory("requests", byteCount: RequestSlots.byteCount)
        redo = try SharedMemory("redo", byteCount: RedoLog.byteCount)
        buffers = try SharedMemory("buffers", byteCount: StagingRescue.bufferBytes)
    }

    /// Copies of what a process that dies now would leave.
    public init(copying other: VolumeLegacy) throws {
        requests = try Self.copy(other.requests)
        redo = try Self.copy(other.redo)
        buffers = try Self.copy(other.buffers)
        isUsed = true
    }

    /// Pages that were never written stay so.
    private static func copy(_ memory: SharedMemory) throws -> SharedMemory {
        let copy = try SharedMemory("copy", byteCount: memory.byteCount)
        var position: off_t = 0
        while true {
            let start = lseek(memory.number, position, Int32(BERTH_SEEK_DATA))
            guard start >= 0 else { return copy }
            let end = lseek(memory.number, start, Int32(BERTH_SEEK_HOLE))
            (copy.base + Int(start)).copyMemory(from: memory.base + Int(start), byteCount: Int(end - start))
            position = end
        }
    }
}

/// A generator that a seed makes repeatable (splitmix64).
public struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    public init(seed: UInt64) {
        state = seed
    }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
