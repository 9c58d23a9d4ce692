/// One name that Prometheus sees, with what is known of a volume under it.
public struct MetricFamily: Sendable {
    public enum Kind: String, Sendable {
        case counter, gauge, histogram
    }

    enum Value {
        case number(Double)
        case count(UInt64)
        case latency(LatencyHistogram)
    }

    typealias Sample = (labels: [(name: String, value: String)], value: Value)

    public let name: String
    public let kind: Kind
    let help: String
    /// The samples of one volume, without its name.
    let samples: @Sendable (VolumeStatistics) -> [Sample]

    private init(
        _ name: String, _ kind: Kind, _ help: String, _ samples: @escaping @Sendable (VolumeStatistics) -> [Sample]
    ) {
        self.name = name
        self.kind = kind
        self.help = help
        self.samples = samples
    }

    private static func counter(
        _ name: String, _ help: String, _ value: @escaping @Sendable (VolumeStatistics) -> UInt64
    ) -> MetricFamily {
        MetricFamily(name, .counter, help) { [([], .count(value($0)))] }
    }

    /// Left out where there is no value: a volume without a limit has none.
    private static func gauge(
        _ name: String, _ help: String, _ value: @escaping @Sendable (VolumeStatistics) -> UInt64?
    ) -> MetricFamily {
        MetricFamily(name, .gauge, help) { volume in value(volume).map { [([], .count($0))] } ?? [] }
    }

    private static func operations(
        _ label: String, _ table: [String: OperationStatistics], _ value: (OperationStatistics) -> Value
    ) -> [Sample] {
        table.sorted { $0.key < $1.key }.map { ([(label, $0.key)], value($0.value)) }
    }

    /// All families of volumes, in the order in which they are written.
    public static let all: [MetricFamily] = about + requests + cache + store + metadata

    private static let about: [MetricFamily] = [
        MetricFamily("berth_volume_info", .gauge, "Always 1; the version that the volume's server runs.") {
            [([("version", $0.version)], .count(1))]
        },
        MetricFamily("berth_volume_start_time_seconds", .gauge, "When the volume's server started, in Unix time.") {
            [([], .number($0.startTime))]
        },
        MetricFamily("berth_sessions", .gauge, "Mounts being served, by who made them.") { volume in
            volume.gauges.sessions.sorted { $0.key < $1.key }.map { ([("runtime", $0.key)], .count(UInt64($0.value))) }
        },
        gauge("berth_inodes", "Files and directories of the volume.") { $0.gauges.inodes },
        gauge("berth_inodes_limit", "Files and directories at most; absent where there is no limit.") {
            $0.gauges.inodeLimit
        },
        gauge("berth_data_bytes", "Bytes of file data of the volume.") { $0.gauges.bytes },
        gauge("berth_data_limit_bytes", "Bytes of file data at most; absent where there is no limit.") {
            $0.gauges.byteLimit
        },
        MetricFamily(
            "berth_fault", .gauge,
            "1 while that part keeps the volume from working as it should; berth status says why."
        ) { volume in
            (volume.gauges.faults ?? [:]).sorted { $0.key < $1.key }.map {
                ([("part", $0.key)], .count($0.value ? 1 : 0))
            }
        },
        gauge("berth_process_resident_memory_bytes", "Memory of the volume's server.") { $0.gauges.residentBytes },
        MetricFamily("berth_process_cpu_seconds_total", .counter, "Processor time of the volume's server.") {
            [([], .number($0.gauges.processorSeconds))]
        },
    ]

    private static let requests: [MetricFamily] = [
        MetricFamily(
            "berth_fuse_request_duration_seconds", .histogram,
            "Requests of the kernel, from their receipt to their answer."
        ) { operations("op", $0.requests.operations) { .latency($0.latency) } },
        MetricFamily(
            "berth_fuse_errors_total", .counter,
            "Requests answered with an errno, but for ENOENT, EEXIST, ENODATA and other ordinary answers."
        ) { operations("op", $0.requests.operations) { .count($0.errors) } },
        counter("berth_fuse_io_errors_total", "Requests answered with EIO.") { $0.requests.faults },
        counter("berth_read_bytes_total", "Bytes read from the volume; what a page cache had is not asked for.") {
            $0.requests.bytesRead
        },
        counter("berth_written_bytes_total", "Bytes written to the volume.") { $0.requests.bytesWritten },
    ]

    private static let cache: [MetricFamily] = [
        counter("berth_cache_hit_frames_total", "Frames of 64 KiB that reads found on this node.") {
            $0.packs.hitFrames
        },
        counter("berth_cache_miss_frames_total", "Frames of 64 KiB that reads had to fetch.") {
            $0.packs.missedFrames
        },
        counter("berth_cache_fetched_bytes_total", "Raw bytes that came into the cache, asked for or in advance.") {
            $0.packs.fetchedBytes
        },
        counter("berth_cache_evicted_packs_total", "Packs that made room for others in the cache.") {
            $0.packs.evictedPacks
        },
        gauge("berth_cache_packs", "Packs with a copy in the cache.") { UInt64($0.gauges.cachedPacks) },
        gauge("berth_cache_bytes", "Bytes of those copies.") { $0.gauges.cachedBytes },
        gauge("berth_cache_limit_bytes", "Bytes of copies at most.") { $0.gauges.cacheLimit },
    ]

    private static let store: [MetricFamily] = [
        MetricFamily(
            "berth_store_request_duration_seconds", .histogram, "Requests to the store, each try by itself."
        ) { operations("verb", $0.store.requests) { .latency($0.latency) } },
        MetricFamily("berth_store_errors_total", .counter, "Requests to the store that failed.") {
            operations("verb", $0.store.requests) { .count($0.errors) }
        },
        counter("berth_store_retries_total", "Requests to the store that were sent again.") { $0.store.retries },
        counter("berth_store_sent_bytes_total", "Bytes of bodies sent to the store.") { $0.store.bytesSent },
        counter("berth_store_received_bytes_total", "Bytes of bodies received from the store.") {
            $0.store.bytesReceived
        },
        gauge("berth_staged_packs", "Packs that the store has not got yet.") { UInt64($0.gauges.stagedPacks) },
        gauge("berth_staged_bytes", "Raw bytes of those packs.") { $0.gauges.stagedBytes },
        counter("berth_sealed_packs_total", "Packs that were put into the store.") { $0.packs.sealedPacks },
        counter("berth_sealed_raw_bytes_total", "Bytes of those packs before compression.") {
            $0.packs.sealedRawBytes
        },
        counter("berth_sealed_stored_bytes_total", "Bytes of those packs in the store.") {
            $0.packs.sealedStoredBytes
        },
        counter("berth_seal_failures_total", "Tries to store a pack that failed.") { $0.packs.sealFailures },
    ]

    private static let metadata: [MetricFamily] = [
        MetricFamily("berth_commit_duration_seconds", .histogram, "Commits of the metadata, with the data before them.")
        { [([], .latency($0.commits.latency))] },
        counter(
            "berth_commit_errors_total",
            "Commits that failed; the volume is read-only after one, until the disk works again."
        ) {
            $0.commits.errors
        },
    ]
}
