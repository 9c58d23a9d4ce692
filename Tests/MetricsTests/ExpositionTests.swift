import LinuxSystem
import Metrics
import TestSupport
import Testing

@Suite("what Prometheus is told")
struct ExpositionTests {
    private let directory = TemporaryDirectory()

    /// A volume of which all is known.
    private func volume(_ name: String) -> VolumeStatistics {
        let meter = VolumeMeter()
        for opcode in [1, 15, 16, 35] as [UInt32] {
            for shift in 0..<40 {
                meter.requests.record(
                    AnsweredRequest(
                        opcode: opcode, nanoseconds: 1 << UInt64(shift), errno: shift == 3 ? 5 : shift == 4 ? 2 : 0,
                        bytesRead: 10, bytesWritten: 20), shard: shift % RequestMeter.shards)
            }
        }
        meter.store.record(.put, nanoseconds: 12_000_000, isError: true)
        meter.store.countSent(77)
        meter.packs.countRead(frames: 5, fetchedBytes: 65_537, frameBytes: 65_536)
        meter.commits.record(0, nanoseconds: 1_000_000)
        var gauges = VolumeGauges()
        gauges.sessions = ["host": 2, "podman": 1]
        gauges.faults = ["cache": true, "store": false]
        (gauges.inodes, gauges.inodeLimit, gauges.bytes, gauges.byteLimit) = (3, 4, 5, 6)
        return VolumeStatistics(
            volume: name, version: "1.2.3", processID: 4, startTime: 1_700_000_000.5, meter: meter, gauges: gauges)
    }

    /// Samples as Prometheus' own parser reads them.
    private func parse(_ text: String) throws -> Set<String> {
        let path = "\(directory.path)/text"
        try AtomicFile.replace(path, Array(text.utf8))
        let script = "'\(try Programs.tool("python3"))' '\(Programs.script("parse-metrics.py"))' < '\(path)'"
        return Set(try Shell.root.run(script).split(separator: "\n").map(String.init))
    }

    @Test("Prometheus' own parser reads every family, of any number of volumes, whatever their names hold")
    func parsed() throws {
        let text = Exposition.text([volume("a"), volume("q\"b\\n\nc")], unserved: ["idle"], version: "9")
        let samples = try parse(text)
        for expected in [
            "berth_build_info{version=\"9\"} 1", "berth_volume_up{volume=\"a\"} 1",
            "berth_volume_up{volume=\"idle\"} 0",
            "berth_fuse_request_duration_seconds_count{op=\"create\",volume=\"a\"} 40",
            "berth_fuse_request_duration_seconds_bucket{le=\"2.048e-06\",op=\"read\",volume=\"a\"} 12",
            "berth_fuse_request_duration_seconds_bucket{le=\"34.359738368\",op=\"read\",volume=\"a\"} 36",
            "berth_fuse_errors_total{op=\"write\",volume=\"a\"} 1", "berth_fuse_io_errors_total{volume=\"a\"} 4",
            "berth_read_bytes_total{volume=\"a\"} 1600", "berth_store_errors_total{verb=\"put\",volume=\"a\"} 1",
            "berth_store_sent_bytes_total{volume=\"a\"} 77", "berth_cache_miss_frames_total{volume=\"a\"} 2",
            "berth_cache_hit_frames_total{volume=\"a\"} 3", "berth_sessions{runtime=\"host\",volume=\"a\"} 2",
            "berth_inodes_limit{volume=\"a\"} 4", "berth_volume_start_time_seconds{volume=\"a\"} 1700000000.5",
            "berth_volume_up{volume=\"q\"b\\n\nc\"} 1".split(separator: "\n").last.map(String.init) ?? "",
        ] { #expect(samples.contains(expected), "\(expected)") }
        for family in MetricFamily.all { #expect(text.contains("# TYPE \(family.name) \(family.kind.rawValue)\n")) }
        #expect(Set(MetricFamily.all.map(\.name)).count == MetricFamily.all.count)
    }

    @Test("without a volume, and of one without limits, what there is can be read")
    func empty() throws {
        #expect(try parse(Exposition.text([], unserved: [], version: "9")) == ["berth_build_info{version=\"9\"} 1"])
        var unlimited = volume("a")
        (unlimited.gauges.inodeLimit, unlimited.gauges.byteLimit) = (nil, nil)
        let samples = try parse(Exposition.text([unlimited], unserved: [], version: "9"))
        #expect(!samples.contains { $0.contains("_limit{") || $0.hasPrefix("berth_data_limit") })
    }

    @Test("the dashboard asks for nothing that is not told, and shows all that is")
    func dashboard() throws {
        let path = Programs.packaging("grafana/berth.json")
        let text = try Shell.root.run(
            """
            /usr/bin/python3 - <<'END'
            import json, re
            board = json.load(open("\(path)"))
            panels = board["panels"]
            assert board["title"] and len({p["id"] for p in panels}) == len(panels)
            for panel in panels:
                place = panel["gridPos"]
                assert place["x"] + place["w"] <= 24
                for target in panel.get("targets", []):
                    assert target["expr"].count("(") == target["expr"].count(")"), target["expr"]
                    assert target["expr"].count("{") == target["expr"].count("}"), target["expr"]
            for name in sorted(set(re.findall(r"\\bberth_[a-z0-9_]+", json.dumps(board)))):
                print(name)
            END
            """)
        let histograms = MetricFamily.all.filter { $0.kind == .histogram }.map(\.name)
        let used = Set(
            text.split(separator: "\n").map { name -> String in
                for suffix in ["_bucket", "_sum", "_count"] where name.hasSuffix(suffix) {
                    let base = String(name.dropLast(suffix.count))
                    if histograms.contains(base) { return base }
                }
                return String(name)
            })
        let told = Set(MetricFamily.all.map(\.name) + [Exposition.upFamily, Exposition.buildFamily])
        #expect(used.subtracting(told) == [])
        #expect(told.subtracting(used) == [])
    }

    @Test("rates are of what came between two looks of one process, and else since its start")
    func rates() throws {
        var first = volume("a")
        first.uptimeSeconds = 10
        var second = first
        second.uptimeSeconds = 12
        var reads = try #require(second.requests.operations["read"])
        for _ in 0..<10 { reads.latency.record(nanoseconds: 1000) }
        reads.errors += 4
        second.requests.operations["read"] = reads
        second.store.bytesSent += 200
        second.packs.hitFrames += 9
        second.packs.missedFrames += 1
        let rates = VolumeRates(second, since: first)
        #expect(rates.perSecond == 5 && rates.errorsPerSecond == 2 && rates.bytesSent == 100 && rates.hitRatio == 0.9)
        #expect(rates.operations.map(\.name) == ["read"] && rates.latency.count == 10)
        // Another process counts from zero.
        second.processID += 1
        #expect(abs(VolumeRates(second, since: first).perSecond - 170.0 / 12) < 1e-9)
        #expect(VolumeRates(first, since: first).hitRatio == nil)
    }
}
