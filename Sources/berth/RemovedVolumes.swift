import ArgumentParser
import FileModel
import LinuxSystem
import Volumes

/// Volumes that a container engine removed, as people and scripts see them.
enum RemovedVolumes {
    private struct View: Encodable {
        var name: String
        var id: String
        var removedAt: String
        /// Nil: `berth volume rm --removed` alone takes it away.
        var expiresAt: String?
        var store: String

        init(_ entry: VolumeTrash.Entry, _ site: Site, keptSeconds: UInt64) {
            name = entry.record.name
            id = entry.id
            removedAt = Timestamp(seconds: entry.removedAt, nanoseconds: 0).description
            let (end, isFar) = entry.removedAt.addingReportingOverflow(Int64(clamping: keptSeconds))
            expiresAt = isFar || !entry.mayExpire ? nil : Timestamp(seconds: end, nanoseconds: 0).description
            let isOwn = entry.record.options.store == nil
            store = isOwn ? "file://\(entry.directory)/store" : entry.record.storeURL(site.paths.volume(name))
        }
    }

    static func list(_ site: Site, json: Bool) throws(SystemFailure) {
        let (entries, failures) = try site.mounts.trash.list()
        let kept = try UserSettings.load(site.paths).volumeTrash
        let views = entries.map { View($0, site, keptSeconds: kept) }
        if json {
            try Output.json(views)
        } else if views.isEmpty && failures.isEmpty {
            print("podman has removed no volume that could come back")
        } else {
            let rows = views.map { [$0.name, $0.removedAt, $0.expiresAt ?? "-", $0.id, $0.store] }
            Output.table([["NAME", "REMOVED", "KEPT UNTIL", "ID", "STORE"]] + rows)
        }
        for failure in failures { ProcessEnvironment.complain("berth: \(failure.message)") }
        if let first = failures.first { throw first }
    }

    static func remove(_ names: [String], keepData: Bool, _ site: Site, json: Bool) throws(SystemFailure) {
        var doomed: [VolumeTrash.Entry] = []
        for text in names {
            let name = try VolumeName(text)
            _ = try site.mounts.trash.entry(name, id: nil)
            doomed += try site.mounts.trash.entries(of: name)
        }
        for entry in doomed {
            let isLeft = try site.mounts.removeForGood(entry, keepData: keepData)
            if !json { print(entry.record.name) }
            guard isLeft, !keepData else { continue }
            ProcessEnvironment.complain(
                "berth: volume \"\(entry.record.name)\": its data in the store stays, as another volume has that place now"
            )
        }
        if json { try Output.json(["removed": names]) }
    }
}

extension VolumeCommand {
    struct Restore: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Bring back a volume that podman removed.",
            discussion: """
                What `podman volume rm`, `podman volume prune` and `podman system prune --volumes` remove is kept for 7 days; \
                another time, or off, with `volume-trash` in berth.conf.
                """)

        @Argument(help: "The volume's name.")
        var name: String

        @Option(help: "A new name for it, where a volume of the old one exists.")
        var `as`: String?

        @Option(help: "The one with this id of `berth volume ls --removed`; else the latest.")
        var id: String?

        @Flag(help: "Print the volume as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let other = try `as`.map { text throws(SystemFailure) in try VolumeName(text) }
                let record = try site.mounts.restore(try VolumeName(name), id: id, as: other)
                site.tellPodman(ofNew: record.name)
                if json { try Output.json(VolumeView(record, site)) } else { print(record.name) }
            }
        }
    }
}
