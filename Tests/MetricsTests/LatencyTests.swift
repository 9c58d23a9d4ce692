import LinuxSystem
import Metrics
import TestSupport
import Testing

@Suite("latency histograms")
struct LatencyTests {
    @Test("every duration is in the one bucket whose bounds enclose it, and bounds grow")
    func buckets() {
        let seed = UInt64.random(in: 0 ... .max)
        var generator = SeededGenerator(seed: seed)
        var bounds = (0..<LatencyScale.bucketCount).map { LatencyScale.upperBound(ofBucket: $0) }
        #expect(bounds == bounds.sorted() && Set(bounds).count == bounds.count)
        bounds.insert(0, at: 0)
        var durations = (0..<20_000).map { _ in
            UInt64.random(in: 0 ... .max, using: &generator) >> UInt64.random(in: 0..<64, using: &generator)
        }
        for shift in 0..<38 { durations += [-1, 0, 1].map { UInt64(bitPattern: (1 << shift) + $0) } }
        for duration in durations {
            let bucket = LatencyScale.bucket(ofNanoseconds: duration)
            #expect(bucket >= 0 && bucket < LatencyScale.bucketCount, "seed \(seed): \(duration)")
            let isLast = bucket == LatencyScale.bucketCount - 1
            #expect(duration == 0 || duration > bounds[bucket], "seed \(seed): \(duration)")
            #expect(isLast || duration <= bounds[bucket + 1], "seed \(seed): \(duration)")
        }
        // A bucket above the smallest is a quarter of a doubling wide: no estimate is off by more than a quarter.
        for bucket in 8..<LatencyScale.bucketCount {
            #expect(bounds[bucket + 1] - bounds[bucket] <= bounds[bucket] / 4 + 1)
        }
    }

    @Test("a quantile is within a bucket of the exact one")
    func quantiles() throws {
        let seed = UInt64.random(in: 0 ... .max)
        var generator = SeededGenerator(seed: seed)
        for size in [1, 2, 10, 999, 5000] {
            let durations = (0..<size).map { _ in
                UInt64.random(in: 1...(1 << 30), using: &generator) >> UInt64.random(in: 0..<20, using: &generator)
            }
            var histogram = LatencyHistogram()
            for duration in durations { histogram.record(nanoseconds: duration) }
            let ordered = durations.sorted()
            for share in [0.0, 0.25, 0.5, 0.9, 0.99, 0.999, 1] {
                let rank = max(1, Int((share * Double(size)).rounded(.up)))
                let bucket = LatencyScale.bucket(ofNanoseconds: ordered[rank - 1])
                let found = try #require(histogram.quantile(share))
                let low = bucket == 0 ? 0 : LatencyScale.upperBound(ofBucket: bucket - 1)
                #expect(found > Double(low) || ordered[rank - 1] == 0, "seed \(seed)")
                #expect(found <= Double(LatencyScale.upperBound(ofBucket: bucket)), "seed \(seed)")
            }
            #expect(histogram.count == UInt64(size) && histogram.totalNanoseconds == durations.reduce(0, +))
            for shift in 0..<36 {
                let bound = UInt64(1) << UInt64(shift)
                #expect(
                    histogram.count(upTo: bound) == UInt64(durations.count { $0 <= bound }), "seed \(seed): \(bound)")
            }
        }
        #expect(LatencyHistogram().quantile(0.5) == nil)
    }

    @Test("a difference is what came in between, and all of it where the counters began anew")
    func difference() {
        var first = LatencyHistogram()
        for duration in [10, 2_000, 3_000_000] as [UInt64] { first.record(nanoseconds: duration) }
        var second = first
        second.record(nanoseconds: 5_000)
        var between = LatencyHistogram()
        between.record(nanoseconds: 5_000)
        #expect(second.since(first) == between)
        #expect(first.since(second) == first)
        var sum = first
        sum.merge(between)
        #expect(sum == second)
    }

    @Test("many threads that record at once lose nothing")
    func threads() {
        let meter = RequestMeter()
        let threads = (0..<8).map { number in
            WorkerThread(name: "meter") {
                for index in 0..<20_000 {
                    meter.record(
                        AnsweredRequest(
                            opcode: UInt32(index % 70), nanoseconds: UInt64(index),
                            errno: index % 10 == 0 ? 5 : index % 10 == 1 ? 2 : 0,
                            bytesRead: 3, bytesWritten: 1), shard: number % 3)
                }
            }
        }
        for thread in threads { thread.join() }
        let found = meter.statistics()
        #expect(found.operations.values.reduce(0) { $0 + $1.latency.count } == 160_000)
        #expect(found.operations.values.reduce(0) { $0 + $1.errors } == 16_000)
        #expect(found.bytesRead == 480_000 && found.bytesWritten == 160_000 && found.faults == 16_000)
        // Lookup is 1, rename 12 and 45, and what has no name is counted, too.
        #expect(found.operations["lookup"]?.latency.count == 8 * 286)
        #expect(found.operations["rename"]?.latency.count == 8 * (286 + 286))
        #expect((found.operations["other"]?.latency.count ?? 0) > 8 * 286)
    }
}
