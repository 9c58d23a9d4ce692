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
    private let quarter: UInt64
    private let isOver = Latch()

    init(_ name: String, _ caches: CacheSite, _ packs: PackStore, quarter: UInt64) {
        self.name = name
        self.caches = caches
        self.packs = packs
        self.quarter = quarter
    }

    func start() {
        // Detached: it ends with the server.
        _ = WorkerThread(name: "berth-cache") {
            while !self.isOver.wait(seconds: Self.seconds) { self.tend() }
        }
    }

    func stop() { isOver.open() }

    private func tend() {
        // What cannot be read just now stays as it was.
        guard let name = try? VolumeName(name), let record = try? caches.registry.record(name),
            let settings = try? UserSettings.load(caches.registry.paths)
        else { return }
        let share = caches.share(of: record, in: packs.cacheState.directory, quarter: quarter, settings)
        packs.tendCache(CacheLimits(bytes: Int(clamping: share.bytes), free: Int(clamping: share.free))) {
            try? caches.places(record, settings).choose()
        }
    }
}
