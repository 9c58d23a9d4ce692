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
}

/// Asks a server to fetch packs.
public struct WarmOrder: Codable, Sendable, Equatable {
    public var selection: DataSelection
    /// Packs fetched at once.
    public var threads: Int
    /// Goes on when nobody asks for its progress.
    public var inBackground: Bool
    /// Only finds out what is here.
    public var isCheck: Bool

    public init(selection: DataSelection, threads: Int, inBackground: Bool, isCheck: Bool) {
        self.selection = selection
        self.threads = threads
        self.inBackground = inBackground
        self.isCheck = isCheck
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
    /// What could not be had; the first few.
    public var failures: [String]
    public var isOver: Bool

    public init(job: Int, packs: Int) {
        self.job = job
        self.packs = packs
        done = 0
        local = 0
        fetchedBytes = 0
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

    public init(packs: Int, bytes: UInt64, failure: String?) {
        self.packs = packs
        self.bytes = bytes
        self.failure = failure
    }
}
