/// The buckets of every latency histogram: four to each doubling, so that a percentile is off by a quarter of its value at most.
/// A bucket holds what is above its lower bound, up to and with its upper one, as Prometheus counts.
public enum LatencyScale {
    private static let subdivisionBits = 2
    private static let subdivisions = 1 << subdivisionBits
    /// The last bucket ends at 2^37 ns, some two minutes, and takes all that is longer.
    private static let highestExponent = 36
    public static let bucketCount = (highestExponent - subdivisionBits + 2) * subdivisions

    /// The bucket of a duration.
    @inline(__always)
    public static func bucket(ofNanoseconds nanoseconds: UInt64) -> Int {
        // One less, so that a power of two is the last of its bucket.
        let value = nanoseconds &- (nanoseconds == 0 ? 0 : 1)
        if value < UInt64(subdivisions) { return Int(truncatingIfNeeded: value) }
        let exponent = 63 - value.leadingZeroBitCount
        guard exponent <= highestExponent else { return bucketCount - 1 }
        let part = Int(truncatingIfNeeded: value >> UInt64(exponent - subdivisionBits)) & (subdivisions - 1)
        return (exponent - subdivisionBits + 1) * subdivisions + part
    }

    /// The longest duration in a bucket.
    public static func upperBound(ofBucket bucket: Int) -> UInt64 {
        guard bucket >= subdivisions else { return UInt64(bucket) + 1 }
        let exponent = bucket / subdivisions + subdivisionBits - 1
        let part = UInt64(bucket % subdivisions)
        return (UInt64(subdivisions) + part + 1) << UInt64(exponent - subdivisionBits)
    }

    static func lowerBound(ofBucket bucket: Int) -> UInt64 {
        bucket == 0 ? 0 : upperBound(ofBucket: bucket - 1)
    }
}
