import FileModel
import LinuxSystem

/// Why packs cannot be pinned.
public enum PinRefusal: Error, Equatable, Sendable, CustomStringConvertible {
    /// The pinned packs together, and what the cache may hold of them.
    case pastLimit(needed: Int, limit: Int)
    /// What must still come, and the room for it.
    case noRoom(needed: Int, free: Int)
    case notWritten(SystemFailure)

    public var description: String {
        switch self {
        case .pastLimit(let needed, let limit):
            "pinned packs would take \(needed) bytes, and the cache may hold \(limit) of them"
        case .noRoom(let needed, let free):
            "\(needed) bytes are still to come, and the cache's disk has room for \(free)"
        case .notWritten(let failure): failure.message
        }
    }
}

/// What a cache holds.
public struct CacheState: Equatable, Sendable {
    public var directory = ""
    public var limits = CacheLimits(bytes: 0, free: 0)
    public var packs = 0
    public var bytes = 0
    public var pinnedPacks = 0
    /// Of those that are here.
    public var pinnedBytes = 0
    /// Reads that asked the store for nothing, and those that did, since the server started.
    public var hits = 0
    public var misses = 0
}

/// What a look at a copy found.
public struct CopyVerdict: Equatable, Sendable {
    public var provedFrames = 0
    public var missingFrames = 0
    public var badFrames = 0

    public init() {}
}

extension PackCache {
    /// What is not for pinned packs, so that others can be read, one at least.
    static let unpinnableBytes = PackFormat.maximumRawBytes

    /// Keeps packs from being dropped, durably. `sizes` are their raw bytes.
    func pin(_ sizes: [PackID: Int]) throws(PinRefusal) {
        restore()
        let place = self.place
        // A file system that does not tell is trusted to have room.
        let free = Self.freeBytes(place.path) ?? 1 << 60
        monitor.lock()
        let all = pins.merging(sizes) { _, new in new }
        let needed = all.values.reduce(0, +)
        let missing = sizes.reduce(0) { $0 + max(0, $1.value - (entries[$1.key]?.bytes ?? 0)) }
        let droppable = entries.reduce(0) { $0 + (all[$1.key] != nil ? 0 : $1.value.bytes) }
        let room = max(0, free.subtractingClamped(limits.free)).addingClamped(droppable)
        let limit = limits.bytes - Self.unpinnableBytes
        let old = pins
        if needed <= limit && missing <= room { pins = all }
        countAsked()
        monitor.unlock()
        guard needed <= limit else { throw .pastLimit(needed: needed, limit: max(0, limit)) }
        guard missing <= room else { throw .noRoom(needed: missing, free: room) }
        do {
            try CacheDirectory.write(pins: all, in: place)
        } catch {
            monitor.withLock {
                pins = old
                countAsked()
            }
            throw .notWritten(error)
        }
    }

    /// Lets packs go again when room is needed; nil: all. Answers how many were pinned.
    func unpin(_ ids: Set<PackID>?) -> Int {
        let (before, left, place) = monitor.withLock { () -> (Int, [PackID: Int], HeldDirectory) in
            let before = pins.count
            if let ids { pins = pins.filter { !ids.contains($0.key) } } else { pins.removeAll() }
            countAsked()
            return (before, pins, directory)
        }
        guard left.count < before else { return 0 }
        do {
            try CacheDirectory.write(pins: left, in: place)
        } catch {
            report("packs are unpinned until the server ends only: \(error.message)")
        }
        return before - left.count
    }

    func isPinned(_ id: PackID) -> Bool { monitor.withLock { pins[id] != nil } }

    func state() -> CacheState {
        monitor.withLock {
            CacheState(
                directory: directory.path, limits: limits, packs: entries.count, bytes: total, pinnedPacks: pins.count,
                pinnedBytes: pinnedBytes(), hits: hits.load(ordering: .relaxed),
                misses: misses.load(ordering: .relaxed))
        }
    }

    /// Proves every frame of a copy. One with a bad frame is dropped, and comes again when it is read.
    func verify(_ id: PackID) throws(PackReadFailure) -> CopyVerdict {
        guard monitor.withLock({ entries[id] != nil }) else { return CopyVerdict() }
        let verdict = try pack(id).verify(from: store)
        if verdict.badFrames > 0 {
            _ = drop(id)
            report("pack \(id): \(verdict.badFrames) frames of its copy were damaged; it is dropped")
        }
        return verdict
    }
}
