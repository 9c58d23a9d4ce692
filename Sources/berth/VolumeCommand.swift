import ArgumentParser
import Control
import FileModel
import Glibc
import LinuxSystem
import Volumes

struct VolumeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "volume", abstract: "Make, list, show, change, check, copy, bring back and remove volumes.",
        subcommands: [
            Create.self, List.self, Inspect.self, Change.self, Remove.self, Check.self, Dump.self, Load.self,
            Recover.self, Restore.self, Trust.self,
        ])

    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a volume.", discussion: "Options: \(VolumeOptions.known.joined(separator: ", "))")

        @Argument(help: "The new volume's name.")
        var name: String

        @Option(name: .shortAndLong, help: "An option, as key=value. May be given more than once.")
        var option: [String] = []

        @Flag(help: "Print the volume as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let record = try site.mounts.create(
                    try VolumeName(name), try VolumeOptions(words: option), now: Output.timestamp())
                site.tellPodman(ofNew: record.name)
                if json { try Output.json(VolumeView(record, site)) } else { print(record.name) }
            }
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "ls", abstract: "List volumes.")

        @Flag(help: "List the volumes that podman removed and that can come back, the latest last.")
        var removed = false

        @Flag(help: "Print the list as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                if removed { return try RemovedVolumes.list(site, json: json) }
                let (records, failures) = try site.registry.list()
                if json {
                    try Output.json(records.map { VolumeView($0, site) })
                } else if records.isEmpty && failures.isEmpty {
                    print("no volumes; make one with: berth volume create NAME")
                } else {
                    let rows = records.map {
                        [$0.name, $0.options.path ?? "-", $0.storeURL(site.paths.volume($0.name))]
                    }
                    Output.table([["NAME", "PATH", "STORE"]] + rows)
                }
                for failure in failures { ProcessEnvironment.complain("berth: \(failure.message)") }
                if let first = failures.first { throw first }
            }
        }
    }

    struct Inspect: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show a volume, its server and its mounts.")

        @Argument(help: "The volume.")
        var name: String

        @Flag(help: "Print as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let record = try site.registry.record(try VolumeName(name))
                let view = VolumeView(record, site, status: try site.mounts.status(of: site.paths.volume(record.name)))
                if json { return try Output.json(view) }
                Output.table(view.rows)
            }
        }
    }

    struct Change: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "set", abstract: "Change options of a volume, mounted or not; `cache-dir` while it is not.",
            discussion:
                "Options: \(VolumeOptions.changeable.joined(separator: ", ")). With an empty value, the default is back."
        )

        @Argument(help: "The volume.")
        var name: String

        @Argument(help: "key=value, several.")
        var options: [String]

        @Flag(help: "Print the volume as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let record = try site.mounts.change(try VolumeName(name), options)
                if json { return try Output.json(VolumeView(record, site)) }
                for (key, value) in record.options.words.sorted(by: { $0.key < $1.key })
                where VolumeOptions.changeable.contains(key) {
                    print("\(key)=\(value)")
                }
            }
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rm", abstract: "Remove a volume and all its data.")

        @Argument(help: "The volumes.")
        var names: [String]

        @Flag(help: "Leave what is in the bucket or directory of store= there.")
        var keepData = false

        @Flag(help: "Remove for good what podman removed under these names.")
        var removed = false

        @Flag(help: "Print what was removed as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                if removed { return try RemovedVolumes.remove(names, keepData: keepData, site, json: json) }
                // All names first: a mistyped one must not leave the work half done.
                var checked: [VolumeName] = []
                for name in names {
                    let name = try VolumeName(name)
                    _ = try site.registry.record(name)
                    checked.append(name)
                }
                for name in checked {
                    try site.tellingPodman(ofRemoved: name) { () throws(SystemFailure) in
                        try site.mounts.remove(name, keepData: keepData)
                    }
                    if !json { print(name) }
                }
                if json { try Output.json(["removed": names]) }
            }
        }
    }

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Verify a volume: metadata, packs and, with --data, every checksum. Mend it with --repair.")

        @Argument(help: "The volume.")
        var name: String

        @Flag(help: "Read all data and verify its checksums.")
        var data = false

        @Flag(
            help: """
                Mend the metadata of a volume that is not in use: what has no name goes to lost+found, and a database that \
                is gone comes back from the store.
                """)
        var repair = false

        @Flag(help: "Print the report as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                try site.becomeLookAt(
                    name, "check",
                    (data ? ["--data"] : []) + (repair ? ["--repair"] : []) + (json ? ["--json"] : []))
            }
        }
    }
}

/// A volume as people and scripts see it.
struct VolumeView: Encodable {
    struct Session: Encodable {
        var mountpoint: String
        var readOnly: Bool
    }

    var name: String
    var createdAt: String
    var options: [String: String]
    var store: String
    /// The volume whose packs it shares.
    var cloneOf: String?
    var metadata: String
    var cache: String
    var podmanMountpoint: String
    var server: Int32?
    var keeper: Int32?
    var sessions: [Session]
    var files: UInt64?
    var bytes: UInt64?
    var readOnlyReason: String?
    /// Nil where no server runs, or an older one.
    var faults: [VolumeFault]?
    /// Sources of imported files that the metadata name and you have not.
    var closedSources: [String]?

    init(_ record: VolumeRecord, _ site: Site, status: ServerStatus? = nil) {
        let volume = site.paths.volume(record.name)
        name = record.name
        createdAt = record.createdAt
        options = record.options.words
        store = record.storeURL(volume)
        cloneOf = record.bases?.last?.volume
        metadata = volume.database
        let settings = (try? UserSettings.load(site.paths)) ?? UserSettings()
        cache = site.mounts.cacheSite.places(record, settings).likely
        podmanMountpoint = volume.podmanMountpoint
        server = status?.processID
        keeper = status?.keeperID
        sessions = status?.sessions.map { Session(mountpoint: $0.mountpoint, readOnly: $0.readOnly) } ?? []
        files = status?.files
        bytes = status?.bytes
        readOnlyReason = status?.readOnlyReason
        faults = status?.faults
        closedSources = status?.closedSources
    }

    var rows: [[String]] {
        var rows = [["name", name], ["created", createdAt]]
        rows += options.sorted { $0.key < $1.key }.map { ["option \($0.key)", $0.value] }
        rows += [
            ["store", store], ["metadata", metadata], ["cache", cache], ["mount point for podman", podmanMountpoint],
        ]
        if let cloneOf { rows.append(["shares packs with", cloneOf]) }
        rows.append(["server", server.map { "pid \($0)" } ?? "not running"])
        if let files, let bytes { rows.append(["holds", "\(files) inodes, \(Output.bytes(bytes)) of data"]) }
        rows += sessions.map { ["mounted at", $0.mountpoint + ($0.readOnly ? " (read-only)" : "")] }
        let faults = faults ?? []
        if let readOnlyReason, faults.isEmpty { rows.append(["takes no changes", readOnlyReason]) }
        rows += (closedSources ?? []).map { ["closed source", "\($0); see `berth volume trust`"] }
        rows += faults.map { ["fault of \($0.part.rawValue)", $0.text] }
        return rows
    }
}
