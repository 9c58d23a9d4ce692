import ArgumentParser
import Control
import FileModel
import Glibc
import LinuxSystem
import Volumes

struct ImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Make files of what is in a bucket or directory already, without copying it.",
        discussion: """
            SOURCE is s3://bucket/prefix, file:///directory, or a path; or a tar archive, whose members become files. The
            data stays where it is: an object that changes or goes afterwards is an error when it is read, until it is
            imported again. Run again, it takes what is new or has changed. Exit status 65: something was left out.
            """)

    @Argument(help: "NAME or NAME:/path.")
    var place: String

    @Argument(help: "Where the data is.")
    var source: String

    @Flag(help: "The source is a tar archive, whatever it is called.")
    var tar = false

    @Option(help: "Of a bucket: https://HOST.")
    var endpoint: String?

    @Option(help: "Of a bucket.")
    var region: String?

    @Option(help: "Of a bucket: the section of your files of keys.")
    var profile: String?

    @Option(help: "Of a bucket: certificates to trust.")
    var caFile: String?

    @Flag(help: "Of a bucket: its name is in the path.")
    var pathStyle = false

    @Flag(help: "Of a bucket: an http:// endpoint of another machine will do.")
    var insecure = false

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let place = try DataPlace(place)
            let record = try site.registry.record(place.name)
            let words = [
                ("endpoint", endpoint), ("region", region), ("profile", profile), ("ca-file", caFile),
                ("path-style", pathStyle ? "true" : nil), ("insecure", insecure ? "true" : nil),
            ].compactMap { key, value in value.map { (key: key, value: $0) } }
            let from = try ImportSource(source, words: words, ofVolume: record.options.bucket)
            if from.isBucket { try Self.allowNetwork(record, site) }
            let client = try DataPlace.client(place.name, site)
            let order = ImportOrder(
                source: from.url, options: try from.encodedOptions(), place: place.bytes,
                isArchive: tar || from.looksLikeArchive)
            try Transfer(client, "\(place.name)", output: 1).follow(
                try client.ask(.importData(order), timeout: .seconds(60)))
        }
    }

    /// The server of a volume in a directory reaches the network only where it was started for that.
    private static func allowNetwork(_ record: VolumeRecord, _ site: Site) throws(SystemFailure) {
        let paths = site.paths.volume(record.name)
        guard case .directory = record.place(paths), record.reachesBuckets != true else { return }
        try site.registry.noteBuckets(record)
        guard let client = try site.mounts.supervisor.running(paths) else { return }
        guard try client.status().sessions.isEmpty else {
            throw SystemFailure(
                "volume \"\(record.name)\"", "is mounted, and its server was started without the network",
                fix: "unmount it once; from then on its servers reach buckets", errno: .busy, status: .temporaryFailure)
        }
        try site.mounts.stopServer(paths)
    }
}

struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write a volume's files, or a part of them, to a directory or a tar archive.",
        discussion: """
            TARGET is a directory, FILE.tar, or "-" for an archive on standard output. A directory is made; files in it
            that have the same size and time are left alone, so that an export that was cut short goes on.
            Exit status 65: something was left out.
            """)

    @Argument(help: "NAME or NAME:/path.")
    var place: String

    @Argument(help: "Where it goes.")
    var target: String

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let place = try DataPlace(place)
            let isArchive = target == "-" || target.hasSuffix(".tar")
            guard target != "-" || isatty(1) == 0 else {
                throw SystemFailure(
                    "an archive", "is not for a terminal", fix: "send it to a file or a pipe", status: .usage)
            }
            let client = try DataPlace.client(place.name, site)
            let order = ExportOrder(place: place.bytes, isArchive: isArchive)
            // An archive has its name once it is whole.
            let partial = isArchive && target != "-" ? target + ".part" : nil
            let descriptor = try open(partial)
            let reply = try client.ask(.exportData(order), passing: descriptor.rawValue, timeout: .seconds(60))
            var leftOut: SystemFailure?
            do throws(SystemFailure) {
                try Transfer(client, "\(place.name)", output: target == "-" ? 2 : 1).follow(reply)
            } catch {
                // What was left out is said; the archive is whole.
                guard error.status == .dataError else {
                    if let partial { unlink(partial) }
                    throw error
                }
                leftOut = error
            }
            if let partial, rename(partial, target) != 0 {
                throw SystemFailure(target, "cannot be made", .current, status: .cannotCreate)
            }
            if let leftOut { throw leftOut }
        }
    }

    private func open(_ partial: String?) throws(SystemFailure) -> FileDescriptor {
        if target == "-" {
            return try explaining("standard output", "cannot be used") { () throws(Errno) in
                try FileDescriptor.copy(of: 1)
            }
        }
        if let partial {
            return try explaining(partial, "cannot be made") { () throws(Errno) in
                try FileDescriptor.open(partial, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o666)
            }
        }
        guard mkdir(target, 0o777) == 0 || errno == EEXIST else {
            throw SystemFailure(target, "cannot be made", .current, status: .cannotCreate)
        }
        return try explaining(target, "cannot be opened") { () throws(Errno) in
            try FileDescriptor.open(target, O_RDONLY | O_DIRECTORY)
        }
    }
}

