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
    /// Files were imported from a bucket: the server must reach the network wherever the packs are. Nil: not.
    public var reachesBuckets: Bool?

    public init(name: VolumeName, createdAt: String, options: VolumeOptions) {
        format = Self.currentFormat
        self.name = name.description
        self.createdAt = createdAt
        self.options = options
    }
}
