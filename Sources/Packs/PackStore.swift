import FileModel
import Glibc
import LinuxSystem
import Metrics
import ObjectStorage

/// What a volume's packs need to be opened.
public struct PackStoreConfiguration: Sendable {
    /// Absolute; holds the only copy of data that is not in the store yet.
    public var stagingDirectory: String
    /// Absolute; may be deleted at any time.
    public var cacheDirectory: String
    /// Bytes the cache may hold.
    public var cacheLimit: Int
    /// Bytes of its file system that the cache leaves free.
    public var cacheFloor: Int
    /// Bytes of copies that nobody asked for (`CacheLimits.unasked`).
    public var cacheUnasked: Int?
    /// Takes what is wrong with the cache; nothing is lost with it.
    public var reportCache: @Sendable (String) -> Void
    public var compression: Compression
    /// Grows with each opening for writing.
    public var epoch: UInt32
    /// Counts reads, sealing and eviction.
    public var meter: PackMeter
    /// Packs up to this epoch are another volume's: this one is its clone.
    public var baseEpoch: UInt32
    /// Reaches the stores of foreign objects.
    public var foreignOpener: ForeignOpener
    /// Where bytes gather before they are written out, so that they outlive the process; nil: in its own memory.
    public var bufferMemory: SharedMemory?
    /// What the volume seals the tables of its copies with.
    public var copySeal: CopySeal

    public init(
        stagingDirectory: String, cacheDirectory: String, cacheLimit: Int, cacheFloor: Int = 0,
        compression: Compression, epoch: UInt32, baseEpoch: UInt32 = 0, bufferMemory: SharedMemory? = nil,
        copySeal: CopySeal = .unkeyed,
        meter: PackMeter = PackMeter(),
        foreignOpener: @escaping ForeignOpener = PackStoreConfiguration.knowsNoForeign,
        reportCache: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        self.baseEpoch = baseEpoch
        self.stagingDirectory = stagingDirectory
        self.cacheDirectory = cacheDirectory
        self.cacheLimit = cacheLimit
        self.cacheFloor = cacheFloor
        self.reportCache = reportCache
        self.compression = compression
        self.epoch = epoch
        self.bufferMemory = bufferMemory
        self.copySeal = copySeal
        self.meter = meter
        self.foreignOpener = foreignOpener
    }

    /// For callers whose volumes have imported nothing.
    public static func knowsNoForeign(_ source: ForeignSource) throws(ObjectStoreError) -> any ForeignStore {
        throw .failed(.notSupported, "\(source.url): nothing here can ask it")
    }
}

/// All file data of a volume: open packs in staging, sealed ones on their way, stored ones in the cache.
///
/// Invariants
/// - A pack is in `staged` from its making until its object is in the store and its raw file is the cache's.
/// - `shared` and every pack in `streams` are open and in `staged`.
/// - A new extent is recorded by the caller inside `append`'s body, so a seal waits for it.
// SAFETY: every mutable member is guarded by `monitor`.
public final class PackStore: @unchecked Sendable {
    /// A file past this many bytes gets packs of its own, so that its data lies in order.
    public static let streamThresholdBytes: UInt64 = 1 << 20
    /// Packs of large files open at once. Past it the least recently used one is sealed.
    static let streamLimit = 64
    /// Packs sealed and not yet stored, 1 GiB. Past it writers wait: staging is bounded. Less would make a burst of
    /// writes wait for the compression of its own beginning.
    static let sealQueueLimit = 64

    struct Stream {
        var pack: StagedPack
        var lastUse: UInt64
        /// `lastUse` when idleness was last looked at.
        var idleMark: UInt64 = 0
    }

    let configuration: PackStoreConfiguration
    /// For who reads, until `letGo`.
    let store: any ObjectStore
    let reading = StoreErrand()
    /// For packs on their way, until `close` gives them up.
    let sendingStore: any ObjectStore
    let sending = StoreErrand()
    let cache: PackCache
    let foreign: ForeignCache
    let buffers: PackBufferPool
    let monitor = Monitor()
    let synchronizing = Monitor()
    var staged: [PackID: StagedPack] = [:]
    var shared: StagedPack?
    var streams: [InodeID: Stream] = [:]
    var nextSequence: UInt32 = 1
    /// Packs that left staging and whose marks are there still: until their new names are durable, a power failure may bring
    /// them back.
    var finishedMarks: [PackID] = []
    /// Files were made in staging whose names may not be on disk.
    private var hasNewFiles = false
    /// Stays until `renew`: a second sync of the directory would succeed and may have written nothing.
    private var namesFailure: Errno?
    var clock: UInt64 = 0
    var sealer: Sealer?
    var sealing: SealerThreads?

