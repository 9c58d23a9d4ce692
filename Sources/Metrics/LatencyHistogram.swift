/// Durations as they were counted: a value, to be merged, compared with an earlier one, and sent.
public struct LatencyHistogram: Sendable, Equatable {
    /// One count a bucket of `LatencyScale`.
    public private(set) var counts: [UInt64]
    public private(set) var totalNanoseconds: UInt64

    public init() {
        counts = Array(repeating: 0, count: LatencyScale.bucketCount)
        totalNanoseconds = 0
    }

    public mutating func add(_ count: UInt64, toBucket bucket: Int) { counts[bucket] += count }

    public mutating func add(totalNanoseconds: UInt64) { self.totalNanoseconds &+= totalNanoseconds }

    public mutating func record(nanoseconds: UInt64) {
        add(1, toBucket: LatencyScale.bucket(ofNanoseconds: nanoseconds))
        add(totalNanoseconds: nanoseconds)
    }

    public var count: UInt64 { counts.reduce(0, +) }

    /// How many took at most this long. Exact where it is a bucket's upper bound, as each power of two is.
    public func count(upTo nanoseconds: UInt64) -> UInt64 {
        counts.indices.prefix { LatencyScale.upperBound(ofBucket: $0) <= nanoseconds }.reduce(0) { $0 + counts[$1] }
    }

    /// Nanoseconds that the share `quantile` (0 to 1) did not take longer than, interpolated in its bucket; nil where
    /// there is nothing.
    public func quantile(_ quantile: Double) -> Double? {
        let count = self.count
        guard count > 0 else { return nil }
        let rank = max(1, (min(max(quantile, 0), 1) * Double(count)).rounded(.up))
        var seen = 0.0
        for (bucket, inBucket) in counts.enumerated() where inBucket > 0 {
            if seen + Double(inBucket) >= rank {
                let low = Double(LatencyScale.lowerBound(ofBucket: bucket))
                let high = Double(LatencyScale.upperBound(ofBucket: bucket))
                return low + (high - low) * (rank - seen) / Double(inBucket)
            }
            seen += Double(inBucket)
        }
        return nil
    }

    public mutating func merge(_ other: LatencyHistogram) {
        for bucket in counts.indices { counts[bucket] += other.counts[bucket] }
        totalNanoseconds &+= other.totalNanoseconds
    }

    /// What came since `earlier`; all of it where the counters began anew in between.
    public func since(_ earlier: LatencyHistogram) -> LatencyHistogram {
        guard zip(counts, earlier.counts).allSatisfy({ $0 >= $1 }) else { return self }
        var result = self
        for bucket in counts.indices { result.counts[bucket] -= earlier.counts[bucket] }
        result.totalNanoseconds &-= earlier.totalNanoseconds
        return result
    }
}

extension LatencyHistogram: Codable {
    private enum Key: String, CodingKey {
        case total, buckets
    }

    /// Buckets that are not empty, each as its number and its count: most are.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(totalNanoseconds, forKey: .total)
        try container.encode(
            counts.enumerated().filter { $0.element > 0 }.flatMap { [UInt64($0.offset), $0.element] }, forKey: .buckets)
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        let words = try container.decode([UInt64].self, forKey: .buckets)
        self.init()
        totalNanoseconds = try container.decode(UInt64.self, forKey: .total)
        for index in stride(from: 0, to: words.count, by: 2) {
            guard index + 1 < words.count, words[index] < UInt64(counts.count) else {
                throw DecodingError.dataCorruptedError(
                    forKey: .buckets, in: container, debugDescription: "a bucket that there is not")
            }
            counts[Int(words[index])] = words[index + 1]
        }
    }
}
