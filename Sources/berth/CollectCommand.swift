import ArgumentParser
import CLinux
import Control
import FoundationEssentials
import Glibc
import LinuxSystem
import Volumes

struct CollectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc",
        abstract: "Give room in a volume's store back now, and say of each pack what becomes of it.",
        discussion: """
            The server does so in the background, gently: packs that nothing needs are deleted, mostly dead ones are \
            compacted. This command does it at once, compacts more, and looks for objects that nothing names; none \
            younger than an hour is deleted.
            """)

    private static let timeout = Duration.seconds(24 * 3600)
    private static let reportLimit = 1 << 30

    @Argument(help: "The volume.")
    var name: String

    @Flag(help: "Only say what would be done.")
    var dryRun = false

    @Flag(help: "Print packs and totals as JSON.")
    var json = false

    private struct Report: Encodable {
        var summary: CollectionSummary
        var packs: [CollectionLine]
    }

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let client = try DataPlace.client(try VolumeName(name), site)
            // A file and not a part of the answer: a volume can have very many packs.
            let number = memfd_create("berth-gc", 1 /* MFD_CLOEXEC */)
            guard number >= 0 else { throw SystemFailure("memory for the report", "cannot be had", .current) }
            let file = FileDescriptor(owning: number)
            let reply = try client.ask(.collect(dryRun: dryRun), passing: file.rawValue, timeout: Self.timeout)
            guard case .collected(let summary) = reply else {
                throw client.confused
            }
            let report = Report(summary: summary, packs: try Self.lines(file))
            if json { try Output.json(report) } else { show(report) }
            guard let failure = summary.failures.first else { return }
            throw SystemFailure(
                "volume \"\(name)\"", "not all room could be given back: \(failure)", fix: "run it again",
                status: .temporaryFailure)
        }
    }

    private static func lines(_ file: borrowing FileDescriptor) throws(SystemFailure) -> [CollectionLine] {
        guard lseek(file.rawValue, 0, SEEK_SET) == 0, let bytes = try? file.readAll(limit: reportLimit) else {
            throw SystemFailure("the report", "cannot be read", .current)
        }
        let decoder = JSONDecoder()
        return bytes.split(separator: 0x0A).compactMap { try? decoder.decode(CollectionLine.self, from: Data($0)) }
    }

    private func show(_ report: Report) {
        let rows = report.packs.map { line in
            [line.pack, Output.bytes(line.stored), Output.bytes(line.live), line.action, line.reason]
        }
        if !rows.isEmpty { Output.table([["PACK", "STORED", "LIVE", "", "WHY"]] + rows) }
        let total = report.summary
        let (kept, compacted, deleted) = (total.kept, total.toCompact, total.toDelete)
        print(
            "\(name): \(total.packs) packs, \(Output.bytes(total.storedBytes)) in the store for "
                + "\(Output.bytes(total.liveBytes)) of live data")
        if dryRun {
            print("\(kept) would be kept, \(compacted) compacted, \(deleted) deleted")
        } else {
            if total.waitingPacks > 0 {
                print("\(total.waitingPacks) packs go once the metadata was copied into the store (metadata-copy=)")
            }
            print(
                "\(kept) kept, \(compacted) compacted (\(Output.bytes(total.movedBytes)) moved), \(total.deletedPacks) deleted, "
                    + "\(total.deletedObjects) objects that nothing names deleted, \(Output.bytes(total.freedBytes)) given back"
            )
        }
    }
}
