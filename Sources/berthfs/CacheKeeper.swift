import LinuxSystem
import Packs
import Volumes

/// Keeps the cache within its share: the user may change the volume's options and the settings, other volumes of the node
/// come and go, others fill the disk, and the directory may be removed.
final class CacheKeeper: Sendable {
    private static let seconds = 10.0

    private let name: String
    private let caches: CacheSite
    private let packs: PackStore
    private let chosen: ChosenCache
    private let isOver = Latch()

    init(_ name: String, _ caches: CacheSite, _ packs: PackStore, _ chosen: ChosenCache) {
        self.name = name
        self.caches = caches
        self.packs = packs
        self.chosen = chosen
    }

    /// Of a server in a Landlock domain, which neither reads what else the user has nor makes a directory again that was
    /// taken away: that is another than was granted, and a new server's.
    struct Confined: Sendable {
        let surroundings: @Sendable () -> ServerSurroundings?
        let replace: @Sendable () -> Void
    }

    func start(_ confined: Confined?) {
        // Detached: it ends with the server.
        _ = WorkerThread(name: "berth-cache") {
            while !self.isOver.wait(seconds: Self.seconds) { self.tend(confined) }
        }
    }

    func stop() { isOver.open() }

    private func tend(_ confined: Confined?) {
        // What cannot be read just now stays as it was.
        guard let name = try? VolumeName(name), let record = try? caches.registry.record(name) else { return }
        let paths = caches.registry.paths
        let found = confined?.surroundings()
        guard confined == nil || found != nil,
            let settings = try? found.map({ try UserSettings(text: $0.settings, path: paths.settings) })
                ?? UserSettings.load(paths)
        else { return }
        let share = caches.share(
            of: record, in: packs.cacheState.directory, quarter: chosen.quarter, settings,
            besideStore: chosen.isBesideStore, beside: found?.others)
        packs.tendCache(share.limits) {
            guard let confined else { return try? caches.places(record, settings).choose() }
            confined.replace()
            return nil
        }
    }
}

/// Where a volume's copies are, and how many: decided before the server gives up what it would be decided by.
struct ChosenCache: Sendable {
    let directory: String
    let quarter: UInt64
    /// The store takes of the same disk or quota.
    let isBesideStore: Bool
    let share: CacheShare

    init(_ record: VolumeRecord, _ caches: CacheSite, _ settings: UserSettings) throws(SystemFailure) {
        // Copies are proved before use, but they can be read: nobody else may enter, or have made it.
        directory = try caches.places(record, settings).choose()
        quarter = CacheShare.usual(in: directory)
        isBesideStore = caches.isBesideStore(record, directory)
        share = caches.share(of: record, in: directory, quarter: quarter, settings, besideStore: isBesideStore)
    }
}

extension CacheShare {
    var limits: CacheLimits {
        CacheLimits(
            bytes: Int(clamping: bytes), free: Int(clamping: free), unasked: unasked.map { Int(clamping: $0) })
    }
}
