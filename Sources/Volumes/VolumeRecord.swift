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

    public init(name: VolumeName, createdAt: String, options: VolumeOptions) {
        format = Self.currentFormat
        self.name = name.description
        self.createdAt = createdAt
        self.options = options
    }

    /// The directory that holds the volume's packs. Below a store that was named, each volume has its own.
    public func storeDirectory(_ paths: VolumePaths) -> String {
        guard let store = options.store else { return paths.defaultStore }
        return "\(store.dropFirst("file://".utf8.count))/\(name)"
    }

    /// Where the packs are, as a URL.
    public func storeURL(_ paths: VolumePaths) -> String { "file://\(storeDirectory(paths))" }
}
