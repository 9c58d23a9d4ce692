import FileModel
import Glibc
import LinuxSystem

/// What a volume's copies may take on this node (decision 0032).
public struct CacheShare: Equatable, Sendable {
    /// Bytes of copies at most.
    public var bytes: UInt64
    /// Bytes of the file system that stay free.
    public var free: UInt64
    /// Bytes at most of copies that nobody asked for; nil: no other bound than `bytes`.
    public var unasked: UInt64?

    /// Where nobody chose: and never more than a quarter of what is free, as the file system holds other things, too.
    public static let usualBytes: UInt64 = 16 << 30
    /// Where nobody chose, and copies take of the same disk or quota as the store: what is read now (decision 0090).
    public static let besideStoreBytes: UInt64 = 256 << 20
    /// Where nobody chose: a twentieth of the file system, and not more than this.
    private static let usualFree: UInt64 = 10 << 30

    /// `others` are the user's other volumes with copies on this node; `quarter` is what `usual(in:)` said when the
    /// directory was opened; `besideStore`: the store takes of the same disk or quota.
    public init(
        of record: VolumeRecord, beside others: [VolumeRecord], _ settings: UserSettings, quarter: UInt64,
        diskBytes: UInt64, besideStore: Bool = false
    ) {
        let wanted = Self.wanted(record, settings)
        let isChosen = record.options.cacheSize ?? settings.cacheSize != nil
        bytes = isChosen ? wanted : min(wanted, quarter)
        let all = others.reduce(Double(wanted)) { $0 + Double(Self.wanted($1, settings)) }
        if let total = settings.cacheTotal, all > Double(total) {
            bytes = min(bytes, UInt64(Double(total) * (Double(wanted) / all)))
        }
        unasked = besideStore && !isChosen ? min(bytes, Self.besideStoreBytes) : nil
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
        besideStore: Bool, beside found: [VolumeRecord]? = nil
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
            of: record, beside: others, settings, quarter: quarter, diskBytes: CacheShare.disk(directory).bytes,
            besideStore: besideStore)
    }

    /// Whether copies in `directory` take of the same disk as the volume's store, or of the same quota: what lies below
    /// the user's home usually has one.
    public func isBesideStore(_ record: VolumeRecord, _ directory: String) -> Bool {
        guard case .directory(let root) = record.place(registry.paths.volume(record.name)) else { return false }
        let (store, copies) = (Place(root), Place(directory))
        if let device = store.device, device == copies.device { return true }
        guard let home = environment["HOME"].map({ Place($0).path }), home.count > 1 else { return false }
        return [store, copies].allSatisfy { $0.path == home || $0.path.hasPrefix(home + "/") }
    }

    /// The path without links, or of its nearest parent that is there, and its file system.
    private struct Place {
        var path = "/"
        var device: dev_t?

        init(_ path: String) {
            var rest = path
            while true {
                if let real = realpath(rest, nil) {
                    defer { free(real) }
                    self.path = String(cString: real)
                    var status = Glibc.stat()
                    device = stat(self.path, &status) == 0 ? status.st_dev : nil
                    return
                }
                guard let slash = rest.lastSlash, slash != rest.startIndex else { return }
                rest = String(rest[..<slash])
            }
        }
    }
}
