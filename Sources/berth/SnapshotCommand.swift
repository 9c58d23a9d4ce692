import ArgumentParser
import Control
import FileModel
import Glibc
import LinuxSystem
import Volumes

struct SnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot",
        abstract: "Keep what a volume holds now, and bring it back.",
        discussion: """
            A snapshot is read-only: `berth mount NAME@SNAPSHOT DIR` shows it. It shares the volume's packs, which stay as \
            long as it needs them.
            """,
        subcommands: [Create.self, List.self, Remove.self, Restore.self])

    /// The metadata of very many files is copied or read.
    static let timeout = Duration.seconds(3600)

    /// `pick` takes what fits out of the answer.
    static func ask<Answer>(
        _ request: SnapshotRequest, _ name: VolumeName, _ site: Site, _ pick: (SnapshotReply) -> Answer?
    ) throws(SystemFailure) -> Answer {
        let client = try DataPlace.client(name, site)
        guard case .snapshot(let reply) = try client.ask(.snapshot(request), timeout: timeout), let found = pick(reply)
        else { throw client.confused }
        return found
    }

    static func order(_ request: SnapshotRequest, _ name: VolumeName, _ site: Site) throws(SystemFailure) {
        try ask(request, name, site) { $0 == .done ? () : nil }
    }

    /// `NAME@SNAPSHOT`, both of them.
    static func both(_ text: String) throws(SystemFailure) -> (volume: VolumeName, snapshot: SnapshotName) {
        let reference = try VolumeReference(text)
        guard let snapshot = reference.snapshot else {
            throw SystemFailure(
                "\"\(text)\"", "names no snapshot", fix: "write \(text)@SNAPSHOT; see `berth snapshot ls \(text)`",
                status: .usage)
        }
        return (reference.volume, snapshot)
    }

    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make a snapshot of a volume, mounted or not.")

        @Argument(help: "NAME@SNAPSHOT; a bare NAME gets a snapshot named after the time.")
        var name: String

        @Flag(help: "Print the snapshot as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let reference = try VolumeReference(name)
                let snapshot: SnapshotName
                if let given = reference.snapshot {
                    snapshot = given
                } else {
                    snapshot = try SnapshotName(Self.timeName())
                }
                try order(.create(name: snapshot.description), reference.volume, site)
                let full = "\(reference.volume)@\(snapshot)"
                if json { try Output.json(["snapshot": full]) } else { print(full) }
            }
        }

        private static func timeName() -> String {
            Output.timestamp().filter { $0 != "-" && $0 != ":" && $0 != "Z" }.words(at: "T")
                .joined(separator: "-")
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List a volume's snapshots, and the clones that share its packs.")

        @Argument(help: "The volume.")
        var name: String

        @Flag(help: "Print the list as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let volume = try VolumeName(name)
                let found = try ask(.list, volume, site) { if case .list(let found) = $0 { found } else { nil } }
                if json { return try Output.json(found) }
                guard !found.isEmpty else {
                    return print("no snapshots; make one with: berth snapshot create \(name)@SNAPSHOT")
                }
                Output.table(
                    [["NAME", "MADE", "FILES", "DATA", "SHOWN AT"]]
                        + found.map { held in
                            [
                                held.isClone ? "clone \(held.name)" : "\(name)@\(held.name)",
                                Timestamp(seconds: held.created, nanoseconds: 0).description, "\(held.files)",
                                Output.bytes(held.bytes),
                                held.mountpoints.isEmpty ? "-" : held.mountpoints.joined(separator: ", "),
                            ]
                        })
            }
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rm", abstract: "Remove snapshots; packs that nothing else needs go soon.")

        @Argument(help: "NAME@SNAPSHOT, several.")
        var names: [String]

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                for name in names { _ = try both(name) }
                for name in names {
                    let (volume, snapshot) = try both(name)
                    // Ends those that nobody has any more.
                    _ = try site.mounts.sessionsInUse(site.paths.volume(volume.description))
                    try order(.remove(name: snapshot.description), volume, site)
                    print(name)
                }
            }
        }
    }

    struct Restore: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Bring back a file or a tree, or the whole volume, as a snapshot has it.",
            discussion: "No data is copied. A path can be restored while the volume is in use; the whole volume not.")

        @Argument(help: "NAME@SNAPSHOT:/path; NAME@SNAPSHOT is the whole volume.")
        var place: String

        @Option(help: "Restore to this path of the volume instead.")
        var to: String?

        @Flag(help: "What is there now goes: the file or tree of that path, or all that the volume holds.")
        var force = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let parts = place.parts(at: ":", atMost: 1).map(String.init)
                let (volume, snapshot) = try both(parts[0])
                var path = ""
                if parts.count > 1 { path = try Self.path(parts[1]) }
                if path.isEmpty, to == nil { return try restoreAll(volume, snapshot, site) }
                let target = try to.map { text throws(SystemFailure) in try Self.path(text) } ?? path
                guard !target.isEmpty else {
                    throw SystemFailure(
                        "--to /", "names no new path", fix: "name one, such as --to /restored", status: .usage)
                }
                let request = SnapshotRequest.restore(
                    name: snapshot.description, path: Array(path.utf8), target: Array(target.utf8), replaces: force)
                let (files, bytes) = try ask(request, volume, site) { reply in
                    if case .restored(let files, let bytes) = reply { (files, bytes) } else { nil }
                }
                print("\(volume):/\(target) is back: \(files) files and directories, \(Output.bytes(bytes))")
            }
        }

        private func restoreAll(
            _ volume: VolumeName, _ snapshot: SnapshotName, _ site: Site
        ) throws(SystemFailure) {
            guard force else {
                throw SystemFailure(
                    "volume \"\(volume)\"", "would lose what it holds now",
                    fix: "make a snapshot of it first, then add --force; or restore a path beside it with --to",
                    status: .usage)
            }
            try site.mounts.refuseWhileInUse(site.paths.volume(volume.description))
            try order(.restoreAll(name: snapshot.description), volume, site)
            print("\(volume) is as it was at \(volume)@\(snapshot)")
        }

        private static func path(_ text: String) throws(SystemFailure) -> String {
            guard let path = DataPlace.inner(text) else {
                throw SystemFailure(
                    "path \"\(text)\"", "is none in the volume", fix: "write /path, from the volume's root",
                    status: .usage)
            }
            return path
        }
    }
}

struct CloneCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clone",
        abstract: "Make a writable volume of what another one, or its snapshot, holds.",
        discussion: """
            It shares packs with the original, which cannot be removed as long as it is there. Options are the original's, \
            but for the path.
            """)

    @Argument(help: "NAME or NAME@SNAPSHOT.")
    var original: String

    @Argument(help: "The new volume's name.")
    var name: String

    @Flag(help: "Print the volume as JSON.")
    var json = false

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let record = try site.mounts.clone(
                try VolumeReference(original), as: try VolumeName(name), now: Output.timestamp())
            site.tellPodman(ofNew: record.name)
            if json { try Output.json(VolumeView(record, site)) } else { print(record.name) }
        }
    }
}