/// Follows an import or export to its end.
struct Transfer {
    private static let askTimeout = Duration.seconds(60)
    private static let pollMicroseconds: UInt32 = 100_000

    private let client: ServerClient
    private let display: TransferDisplay

    /// `output` is the descriptor that progress goes to.
    init(_ client: ServerClient, _ what: String, output: Int32) {
        self.client = client
        display = TransferDisplay(what: what, output: output)
    }

    func follow(_ reply: ServerReply) throws(SystemFailure) {
        var progress = try Self.progress(reply, client)
        while !progress.isOver {
            usleep(Self.pollMicroseconds)
            progress = try Self.progress(
                try client.ask(.transferring(job: progress.job), timeout: Self.askTimeout), client)
            if !progress.isOver { display.show(progress) }
        }
        display.finish(progress)
        for note in progress.notes { ProcessEnvironment.complain("berth: \(note)") }
        for reason in progress.reasons { ProcessEnvironment.complain("berth: left out: \(reason)") }
        if let failure = progress.failure {
            throw SystemFailure(passingOn: failure, status: progress.status)
        }
        guard progress.leftOut == 0 else {
            throw SystemFailure(
                "\(progress.leftOut) of \(progress.found) entries", "were left out; the first are named above",
                status: .dataError)
        }
    }

    private static func progress(_ reply: ServerReply, _ client: ServerClient) throws(SystemFailure) -> TransferProgress
    {
        guard case .transferring(let progress) = reply else {
            throw client.confused
        }
        return progress
    }
}

/// Shows how far a transfer is: one line that changes for people, lines of JSON for programs.
private final class TransferDisplay {
    private struct Line: Encodable {
        var found: Int
        var made: Int
        var renewed: Int
        var same: Int
        var leftOut: Int
        var bytes: UInt64
        var seconds: Double
        var isOver: Bool
        var failure: String?
    }

    private let what: String
    private var output: ProgressOutput

    init(what: String, output: Int32) {
        self.what = what
        self.output = ProgressOutput(output)
    }

    func show(_ progress: TransferProgress) {
        if output.isTerminal { output.draw(text(progress)) } else if output.isDue() { line(progress) }
    }

    func finish(_ progress: TransferProgress) {
        guard output.isTerminal else { return line(progress) }
        output.draw(text(progress))
        output.endLine()
    }

    private func text(_ progress: TransferProgress) -> String {
        let rate = Int(Double(progress.found) / max(output.seconds, 0.001))
        return "\(what): \(progress.found) entries, \(rate)/s; \(progress.made) new, \(progress.renewed) renewed, "
            + "\(progress.same) there already, \(progress.leftOut) left out; \(Output.bytes(progress.bytes))"
    }

    private func line(_ progress: TransferProgress) {
        output.line(
            Line(
                found: progress.found, made: progress.made, renewed: progress.renewed, same: progress.same,
                leftOut: progress.leftOut, bytes: progress.bytes, seconds: output.seconds, isOver: progress.isOver,
                failure: progress.failure))
    }
}
