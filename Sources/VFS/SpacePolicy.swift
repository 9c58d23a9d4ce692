import FileModel

/// How room comes back, and what it may cost.
public struct SpacePolicy: Sendable {
    /// Without anybody asking.
    public var isAutomatic = true
    /// A pack of which less than this share is live is compacted.
    public var liveShare = 0.5
    /// Who asks for it gets more: packs are compacted, the deadest first, until the store holds at most this many times
    /// the live bytes. Below the 1.3 that is promised by what a pack's tables and a last, small pack take.
    public var storedPerLive = 1.2
    /// In the background: bytes moved a second at most.
    public var bytesPerSecond = 32.0 * 1024 * 1024
    /// In the background: the share of one core, and of the time of disk and store, that it takes.
    public var busyShare = 0.25
    /// An object that no metadata names is deleted at this age: a younger one may be on its way into the metadata.
    public var unnamedSeconds: Int64 = 3600

    public init() {}
}

/// Where a pack is, and what becomes of it.
public struct PackVerdict: Sendable, Equatable {
    public enum Action: String, Sendable, CaseIterable {
        case keep
        case compact
        case delete
    }

    public var record: PackRecord
    public var action: Action
    /// In words: "live 83 %", "held by snapshot monday".
    public var reason: String
}

/// What a collection found and did.
public struct CollectionReport: Sendable {
    public var packs: [PackVerdict] = []
    /// Objects that no metadata names, with why each is kept, or that it is deleted.
    public var unnamed: [(name: String, bytes: UInt64, action: PackVerdict.Action, reason: String)] = []
    /// Raw bytes copied into other packs.
    public var movedBytes: UInt64 = 0
    public var deletedPacks = 0
    /// Packs that go once the metadata was copied into the store.
    public var waitingPacks = 0
    public var deletedObjects = 0
    /// Bytes of objects that are gone from the store.
    public var freedBytes: UInt64 = 0
    /// Files of the cache, and of puts that never ended.
    public var leftovers = 0
    /// What could not be done, in words.
    public var failures: [String] = []
}
