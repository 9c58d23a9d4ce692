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
        monitor.withLock {
            self.limits = limits
            countAsked()
        }
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
            let isWithin = total <= limits.bytes && shortage <= 0 && !hasTooMuchUnasked
            monitor.unlock()
            if isWithin || old.isEmpty { return }
            withExtendedLifetime(old) {}
        }
    }

    /// Under the monitor. Drops the least recently used packs that are not pinned, until the copies are within their
    /// bounds and `giving` bytes are free that were not. A reader that holds one keeps its open file. The caller lets go of
    /// the answer after the monitor.
    func evict(keeping kept: PackID?, giving shortage: Int) -> [Entry] {
        guard total > limits.bytes || shortage > 0 || hasTooMuchUnasked else { return [] }
        var goal = total - shortage
        var gone: [Entry] = []
        if let unasked = limits.unasked, hasTooMuchUnasked {
            drop(until: askedTotal + unasked / 10 * 9, keeping: kept, sparesAsked: true, &gone)
        }
        if total > limits.bytes {
            // To nine tenths of what is not pinned, so that a full cache does not sort its entries for every frame.
            let pinned = min(pinnedBytes(), limits.bytes)
            goal = min(goal, pinned + (limits.bytes - pinned) / 10 * 9)
        }
        if total > limits.bytes || total > goal { drop(until: goal, keeping: kept, sparesAsked: false, &gone) }
        return gone
    }

    /// Under the monitor.
    private func drop(until goal: Int, keeping kept: PackID?, sparesAsked: Bool, _ gone: inout [Entry]) {
        for (id, _) in entries.sorted(by: { $0.value.lastUse < $1.value.lastUse })
        where id != kept && pins[id] == nil && !(sparesAsked && isAsked(id)) {
            guard total > goal, gone.count < Self.turn else { return }
            if let entry = forget(id) {
                gone.append(entry)
                meter.countEvicted()
            }
            directory.unlink("\(id)")
        }
    }

    // MARK: What nobody asked for

    /// Under the monitor. Imported data comes from elsewhere than the volume's store: the bound is not about it.
    func isAsked(_ id: PackID) -> Bool { id.isCacheSegment || pins[id] != nil || asked.contains(id) }

    /// Under the monitor.
    private var hasTooMuchUnasked: Bool {
        guard let unasked = limits.unasked else { return false }
        return total - askedTotal > unasked
    }

    /// Under the monitor: an entry grew.
    func add(_ bytes: Int, to id: PackID) {
        total += bytes
        if limits.unasked != nil && isAsked(id) { askedTotal += bytes }
    }

    /// Under the monitor, after what is asked for has changed.
    func countAsked() {
        guard limits.unasked != nil else { return }
        askedTotal = entries.reduce(0) { $0 + (isAsked($1.key) ? $1.value.bytes : 0) }
    }

    /// Somebody wants these packs here: they are not dropped for being more than comes unasked. Written down, so that
    /// the next server knows as well.
    func ask(for ids: some Sequence<PackID>) {
        let (all, place) = monitor.withLock { () -> (Set<PackID>?, HeldDirectory) in
            guard limits.unasked != nil else { return (nil, directory) }
            let before = asked
            // Others may be on their way still. Those that are gone are passed over when the next server reads them.
            asked.formUnion(ids)
            countAsked()
            return (asked == before ? nil : asked, directory)
        }
        guard let all else { return }
        do {
            try CacheDirectory.write(warmed: all, in: place)
        } catch {
            report("what is warmed up stays until the server ends: \(error.message)")
        }
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
