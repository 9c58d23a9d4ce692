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

    public var database: String { "\(directory)/meta.db" }

    /// Opens or makes the volume in `directory`. `epoch` grows with each opening. A clone has packs up to `baseEpoch` in
    /// the store of `base`. Room comes back when the test asks for it.
    public init(
        _ directory: String, epoch: UInt32 = 1, sizeLimit: UInt64? = nil, store: (any ObjectStore)? = nil,
        durability: Durability = .local, base: String? = nil, baseEpoch: UInt32 = 0,
        space: SpacePolicy? = nil, trash: TrashSettings = .off,
        now: @escaping @Sendable () -> Timestamp = Timestamp.now
    ) throws {
        self.directory = directory
        let own = try DirectoryStore(root: "\(directory)/store")
        let layered: any ObjectStore =
            try base.map {
                LayeredStore(own: own, bases: [.init(store: try DirectoryStore(root: $0), lastEpoch: baseEpoch)])
            } ?? own
        metadata = try SQLiteMetadataStore(path: "\(directory)/meta.db")
        packs = try PackStore(
            PackStoreConfiguration(
                stagingDirectory: "\(directory)/staging", cacheDirectory: "\(directory)/cache", cacheLimit: 1 << 30,
                compression: .zstd, epoch: epoch, baseEpoch: baseEpoch,
                foreignOpener: { (source: ForeignSource) throws(ObjectStoreError) -> any ForeignStore in
                    ForeignDirectory(root: String(source.url.dropFirst("file://".utf8.count)))
                }),
            store: store ?? layered)
        var configuration = FileSystemConfiguration(
            sizeLimit: sizeLimit, trash: trash, durability: durability, now: now, report: { _ in })
        // A test that moves the clock means time that passes.
        configuration.steadyNanoseconds = { now().nanoseconds }
        configuration.snapshotDirectory = "\(directory)/snapshots"
        configuration.space.isAutomatic = false
        configuration.space = space ?? configuration.space
        self.configuration = configuration
        fileSystem = try FileSystem(metadata: metadata, packs: packs, configuration: configuration)
        session = Session(name: "test", identity: .oneToOne, isReadOnly: false, invalidate: { _, _ in })
        caller = Caller(session: session, userID: 0, groupID: 0, isSuperuser: true, umask: 0)
        fileSystem.attach(session)
    }

    public func close() throws {
        fileSystem.detach(session)
        if let failure = fileSystem.close(storeSeconds: 30) { throw TestFailure(failure) }
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
