import FileModel
import Glibc
import LinuxSystem

/// What a volume's copies may take on this node (decision 0032).
public struct CacheShare: Equatable, Sendable {
    /// Bytes of copies at most.
    public var bytes: UInt64
    /// Bytes of the file system that stay free.
    public var free: UInt64

    /// Where nobody chose: and never more than a quarter of what is free, as the file system holds other things, too.
    public static let usualBytes: UInt64 = 16 << 30
    /// Where nobody chose: a twentieth of the file system, and not more than this.
    private static let usualFree: UInt64 = 10 << 30

    /// `others` are the user's other volumes with copies on this node; `quarter` is what `usual(in:)` said when the
    /// directory was opened.
    public init(
        of record: VolumeRecord, beside others: [VolumeRecord], _ settings: UserSettings, quarter: UInt64,
        diskBytes: UInt64
    ) {
        let wanted = Self.wanted(record, settings)
        let isChosen = record.options.cacheSize ?? settings.cacheSize != nil
        bytes = isChosen ? wanted : min(wanted, quarter)
        let all = others.reduce(Double(wanted)) { $0 + Double(Self.wanted($1, settings)) }
        if let total = settings.cacheTotal, all > Double(total) {
            bytes = min(bytes, UInt64(Double(total) * (Double(wanted) / all)))
        }
        free =
            (record.options.freeSpace ?? settings.freeSpace)?.bytes(of: diskBytes)
            ?? min(diskBytes / 20, Self.usualFree)
    }

    private static func wanted(_ record: VolumeRecord, _ settings: UserSettings) -> UInt64 {
        record.options.cacheSize ?? settings.cacheSize ?? usualBytes
    }

    /// A quarter of what is free in a directory and of what the cache there has already.
    public static func usual(in directory: String) -> UInt64 {
        let held = (try? CacheDirectory.copies(in: directory))?.clampedSum { UInt64(clamping: $0.bytes) } ?? 0
        return disk(directory).free.addingClamped(held) / 4
    }

    /// The file system's size, and what its user may still write; without an answer as if it were very large.
    public static func disk(_ directory: String) -> (bytes: UInt64, free: UInt64) {
        guard let room = DiskRoom(of: directory) else { return (1 << 50, 1 << 50) }
        return (room.total, room.free)
    }
}

/// A volume's cache on this node: where, and how much.
public struct CacheSite: Sendable {
    public let registry: VolumeRegistry
    public let environment: [String: String]
    /// Looked up once: later the name service may be out of reach.
    private let user = Account.named(id: geteuid())?.name

    public init(_ registry: VolumeRegistry, environment: [String: String]) {
        self.registry = registry
        self.environment = environment
    }

    public func places(_ record: VolumeRecord, _ settings: UserSettings) -> CachePlaces {
        CachePlaces(record, registry.paths, settings, environment: environment, user: user)
    }

    /// The share of a volume whose copies are in `directory`. `found`: the other volumes, where the caller knows them.
    public func share(
        of record: VolumeRecord, in directory: String, quarter: UInt64, _ settings: UserSettings,
        beside found: [VolumeRecord]? = nil
    ) -> CacheShare {
        var others: [VolumeRecord] = []
        // Only with a bound for all do others matter. One counts from its first use on this node until its copies are
        // dropped.
        if settings.cacheTotal != nil {
            others = (found ?? (try? registry.list())?.records ?? []).filter {
                $0.name != record.name && !places($0, settings).existing.isEmpty
            }
        }
        return CacheShare(
            of: record, beside: others, settings, quarter: quarter, diskBytes: CacheShare.disk(directory).bytes)
    }
}
