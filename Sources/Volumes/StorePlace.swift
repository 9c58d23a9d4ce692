import FileModel
import LinuxSystem

/// Where a volume's packs are.
public enum StorePlace: Equatable, Sendable {
    /// An absolute path.
    case directory(String)
    /// `s3://bucket/prefix/NAME`.
    case bucket(String)

    public var url: String {
        switch self {
        case .directory(let path): "file://\(path)"
        case .bucket(let url): url
        }
    }
}

extension VolumeRecord {
    /// Below a store that was named, each volume has its own place.
    public func place(_ paths: VolumePaths) -> StorePlace {
        guard let store = options.store else { return .directory(paths.defaultStore) }
        if VolumeOptions.isBucket(store) {
            return .bucket(store.endsWithBytes(of: "/") ? store + name : "\(store)/\(name)")
        }
        return .directory("\(store.dropFirst("file://".utf8.count))/\(name)")
    }

    /// How often the metadata is copied into the store while it changes; nil: never. A store inside the volume's own
    /// directory is lost with it.
    public var copyInterval: Duration? {
        guard options.store != nil, options.copySeconds != 0 else { return nil }
        return .seconds(options.copySeconds ?? Self.usualCopySeconds)
    }

    private static let usualCopySeconds: Int64 = 900

    /// How the store is reached, of a volume's options.
    private static let waysToStore = [
        "ca-file", "endpoint", "insecure", "path-style", "profile", "region", "store-shared",
    ]

    /// What brings a volume back that is in the store.
    public func recoveryCommand(_ paths: VolumePaths) -> String {
        let words = options.words
        let ways = Self.waysToStore.compactMap { key in words[key].map { " -o \(key)=\($0)" } }
        return "berth volume recover \(storeURL(paths))" + ways.joined()
    }

    /// Where the packs are, as a URL.
    public func storeURL(_ paths: VolumePaths) -> String { place(paths).url }
}