    public init(_ configuration: PackStoreConfiguration, store all: any ObjectStore) throws(Errno) {
        self.configuration = configuration
        store = all.on(reading)
        sendingStore = all.on(sending)
        buffers = PackBufferPool(configuration.bufferMemory)
        do {
            try SecureDirectory.make(configuration.stagingDirectory)
        } catch {
            throw error.errno ?? .io
        }
        // Its name, too: what is durable in a directory is lost with it.
        try AtomicFile.synchronizeDirectory(configuration.stagingDirectory + "/..")
        cache = try PackCache(
            directory: configuration.cacheDirectory,
            limits: CacheLimits(
                bytes: configuration.cacheLimit, free: configuration.cacheFloor, unasked: configuration.cacheUnasked),
            store: store,
            meter: configuration.meter, seal: configuration.copySeal, report: configuration.reportCache)
        // Imported data is read for programs, too.
        let (open, reading) = (configuration.foreignOpener, reading)
        foreign = ForeignCache(cache: cache) { source throws(ObjectStoreError) in try open(source).on(reading) }
    }

    // MARK: Writing

    /// Stores bytes of a file and tells `record` where they lie. The pack cannot be sealed before `record`
    /// has returned. `beforeWaiting` is called where staging is full and the store must make room first.
    public func append<Result>(
        _ bytes: UnsafeRawBufferPointer, of inode: InodeID, at fileOffset: UInt64, beforeWaiting: () -> Void,
        record: (PackID, UInt64) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        let isLarge = fileOffset + UInt64(bytes.count) > Self.streamThresholdBytes
        let (pack, offset) = try reserve(bytes.count, inode, fileOffset, isLarge ? inode : nil, beforeWaiting)
        defer { pack.release() }
        try pack.write(bytes, at: offset)
        return try record(pack.id, UInt64(offset))
    }

    /// Writes over bytes of an open pack in place. False where the pack is not open, or the bytes are committed
    /// or may be shared: append then.
    public func rewrite(_ bytes: UnsafeRawBufferPointer, in id: PackID, at offset: UInt64) throws(Errno) -> Bool {
        guard let pack = stagedPack(id), pack.retainForRewrite(at: Int(clamping: offset), bytes.count) else {
            return false
        }
        defer { pack.releaseRewrite() }
        try pack.write(bytes, at: Int(offset))
        return true
    }

    /// The bytes of these packs are about to be named by a second inode: none is rewritten in place any more.
    public func freeze(_ packs: Set<PackID>) {
        for id in packs { stagedPack(id)?.freezeWritten() }
    }

    /// All that was written is about to be committed. Rewritten in place it would be newer after a crash than
    /// operations before the rewrite.
    public func freezeAll() {
        for pack in monitor.withLock({ Array(staged.values) }) { pack.freezeWritten() }
    }

    /// What a commit needs of packs first: no byte that it names changes any more, and each is durable.
    public func prepareCommit() throws(Errno) {
        freezeAll()
        try synchronize()
    }

    /// `stream` says whose packs it goes to; nil: those that small files share.
    func reserve(
        _ count: Int, _ inode: InodeID, _ fileOffset: UInt64, _ stream: InodeID?, _ beforeWaiting: () -> Void
    ) throws(Errno) -> (StagedPack, Int) {
        precondition(count <= PackFormat.maximumRawBytes, "a write is smaller than a pack")
        while true {
            if let stream, monitor.withLock({ streams[stream] == nil }) { sealer?.waitForRoom(beforeWaiting) }
            let pack: StagedPack
            if let stream { pack = try streamPack(stream) } else { pack = try sharedPack() }
            if let offset = pack.reserve(count, for: inode, at: fileOffset) { return (pack, offset) }
            retire(pack, stream)
            sealer?.waitForRoom(beforeWaiting)
        }
    }

    private func sharedPack() throws(Errno) -> StagedPack {
        monitor.lock()
        defer { monitor.unlock() }
        if let shared { return shared }
        let pack = try newPack(buffers.take())
        shared = pack
        return pack
    }

    private func streamPack(_ inode: InodeID) throws(Errno) -> StagedPack {
        monitor.lock()
        defer { monitor.unlock() }
        clock += 1
        if let stream = streams[inode] {
            streams[inode]?.lastUse = clock
            return stream.pack
        }
        if streams.count >= Self.streamLimit, let oldest = streams.min(by: { $0.value.lastUse < $1.value.lastUse }) {
            streams[oldest.key] = nil
            sealer?.enqueue(oldest.value.pack)
        }
        // Large files come in large writes, and there may be many of them: no buffer.
        let pack = try newPack(nil)
        streams[inode] = Stream(pack: pack, lastUse: clock)
        return pack
    }

    /// Under the monitor.
    private func newPack(_ buffer: PackBuffer?) throws(Errno) -> StagedPack {
        let id = PackID(epoch: configuration.epoch, sequence: nextSequence)
        let pack = try StagedPack(id, in: configuration.stagingDirectory, isNew: true, buffer: buffer)
        nextSequence += 1
        staged[id] = pack
        hasNewFiles = true
        return pack
    }

