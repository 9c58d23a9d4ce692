import FileModel
import LinuxSystem

/// The cache as its owner sees it.
extension PackStore {
    /// New bounds, and where copies are to be: where the directory is gone, they begin anew there.
    public func tendCache(_ limits: CacheLimits, place: () -> String?) {
        if cache.isGone, let place = place() {
            if place == cache.state().directory { cache.restore() } else { cache.move(to: place) }
        }
        cache.limit(to: limits)
    }

    /// Keeps packs in the cache once they are there. Those that are staged are kept when they are stored.
    public func pin(_ records: [PackRecord]) throws(PinRefusal) {
        let sizes = records.map { ($0.id, $0.rawLength > 0 ? Int($0.rawLength) : PackFormat.maximumRawBytes) }
        try cache.pin(Dictionary(sizes) { first, _ in first })
    }

    /// Somebody wants these packs in the cache: they stay as long as others do.
    public func ask(for ids: [PackID]) { cache.ask(for: ids) }

    /// Nil: all. Answers how many were pinned.
    public func unpin(_ ids: Set<PackID>?) -> Int { cache.unpin(ids) }

    public func isPinned(_ id: PackID) -> Bool { cache.isPinned(id) }

    public var cacheState: CacheState { cache.state() }

    /// What has a copy, whole or in part.
    public var cachedPacks: [PackID] { cache.ids }

    /// Proves every frame of a copy; one with a bad frame is dropped.
    public func verify(_ id: PackID) throws(PackReadFailure) -> CopyVerdict { try cache.verify(id) }
}
