/// What a volume's cache on this machine holds.
public struct CacheReport: Codable, Sendable, Equatable {
    public var directory: String
    /// On disk.
    public var bytes: UInt64
    /// Bytes of copies at most.
    public var limit: UInt64
    /// Bytes at most of copies that nobody asked for; nil: no other bound.
    public var unasked: UInt64?
    /// Bytes of the file system that are left free.
    public var free: UInt64
    /// Copies, whole or in part.
    public var packs: Int
    /// Those that stay, here or not.
    public var pinnedPacks: Int
    /// Of pinned packs that are here.
    public var pinnedBytes: UInt64
    /// Reads that asked the store for nothing, and those that did, since the server started; nil where none runs.
    public var hits: Int?
    public var misses: Int?
    /// Nil from a server of an older version.
    public var space: VolumeSpace?

    public init(
        directory: String, bytes: UInt64, limit: UInt64, unasked: UInt64?, free: UInt64, packs: Int, pinnedPacks: Int,
        pinnedBytes: UInt64, hits: Int? = nil, misses: Int? = nil, space: VolumeSpace? = nil
    ) {
        self.directory = directory
        self.bytes = bytes
        self.limit = limit
        self.unasked = unasked
        self.free = free
        self.packs = packs
        self.pinnedPacks = pinnedPacks
        self.pinnedBytes = pinnedBytes
        self.hits = hits
        self.misses = misses
        self.space = space
    }
}
