import ArgumentParser
import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem
import ObjectStorage
import Packs
import SQLiteMetadata
import Volumes

/// Verifies a volume that nobody uses.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Verify a volume that is not in use. Exit status 0: whole; 65: damaged, with a line for each damage.")

    @Argument(help: "The volume.")
    var name: String

    @Flag(help: "Read all data and verify its checksums.")
    var data = false

    @Flag(help: "Print the report as JSON.")
    var json = false

    private struct Report: Encodable {
        var volume: String
        var isWhole: Bool
        var inodes: UInt64
        var entries: UInt64
        var extents: UInt64
        var bytes: UInt64
        var packs: Int
        var stagedPacks: Int
        /// Raw bytes whose checksums were verified; 0 without --data.
        var provedBytes: UInt64
        /// Imported, and not copied. With --data each was looked for.
        var foreignObjects: Int
        /// Objects in the store that nothing names: a crash left them between a put and its commit. Harmless.
        var leftoverObjects: Int
        var problemCount: UInt64
        var problems: [String]
    }

    func run() throws {
        var isWhole = true
        try berthfs.run { () throws(SystemFailure) in
            let site = SitePaths(environment: ProcessEnvironment.current())
            let record = try VolumeRegistry(paths: site).record(try VolumeName(name))
            let paths = site.volume(record.name)
            let lock = try VolumeLock(paths)
            let report = try check(record, paths)
            _ = lock
            isWhole = report.isWhole
            try print(report)
        }
        if !isWhole { throw ExitCode(ExitStatus.dataError.rawValue) }
    }

    private func check(_ record: VolumeRecord, _ paths: VolumePaths) throws(SystemFailure) -> Report {
        var report = Report(
            volume: record.name, isWhole: true, inodes: 0, entries: 0, extents: 0, bytes: 0, packs: 0, stagedPacks: 0,
            provedBytes: 0, foreignObjects: 0, leftoverObjects: 0, problemCount: 0, problems: [])
        // Made by the first mount: a new volume is whole.
        guard access(paths.database, F_OK) == 0 else { return report }
        let metadata: MetadataReport
        do {
            metadata = try MetadataChecker.check(path: paths.database)
        } catch {
            throw SystemFailure("volume \"\(record.name)\"", error.description, status: .dataError)
        }
        let store = try OpenVolume.store(record, paths, logger: nil)
        let checker = PackChecker(store: store, stagingDirectory: paths.staging)
        var problems = metadata.problems
        for pack in metadata.packs {
            report.provedBytes += checker.check(pack.record, rawEnd: pack.rawEnd, data: data, &problems)
        }
        if data { try Self.check(metadata.foreignObjects, record, paths, &problems) }
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
        report.isWhole = problems.count == 0
        report.problemCount = problems.count
        report.problems = problems.lines
        return report
    }

    /// Makes sure that each imported object is still what it was.
    private static func check(
        _ objects: [(object: ForeignObject, source: ForeignSource)], _ record: VolumeRecord, _ paths: VolumePaths,
        _ problems: inout Problems
    ) throws(SystemFailure) {
        let opener = ForeignStores(reach: record.reach(paths))
        var stores: [Int64: any ForeignStore] = [:]
        for (object, source) in objects {
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
        for line in report.problems { Swift.print("damage: \(line)") }
        let foreign = report.foreignObjects > 0 ? ", \(report.foreignObjects) imported objects" : ""
        let proved = data ? ", \(report.provedBytes) bytes proved against their checksums" : ""
        Swift.print(
            "\(report.volume): \(report.isWhole ? "whole" : "DAMAGED, \(report.problemCount) problems"); "
                + "\(report.inodes) inodes, \(report.entries) entries, \(report.extents) extents, \(report.bytes) bytes, "
                + "\(report.packs) packs (\(report.stagedPacks) staged)\(foreign)\(proved)")
    }
}
