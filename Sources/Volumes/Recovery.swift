/// What bringing a volume back from its store found: what `berthfs recover` answers.
public struct Recovery: Codable, Equatable, Sendable {
    /// When the copy was made, seconds since 1970; nil: there was none that is whole, and what there is comes from packs alone.
    public var copyTime: Int64?
    public var inodes: UInt64 = 0
    public var bytes: UInt64 = 0
    /// Copies that were damaged, newest first.
    public var skippedCopies: [String] = []
    /// Packs that the copy names and that are not in the store.
    public var lostPacks = 0
    public var lostFiles: UInt64 = 0
    /// The first of them.
    public var lostPaths: [String] = []
    /// Packs that are newer than the copy.
    public var newerPacks = 0
    /// Files in `lost+found` that their data makes.
    public var salvagedFiles: UInt64 = 0
    public var salvagedBytes: UInt64 = 0
    /// Snapshots, whose metadata no copy holds.
    public var lostSnapshots: [String] = []
    /// Foreign sources that the metadata name and nobody here trusts, as `SourceEntry.display`: their files cannot be read.
    public var closedSources: [String] = []
    public var problems: [String] = []

    public init() {}

    /// What to tell people of sources that stay closed; nothing where there are none.
    public static func lines(ofClosed sources: [String], volume: String) -> [String] {
        sources.map {
            "closed: files imported from \($0); if it is yours to read here: berth volume trust \(volume) '\($0)'"
        }
    }
}
