/// Counts what happens to packs: reads that found their frames near, sealing, eviction.
public final class PackMeter: Sendable {
    private enum Total: Int, CaseIterable {
        case hitFrames, missedFrames, fetchedBytes, evictedPacks, sealedPacks, sealedRawBytes, sealedStoredBytes
        case sealFailures
    }

    private let totals = CounterArray(count: Total.allCases.count)

    public init() {}

    /// A read of `frames` frames for which `fetchedBytes` raw bytes had to come from the store.
    @inline(__always)
    public func countRead(frames: Int, fetchedBytes: Int, frameBytes: Int) {
        let missed = min(frames, (fetchedBytes + frameBytes - 1) / frameBytes)
        if frames > missed { totals.add(UInt64(frames - missed), at: Total.hitFrames.rawValue) }
        if missed > 0 { totals.add(UInt64(missed), at: Total.missedFrames.rawValue) }
    }

    /// Raw bytes came into the cache, asked for or in advance.
    public func countFetched(_ bytes: Int) { totals.add(UInt64(bytes), at: Total.fetchedBytes.rawValue) }

    public func countEvicted() { totals.add(1, at: Total.evictedPacks.rawValue) }

    public func countSealed(rawBytes: Int, storedBytes: Int) {
        totals.add(1, at: Total.sealedPacks.rawValue)
        totals.add(UInt64(rawBytes), at: Total.sealedRawBytes.rawValue)
        totals.add(UInt64(storedBytes), at: Total.sealedStoredBytes.rawValue)
    }

    public func countSealFailure() { totals.add(1, at: Total.sealFailures.rawValue) }

    public func statistics() -> PackStatistics {
        func total(_ which: Total) -> UInt64 { totals.value(at: which.rawValue) }
        return PackStatistics(
            hitFrames: total(.hitFrames), missedFrames: total(.missedFrames), fetchedBytes: total(.fetchedBytes),
            evictedPacks: total(.evictedPacks), sealedPacks: total(.sealedPacks),
            sealedRawBytes: total(.sealedRawBytes), sealedStoredBytes: total(.sealedStoredBytes),
            sealFailures: total(.sealFailures))
    }
}

/// All that one volume's server counts. Made once, in the composition root, and handed to whoever counts.
public final class VolumeMeter: Sendable {
    let startNanoseconds = monotonicNanoseconds()
    public let requests = RequestMeter()
    public let store = StoreMeter()
    public let packs = PackMeter()
    /// Commits of the metadata, of one kind.
    public let commits = OperationMeter(kinds: 1)

    public init() {}
}
