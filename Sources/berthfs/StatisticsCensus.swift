import Control
import FileModel
import Glibc
import LinuxSystem
import Metrics
import Packs
import VFS

/// Puts together what a volume's server tells of itself: what was counted, and how things are now.
struct StatisticsCensus: Sendable {
    private let volume: String
    let meter: VolumeMeter
    private let fileSystem: FileSystem
    private let packs: PackStore
    private let startTime: Double

    init(volume: String, opened: OpenVolume, startTime: Double) {
        self.volume = volume
        meter = opened.meter
        fileSystem = opened.fileSystem
        packs = opened.packs
        self.startTime = startTime
    }

    func take(_ attachments: [Attachment]) throws(SystemFailure) -> VolumeStatistics {
        var gauges = VolumeGauges()
        do {
            let usage = try fileSystem.usage()
            (gauges.inodes, gauges.bytes) = (usage.files, usage.bytes)
        } catch {
            throw SystemFailure("volume \"\(volume)\"", "cannot be looked at", error)
        }
        (gauges.inodeLimit, gauges.byteLimit) = fileSystem.limits
        let cache = packs.cacheState
        (gauges.cachedPacks, gauges.cachedBytes, gauges.cacheLimit) = (
            cache.packs, UInt64(cache.bytes), UInt64(cache.limits.bytes)
        )
        let staged = packs.stagedTotal()
        (gauges.stagedPacks, gauges.stagedBytes) = (staged.packs, UInt64(staged.bytes))
        for attachment in attachments {
            gauges.sessions[attachment.origin?.runtime.rawValue ?? "unknown", default: 0] += 1
        }
        let faulty = Set(fileSystem.faults.map(\.part))
        gauges.faults = Dictionary(
            uniqueKeysWithValues: VolumeFault.Part.allCases.map { ($0.rawValue, faulty.contains($0)) })
        (gauges.residentBytes, gauges.processorSeconds) = (Self.residentBytes(), Self.processorSeconds())
        return VolumeStatistics(
            volume: volume, version: Release.version, processID: getpid(), startTime: startTime, meter: meter,
            gauges: gauges)
    }

    /// The second number of `/proc/self/statm`, in pages.
    private static func residentBytes() -> UInt64 {
        guard let bytes = (try? AtomicFile.read("/proc/self/statm")) ?? nil else { return 0 }
        let words = String(decoding: bytes, as: UTF8.self).split(separator: " ")
        return words.count > 1 ? (UInt64(words[1]) ?? 0).multipliedClamped(by: UInt64(sysconf(Int32(_SC_PAGESIZE)))) : 0
    }

    private static func processorSeconds() -> Double {
        var usage = rusage()
        guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
        return [usage.ru_utime, usage.ru_stime].reduce(0) { $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1e6 }
    }

    /// Unix time, in seconds.
    static func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
