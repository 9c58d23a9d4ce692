/// What part of a volume's data is to be near, or is to be let go.
public struct DataSelection: Codable, Sendable, Equatable {
    /// Paths from the volume's root, as bytes without a slash at their ends; an empty one is all of it.
    public var paths: [[UInt8]]
    /// More paths, one a line, are in the file that comes with the frame.
    public var hasList: Bool

    public init(paths: [[UInt8]], hasList: Bool) {
        self.paths = paths
        self.hasList = hasList
    }

    /// The whole volume.
    public var isAll: Bool { !hasList && paths.contains { $0.isEmpty } }
}

/// Asks a server to fetch packs, or to look at them.
public struct WarmOrder: Codable, Sendable, Equatable {
    public enum Purpose: String, Codable, Sendable {
        case fetch
        /// Fetch, and keep from being dropped.
        case pin
        /// Only find out what is here.
        case check
        /// Prove every frame of each copy, and drop damaged ones. Of the whole cache, whatever the selection.
        case verify
    }

    public var selection: DataSelection
    /// Packs fetched at once.
    public var threads: Int
    /// Goes on when nobody asks for its progress.
    public var inBackground: Bool
    public var purpose: Purpose

    public init(selection: DataSelection, threads: Int, inBackground: Bool, purpose: Purpose) {
        self.selection = selection
        self.threads = threads
        self.inBackground = inBackground
        self.purpose = purpose
    }
}

/// How far a warm-up is.
public struct WarmProgress: Codable, Sendable, Equatable {
    public var job: Int
    public var packs: Int
    /// Looked at so far, the failed ones included.
    public var done: Int
    /// Here, whole and proved.
    public var local: Int
    /// Raw bytes that came from the store.
    public var fetchedBytes: UInt64
    /// Frames proved, and copies dropped as damaged, where that was asked.
    public var provedFrames: UInt64
    public var damaged: Int
    /// What could not be had; the first few.
    public var failures: [String]
    public var isOver: Bool

    public init(job: Int, packs: Int) {
        self.job = job
        self.packs = packs
        done = 0
        local = 0
        fetchedBytes = 0
        provedFrames = 0
        damaged = 0
        failures = []
        isOver = packs == 0
    }
}

/// What is not in the store yet.
public struct StagedTotal: Codable, Sendable, Equatable {
    public var packs: Int
    public var bytes: UInt64
    /// Why the store did not take it all in time.
    public var failure: String?
    /// Nil where the store is on the volume's own disk, or the server is older.
    public var metadata: MetadataCopyState?

    public init(packs: Int, bytes: UInt64, failure: String?) {
        self.packs = packs
        self.bytes = bytes
        self.failure = failure
    }

    /// Nothing is on its way any more.
    public var isSettled: Bool {
        if packs > 0 { return false }
        if case .copying = metadata { return false }
        return true
    }
}

/// Asks for a copy of the metadata in the store.
public struct CopyOrder: Codable, Sendable, Equatable {
    /// What `MetadataCopyState.copying` said, of one that has been asked for; nil: of all that was changed until now.
    public var change: UInt64?
    /// What storing data may take before it.
    public var dataSeconds: Double?

    public init(change: UInt64? = nil, dataSeconds: Double? = nil) {
        self.change = change
        self.dataSeconds = dataSeconds
    }
}

/// How far the copy is that was asked for.
public enum MetadataCopyState: Codable, Sendable, Equatable {
    /// The volume makes none.
    case off
    case copied
    case copying(change: UInt64)
    case failed(String)
}
