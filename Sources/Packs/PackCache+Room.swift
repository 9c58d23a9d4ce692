import FileModel
import Glibc
import LinuxSystem

/// What is done where the cache may take no more.
extension PackCache {
    /// After so many bytes the file system is asked what is free.
    static let lookBytes = 16 << 20
    /// What is given back where the disk is full, so that not each frame finds it so.
    private static let spareBytes = 64 << 20
    /// Files that go in one turn: the monitor is held meanwhile.
    private static let turn = 64

    /// New bounds; what is too much goes now.
    func limit(to limits: CacheLimits) {
        monitor.withLock { self.limits = limits }
        makeRoom(keeping: nil)
        let (pinned, bytes) = monitor.withLock { (pinnedBytes(), self.limits.bytes) }
        if pinned > bytes, monitor.withLock({ trouble.recent.firstTime("pins") }) {
            report("pinned packs take \(pinned) bytes and the cache may take \(bytes): unpin some, or raise cache-size")
        }
    }

    /// Drops least recently used packs until both bounds hold. Asks the file system without the monitor.
    func makeRoom(keeping kept: PackID?) {
        while true {
            let (place, floor) = monitor.withLock { () -> (String, Int) in
                grownSinceLook = 0
                return (directory.path, limits.free)
            }
            let shortage = floor > 0 ? floor - (Self.freeBytes(place) ?? floor) : 0
            monitor.lock()
            let old = evict(keeping: kept, giving: max(0, shortage))
            let isWithin = total <= limits.bytes && shortage <= 0
            monitor.unlock()
            if isWithin || old.isEmpty { return }
            withExtendedLifetime(old) {}
        }
    }

    /// Under the monitor. Drops the least recently used packs that are not pinned, until the copies are within their
    /// bound and `giving` bytes are free that were not. A reader that holds one keeps its open file. The caller lets go of
    /// the answer after the monitor.
    func evict(keeping kept: PackID?, giving shortage: Int) -> [Entry] {
        guard total > limits.bytes || shortage > 0 else { return [] }
        var goal = total - shortage
        if total > limits.bytes {
            // To nine tenths of what is not pinned, so that a full cache does not sort its entries for every frame.
            let pinned = min(pinnedBytes(), limits.bytes)
            goal = min(goal, pinned + (limits.bytes - pinned) / 10 * 9)
        }
        var gone: [Entry] = []
        for (id, _) in entries.sorted(by: { $0.value.lastUse < $1.value.lastUse })
        where id != kept && pins[id] == nil {
            guard total > goal, gone.count < Self.turn else { break }
            if let entry = forget(id) {
                gone.append(entry)
                meter.countEvicted()
            }
            directory.unlink("\(id)")
        }
        return gone
    }

    /// Under the monitor.
    func pinnedBytes() -> Int { pins.keys.reduce(0) { $0 + (entries[$1]?.bytes ?? 0) } }

    /// Bytes that its user may still write to a file system.
    static func freeBytes(_ path: String) -> Int? {
        DiskRoom(of: path).map { Int(clamping: $0.free) }
    }

    /// Gives back some room on a full disk. False where nothing can go.
    func giveSpare() -> Bool {
        monitor.lock()
        let old = evict(keeping: nil, giving: Self.spareBytes)
        monitor.unlock()
        // Files that nothing could be written to give nothing back.
        return old.contains { $0.bytes > 0 }
    }
}