    /// Puts a full pack on its way to the store, once.
    private func retire(_ pack: StagedPack, _ inode: InodeID?) {
        monitor.lock()
        defer { monitor.unlock() }
        if let inode {
            guard streams[inode]?.pack === pack else { return }
            streams[inode] = nil
        } else {
            guard shared === pack else { return }
            shared = nil
        }
        pack.close()
        sealer?.enqueue(pack)
    }

    func stagedPack(_ id: PackID) -> StagedPack? { monitor.withLock { staged[id] } }

    // MARK: Reading

    /// Fills `buffer` with the pack's raw bytes from `offset` on. `beforeWaiting` is called where they must be
    /// fetched from the disk or the store. Answers what the read tells of those to come.
    public func read(
        _ id: PackID, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer, beforeWaiting: () -> Void
    ) throws(PackReadFailure) -> ReadSign {
        if let pack = stagedPack(id) {
            configuration.meter.countRead(
                frames: PackFormat.frames(at: Int(offset), count: buffer.count), fetchedBytes: 0,
                frameBytes: PackFormat.frameBytes)
            try pack.read(at: Int(offset), into: buffer, beforeWaiting)
            return .nothing
        }
        if id.isForeign {
            try foreign.read(id, at: offset, into: buffer, beforeWaiting)
            return .nothing
        }
        return try cache.read(id, at: Int(offset), into: buffer, beforeWaiting)
    }

    /// Fetches packs in the background, in this order. Those that are here, or staged, cost nothing.
    public func prefetch(_ ids: some Sequence<PackID>) {
        for id in ids where !isStaged(id) { cache.prefetch(id) }
    }

    /// Packs that may be fetched ahead of one reader: the cache must not push out what it has just fetched.
    public var prefetchLimit: Int {
        min(configuration.cacheLimit, configuration.cacheUnasked ?? .max) / PackFormat.maximumRawBytes / 4
    }

    // MARK: The cache

    /// Has all of a stored pack in the cache, each frame proved. Answers the raw bytes that came from the store.
    public func warm(_ id: PackID) throws(PackReadFailure) -> Int {
        if id.isForeign { return try foreign.complete(id) }
        return isStaged(id) ? 0 : try cache.complete(id)
    }

    /// Whether all of it is here and proved, without asking the store.
    public func isWarm(_ id: PackID) -> Bool {
        id.isForeign ? foreign.isComplete(id) : isStaged(id) || cache.isComplete(id)
    }

    /// Drops a pack's copy. Answers the bytes it took.
    public func evict(_ id: PackID) -> Int {
        // A segment holds blocks of several objects: the cache tells who reads them.
        id.isForeign && !id.isCacheSegment ? foreign.drop(id) : cache.drop(id)
    }

    /// Has foreign packs be looked up. Call it before the first read.
    public func connect(_ catalog: any ForeignCatalog) { foreign.objects.connect(catalog) }

    /// Packs that the store has not got yet, and their raw bytes.
    public func stagedTotal() -> (packs: Int, bytes: Int) {
        let packs = monitor.withLock { Array(staged.values) }
        return (packs.count, packs.reduce(0) { $0 + $1.rawLength })
    }

    // MARK: Durability

    /// Makes every byte that was appended or rewritten before the call durable in staging.
    public func synchronize() throws(Errno) {
        // One after the other: who finds nothing new to sync must not return before the names and bytes that another
        // thread has taken on are safe.
        synchronizing.lock()
        defer { synchronizing.unlock() }
        let (packs, mustSyncNames, namesFailure) = monitor.withLock {
            defer { hasNewFiles = false }
            return (Array(staged.values), hasNewFiles, self.namesFailure)
        }
        if let namesFailure { throw namesFailure }
        do throws(Errno) {
            for pack in packs { try pack.synchronize() }
        } catch {
            if mustSyncNames { monitor.withLock { hasNewFiles = true } }
            throw error
        }
        guard mustSyncNames else { return }
        do throws(Errno) {
            try AtomicFile.synchronizeDirectory(configuration.stagingDirectory)
        } catch {
            monitor.withLock {
                hasNewFiles = true
                self.namesFailure = error
            }
            throw error
        }
    }

    /// After a fault of staging's disk, before the metadata takes changes again: packs whose bytes may not have reached the
    /// disk are written anew, and take no more. Throws where the disk still refuses.
    public func renew() throws(Errno) {
        synchronizing.lock()
        defer { synchronizing.unlock() }
        for pack in monitor.withLock({ Array(staged.values) }) {
            try pack.renew(in: configuration.stagingDirectory)
        }
        try AtomicFile.synchronizeDirectory(configuration.stagingDirectory)
        monitor.withLock { namesFailure = nil }
    }

    /// Why the store takes no packs, or nil while it does.
    public var storeTrouble: String? { sealer?.trouble }

    /// Why copies cannot be kept, or nil while they can.
    public var cacheTrouble: String? { cache.currentTrouble }

    /// Room in the store, where it can tell.
    public func capacity() -> (total: UInt64, free: UInt64)? { store.capacity() }
}
