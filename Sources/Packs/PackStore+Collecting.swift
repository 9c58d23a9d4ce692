import FileModel
import ObjectStorage

/// What getting space back needs of packs.
extension PackStore {
    /// The stream of what is moved out of mostly dead packs: inode 0 is nobody's.
    private static let movedStream = InodeID(rawValue: 0)

    /// Whether the pack was written by this volume. Others are a base's, or objects that are not ours: neither deleted
    /// nor compacted.
    public func isOwn(_ id: PackID) -> Bool {
        id.epoch > configuration.baseEpoch && id.epoch <= configuration.epoch
    }

    /// The epoch this process writes with.
    public var epoch: UInt32 { configuration.epoch }

    /// As `append`, for bytes that lie in another pack already: they get packs of their own.
    public func appendMoved<Result>(
        _ bytes: UnsafeRawBufferPointer, of inode: InodeID, at fileOffset: UInt64,
        record: (PackID, UInt64) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        let (pack, offset) = try reserve(bytes.count, inode, fileOffset, Self.movedStream) {}
        defer { pack.release() }
        try pack.write(bytes, at: offset)
        return try record(pack.id, UInt64(offset))
    }

    /// Which file each run of a stored pack was written for.
    public func runs(of id: PackID) throws(PackReadFailure) -> [PackRun] {
        try PackIndex(reading: id, from: store).runs
    }

    /// Every object of the store.
    public func objects() throws(ObjectStoreError) -> [ObjectInfo] { try store.objects() }

    /// Removes what puts that never ended left in the store.
    public func sweepStore(olderThan seconds: Int64) throws(ObjectStoreError) -> Int {
        try store.sweep(olderThan: seconds)
    }

    /// Copies in the cache of packs of ours that are none of these.
    public func strayCopies(beside known: Set<PackID>) -> [PackID] {
        cache.ids.filter { !$0.isForeign && !known.contains($0) }
    }
}
