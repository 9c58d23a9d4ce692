import ArgumentParser
import FileModel
import LinuxSystem
import Volumes

extension VolumeCommand {
    struct Dump: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write a volume's metadata as lines of text.",
            discussion:
                "Names, attributes and where the data lies; not the data. The volume may be in use. docs/DUMP_FORMAT.md describes the lines."
        )

        @Argument(help: "The volume.")
        var name: String

        @Option(name: .shortAndLong, help: "The file to write; standard output without it.")
        var output: String?

        @Flag(help: "Go on with a file that an earlier dump left unfinished.")
        var resume = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let words = (output.map { ["--output", $0] } ?? []) + (resume ? ["--resume"] : [])
                try site.becomeLookAt(name, "dump", words)
            }
        }
    }

    struct Load: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Give a new volume the metadata of a dump.",
            discussion:
                "The volume must have been made with the store that holds the data, and never have been mounted. A load that was stopped goes on when it is run again."
        )

        @Argument(help: "The volume.")
        var name: String

        @Argument(help: "The dump; - for standard input.")
        var file: String

        @Option(
            help: "A source of imported files that the dump names, and that may be opened. May be given more than once."
        )
        var trustSource: [String] = []

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let record = try site.registry.record(try VolumeName(name))
                site.tellPodman(ofNew: record.name)
                throw try site.mounts.supervisor.become(
                    "berthfs", ["load", record.name, file] + trustSource.flatMap { ["--trust-source", $0] })
            }
        }
    }

    struct Recover: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Bring a volume back from its store alone, on this machine.",
            discussion: """
                The URL is the store's with the volume's name at its end, as `berth volume inspect` shows it. The newest copy of \
                the metadata in the store is taken; what was written after it is found in the packs, as far as they tell, and \
                put into lost+found. A store without a copy has no names: with --from-packs all that its packs tell is put \
                there. The machine that had the volume makes no copies any more. Whoever can write to the store \
                writes its metadata: sources of imported files that it names stay closed until you trust them.
                """)

        @Argument(help: "s3://BUCKET/PREFIX/NAME or file:///DIRECTORY/NAME.")
        var url: String

        @Option(name: .shortAndLong, help: "An option of the store, such as endpoint=URL. May be given more than once.")
        var option: [String] = []

        @Option(
            help:
                "A source of imported files that the volume names, and that may be opened. May be given more than once."
        )
        var trustSource: [String] = []

        @Flag(
            help: "Where the store has no copy of the metadata: make files of what its packs tell, without their names."
        )
        var fromPacks = false

        @Flag(help: "Print what was found as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let (store, name) = try Self.split(url)
                let options = try VolumeOptions(words: ["store=\(store)"] + option)
                let trusted = try trustSource.map { text throws(SystemFailure) in try SourceEntry(text: text) }
                let recovery = try site.mounts.recover(
                    name, options, trusted: trusted, fromPacks: fromPacks, now: Output.timestamp())
                site.tellPodman(ofNew: name.description)
                if json { return try Output.json(recovery) }
                for line in recovery.lines(name.description) { print(line) }
            }
        }

        /// The store, and the name at the end.
        static func split(_ url: String) throws(SystemFailure) -> (store: String, name: VolumeName) {
            let trimmed = url.hasSuffix("/") ? String(url.dropLast()) : url
            guard let slash = trimmed.lastSlash, trimmed.contains("://"), !trimmed[..<slash].hasSuffix("/")
            else {
                throw SystemFailure(
                    url, "names no volume in a store",
                    fix: "write s3://bucket/prefix/NAME or file:///directory/NAME", status: .usage)
            }
            return (String(trimmed[..<slash]), try VolumeName(String(trimmed[trimmed.utf8.index(after: slash)...])))
        }
    }
}

