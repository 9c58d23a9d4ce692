import LinuxSystem

/// What `volume.json` keeps of a volume.
public struct VolumeRecord: Equatable, Sendable, Codable {
    /// Readers refuse what they do not know.
    public static let currentFormat = 1

    public var format: Int
    public var name: String
    /// RFC 3339, UTC, whole seconds.
    public var createdAt: String
    public var options: VolumeOptions
    /// The volumes whose packs a clone shares, the oldest first; nil for a volume that is no clone.
    public var bases: [VolumeBase]?
    /// Files were imported from a bucket: the server must reach the network wherever the packs are. Nil: not.
    public var reachesBuckets: Bool?
    /// Foreign sources that the volume's user named himself, by `berth import` or `--trust-source`, as `SourceEntry` has them.
    /// No other that the metadata name is opened. Nil in records of versions that kept none: all that the metadata name are
    /// adopted then.
    public var sources: [String]?

    public init(name: VolumeName, createdAt: String, options: VolumeOptions) {
        format = Self.currentFormat
        self.name = name.description
        self.createdAt = createdAt
        self.options = options
        sources = []
    }
}

/// A volume whose packs another one, its clone, shares.
public struct VolumeBase: Equatable, Sendable, Codable {
    public var volume: String
    /// Packs up to this epoch are its own, or those of bases before it.
    public var lastEpoch: UInt32
    /// As they were when the clone was made: they say where the packs are.
    public var options: VolumeOptions

    public init(volume: String, lastEpoch: UInt32, options: VolumeOptions) {
        self.volume = volume
        self.lastEpoch = lastEpoch
        self.options = options
    }
}
