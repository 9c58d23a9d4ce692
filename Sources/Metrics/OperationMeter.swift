/// What one kind of operation has done so far.
public struct OperationStatistics: Codable, Sendable, Equatable {
    /// How many failed, of those in `latency`.
    public var errors: UInt64
    public var latency: LatencyHistogram

    public init(errors: UInt64 = 0, latency: LatencyHistogram = LatencyHistogram()) {
        self.errors = errors
        self.latency = latency
    }

    public func since(_ earlier: OperationStatistics?) -> OperationStatistics {
        guard let earlier, errors >= earlier.errors else { return self }
        return OperationStatistics(errors: errors - earlier.errors, latency: latency.since(earlier.latency))
    }
}

/// Counts and times operations of a few kinds.
///
/// Recording costs two additions to atomic cells, without an order. Threads that record at once are given shards of
/// their own, so that they do not take each other's cache lines; who reads adds the shards up.
public final class OperationMeter: Sendable {
    private let kinds: Int
    private let shards: Int
    private let cells: CounterArray

    /// Of each kind in each shard: the buckets, the sum of durations, the errors.
    private static let stride = LatencyScale.bucketCount + 2

    public init(kinds: Int, shards: Int = 1) {
        self.kinds = kinds
        self.shards = shards
        cells = CounterArray(count: kinds * shards * Self.stride)
    }

    @inline(__always)
    public func record(_ kind: Int, nanoseconds: UInt64, isError: Bool = false, shard: Int = 0) {
        let start = (shard * kinds + kind) * Self.stride
        cells.add(1, at: start + LatencyScale.bucket(ofNanoseconds: nanoseconds))
        cells.add(nanoseconds, at: start + LatencyScale.bucketCount)
        if isError { cells.add(1, at: start + LatencyScale.bucketCount + 1) }
    }

    public func statistics(_ kind: Int) -> OperationStatistics {
        var result = OperationStatistics()
        for shard in 0..<shards {
            let start = (shard * kinds + kind) * Self.stride
            for bucket in 0..<LatencyScale.bucketCount {
                let count = cells.value(at: start + bucket)
                if count > 0 { result.latency.add(count, toBucket: bucket) }
            }
            result.latency.add(totalNanoseconds: cells.value(at: start + LatencyScale.bucketCount))
            result.errors += cells.value(at: start + LatencyScale.bucketCount + 1)
        }
        return result
    }

    /// Runs a body and records how long it took, and whether it threw what counts as an error.
    public func measure<Result, Failure: Error>(
        _ kind: Int, isError: (Failure) -> Bool = { _ in true }, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let start = monotonicNanoseconds()
        do throws(Failure) {
            let result = try body()
            record(kind, nanoseconds: monotonicNanoseconds() &- start)
            return result
        } catch {
            record(kind, nanoseconds: monotonicNanoseconds() &- start, isError: isError(error))
            throw error
        }
    }
}
