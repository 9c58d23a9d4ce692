import ArgumentParser
import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem
import ObjectStorage
import Packs
import SQLiteMetadata
import Volumes

/// Verifies a volume, and mends it.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Verify a volume. Exit status 0: whole; 65: damaged, with a line for each damage.")

    @Argument(help: "The volume.")
    var name: String

    @Flag(help: "Read all data and verify its checksums.")
    var data = false

    @Flag(help: "Mend the metadata; programs that use the volume wait meanwhile.")
    var repair = false

    @Flag(help: "Print the report as JSON.")
    var json = false

    struct Report: Encodable {
        var volume: String
        var isWhole = true
        /// A copy of the metadata was checked, because the volume is in use.
        var isInUse = false
        var inodes: UInt64 = 0
        var entries: UInt64 = 0
        var extents: UInt64 = 0
        var bytes: UInt64 = 0
        var packs = 0
        var stagedPacks = 0
        var snapshots = 0
        var clones = 0
        /// Raw bytes whose checksums were verified; 0 without --data.
        var provedBytes: UInt64 = 0
        /// Imported, and not copied. With --data each was looked for, but for those of closed sources.
        var foreignObjects = 0
        /// Sources of imported files that the metadata name and the volume's user has not: they stay closed.
        var closedSources: [String] = []
        /// Objects in the store that nothing names: a crash left them between a put and its commit. Harmless.
        var leftoverObjects = 0
        /// What --repair did, one line each.
        var repairs: [String] = []
        var problemCount: UInt64 = 0
        var problems: [String] = []

        mutating func take(_ found: Problems) {
            isWhole = found.count == 0
            problemCount = found.count
            problems = found.lines
        }
    }

    func run() throws {
        var isWhole = true
        try berthfs.run { () throws(SystemFailure) in
            let site = SitePaths(environment: ProcessEnvironment.current())
            let record = try VolumeRegistry(paths: site).record(try VolumeName(name))
            let paths = site.volume(record.name)
            var report = Report(volume: record.name)
            if repair { report.repairs = try mend(record, paths, site) }
            let repairs = report.repairs
            var look = try MetadataLook.take(paths, site, purpose: "check")
            report.isInUse = look.isCopy
            try check(record, paths, look.path, &report)
            // A pack that was emptied since is gone from the store, too.
            if look.isCopy, !report.isWhole {
                try look.renew(paths, site)
                report = Report(volume: record.name, isInUse: true, repairs: repairs)
                try check(record, paths, look.path, &report)
            }
            look.remove()
            isWhole = report.isWhole
            try print(report)
        }
        if !isWhole { throw ExitCode(ExitStatus.dataError.rawValue) }
    }

    /// Answers a line for each thing that was mended.
    private func mend(
        _ record: VolumeRecord, _ paths: VolumePaths, _ site: SitePaths
    ) throws(SystemFailure) -> [String] {
        let lock: VolumeLock
        do throws(SystemFailure) {
            lock = try VolumeLock.take(paths)
        } catch {
            guard error.errno == .busy else { throw error }
            if let lines = try Mending.ask(paths, site) { return lines }
            lock = try VolumeLock.take(paths)
        }
        let lines = try VolumeRepair(record, paths).run()
        _ = consume lock
        return lines
    }

    private func check(
        _ record: VolumeRecord, _ paths: VolumePaths, _ database: String, _ report: inout Report
    ) throws(SystemFailure) {
        let store = try OpenVolume.store(record, paths, logger: nil)
        // A server that is there has found it to be well.
        if database == paths.database, let refusal = try MissingMetadata.refusal(record, paths, store) {
            var problems = Problems()
            problems.add(refusal.message)
            return report.take(problems)
        }
        // Made by the first mount: a new volume is whole.
        guard access(database, F_OK) == 0 else { return }
        let metadata: MetadataReport
        do {
            metadata = try MetadataChecker.check(path: database, snapshots: paths.snapshots)
        } catch {
            throw SystemFailure("volume \"\(record.name)\"", error.description, status: .dataError)
        }
        let checker = PackChecker(store: store, stagingDirectory: paths.staging)
        var problems = metadata.problems
        for pack in metadata.packs where pack.record.state != .doomed {
            report.provedBytes += checker.check(pack.record, rawEnd: pack.rawEnd, data: data, &problems)
        }
        let trust = SourceTrust(record)
        report.closedSources = trust.closed(of: Set(metadata.foreignObjects.map(\.source)).sorted { $0.id < $1.id })
        if data { try Self.check(metadata.foreignObjects, trust, &problems) }
        report.foreignObjects = metadata.foreignObjects.count
        do {
            report.leftoverObjects = try checker.leftovers(beside: Set(metadata.packs.map(\.record.id))).count
        } catch {
            problems.add("the store cannot be listed: \(error)")
        }
        report.inodes = metadata.inodes
        report.entries = metadata.entries
        report.extents = metadata.extents
        report.bytes = metadata.bytes
        report.packs = metadata.packs.count
        report.stagedPacks = metadata.packs.count { $0.record.state == .staged }
        report.snapshots = metadata.snapshots
        report.clones = metadata.clones
        report.take(problems)
    }

    /// Makes sure that each imported object is still what it was.
    private static func check(
        _ objects: [(object: ForeignObject, source: ForeignSource)], _ trust: SourceTrust, _ problems: inout Problems
    ) throws(SystemFailure) {
        // No server, and so in no filter.
        let opener = ForeignStores(reach: .network, trust: trust)
        var stores: [Int64: any ForeignStore] = [:]
        for (object, source) in objects where trust.allows(source) {
            let store: any ForeignStore
            if let known = stores[source.id] { store = known } else { store = try opener.open(source) }
            stores[source.id] = store
            do {
                try store.prove(object, source.url)
            } catch {
                problems.add("\(error)")
            }
        }
    }

    private func print(_ report: Report) throws(SystemFailure) {
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            do {
                Swift.print(String(decoding: try encoder.encode(report), as: UTF8.self))
            } catch {
                throw SystemFailure("the report", "cannot be written as JSON: \(error)", status: .software)
            }
            return
        }
        for line in report.repairs { Swift.print("mended: \(PrintableText.escaped(line))") }
        for line in report.problems { Swift.print("damage: \(PrintableText.escaped(line))") }
        for line in Recovery.lines(ofClosed: report.closedSources, volume: report.volume) {
            Swift.print(PrintableText.escaped(line))
        }
        let foreign = report.foreignObjects > 0 ? ", \(report.foreignObjects) imported objects" : ""
        let proved = data ? ", \(report.provedBytes) bytes proved against their checksums" : ""
        let kept =
            report.snapshots + report.clones == 0 ? "" : ", \(report.snapshots) snapshots, \(report.clones) clones"
        Swift.print(
            "\(report.volume): \(report.isWhole ? "whole" : "DAMAGED, \(report.problemCount) problems"); "
                + "\(report.inodes) inodes, \(report.entries) entries, \(report.extents) extents, \(report.bytes) bytes, "
                + "\(report.packs) packs (\(report.stagedPacks) staged)\(foreign)\(kept)\(proved)")
    }
}