extension VolumeCommand {
    struct Trust: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Open sources of imported files to a volume that came from elsewhere; without any, list them.",
            discussion: """
                The metadata of a volume that was recovered or loaded may name any directory and any bucket. Their files are \
                unreadable until you say that these are meant: what you trust is read with your rights, and with your keys.
                """)

        @Argument(help: "The volume.")
        var name: String

        @Argument(help: "file:///DIR or s3://BUCKET?…, as the list shows it.")
        var sources: [String] = []

        @Flag(help: "Print as JSON.")
        var json = false

        private struct View: Encodable {
            var trusted: [String]
            /// Nil where no server runs that could tell.
            var closed: [String]?
        }

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let name = try VolumeName(name)
                let entries = try sources.map { text throws(SystemFailure) in try SourceEntry(text: text) }
                if !entries.isEmpty, let obstacle = try site.mounts.trust(name, entries) {
                    ProcessEnvironment.complain("berth: \(obstacle.message)")
                }
                let paths = site.paths.volume(name.description)
                // It alone has the metadata.
                let status = try site.mounts.supervisor.client(for: paths).status()
                let view = View(
                    trusted: (try site.registry.record(name).sources ?? []).sorted(), closed: status.closedSources)
                if json { return try Output.json(view) }
                for source in view.trusted { print("trusted  \(source)") }
                for source in view.closed ?? [] { print("closed   \(source)") }
            }
        }
    }
}

extension Site {
    /// Becomes the berthfs that looks at a volume, which a server that serves nothing makes way for.
    func becomeLookAt(_ name: String, _ verb: String, _ words: [String]) throws(SystemFailure) {
        let record = try registry.record(try VolumeName(name))
        let volume = paths.volume(record.name)
        if let status = try mounts.status(of: volume), status.sessions.isEmpty { try mounts.stopServer(volume) }
        throw try mounts.supervisor.become("berthfs", [verb, record.name] + words)
    }
}

extension Recovery {
    /// What people must know of it.
    func lines(_ name: String) -> [String] {
        var lines = [origin(name)]
        lines += skippedCopies.map { "passed over \($0)" }
        if copyTime == nil {
            lines += newerPacks > 0 ? Self.unknownWithoutCopy : []
        } else if newerPacks > 0 {
            lines.append(
                "after that: \(newerPacks) packs were stored; their data, \(Output.bytes(salvagedBytes)), is in lost+found as \(salvagedFiles) files"
            )
        }
        if lostPacks > 0 {
            lines.append(
                "lost: \(lostPacks) packs are not in the store; \(lostFiles) files have data in them, and reading it gives an input/output error:"
            )
            lines += lostPaths.map { "  \($0)" }
            if lostFiles > UInt64(lostPaths.count) { lines.append("  … (berth volume check \(name) names the packs)") }
        }
        if !lostSnapshots.isEmpty {
            lines.append(
                "lost: the snapshots \(lostSnapshots.joined(separator: ", ")); what only they held leaves the store")
        }
        lines += Self.lines(ofClosed: closedSources, volume: name)
        lines += problems.map { "damage: \($0)" }
        if copyTime != nil && lostPacks == 0 && lostSnapshots.isEmpty && problems.isEmpty {
            lines.append("nothing that the copy names is missing")
        }
        return lines
    }

    private func origin(_ name: String) -> String {
        guard let copyTime else {
            guard newerPacks > 0 else {
                return
                    "\(name): recovered as a volume without files: the store holds neither packs nor a copy of its metadata"
            }
            return
                "\(name): the store holds no copy of its metadata; from \(newerPacks) packs came \(salvagedFiles) files, "
                + "\(Output.bytes(salvagedBytes)), in lost+found as inode-N, N being the number that each had"
        }
        let time = Timestamp(seconds: copyTime, nanoseconds: 0)
        return "\(name): recovered as it was at \(time): \(inodes) inodes, \(Output.bytes(bytes)) of data"
    }

    /// What record tables do not tell.
    private static let unknownWithoutCopy = [
        "not known: names, directories, links, owners, modes, times, attributes, quotas, snapshots, what was imported, and empty "
            + "files; what files shared by copying (copy_file_range) is in the one it was written to",
        "not certain: a file ends after the last byte that was written, and what was deleted, cut off or replaced may be "
            + "back, as far as its packs are there",
    ]
}
