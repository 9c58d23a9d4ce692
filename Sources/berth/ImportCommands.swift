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
            // Why a server that is in use may not reach a directory that it was not started for.
            let obstacle = try site.mounts.trust(place.name, [try from.entry()])
            let client = try DataPlace.client(place.name, site)
            let order = ImportOrder(
                source: from.url, options: try from.encodedOptions(), place: place.bytes,
                isArchive: tar || from.looksLikeArchive)
            do throws(SystemFailure) {
                try Transfer(client, "\(place.name)", output: 1).follow(
                    try client.ask(.importData(order), timeout: .seconds(60)))
            } catch {
                if let obstacle, error.cause.contains("\(Errno.accessDenied)") { throw obstacle }
                throw error
            }
        }
    }
}

struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write a volume's files, or a part of them, to a directory or a tar archive.",
        discussion: """
            TARGET is a directory, FILE.tar, or "-" for an archive on standard output. A directory is made; files in it
            that have the same size and time are left alone, so that an export that was cut short goes on. Modes are the
            volume's without set-user-id and set-group-id bits, and in a directory less your umask.
            Exit status 65: something was left out.
            """)

    @Argument(help: "NAME or NAME:/path.")
    var place: String

    @Argument(help: "Where it goes.")
    var target: String

    @Flag(help: "Give files the modes that they have in the volume, with set-user-id bits, whatever your umask is.")
    var keepModes = false

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let place = try DataPlace(place)
            let isArchive = target == "-" || target.hasSuffix(".tar")
            guard target != "-" || isatty(1) == 0 else {
                throw SystemFailure(
                    "an archive", "is not for a terminal", fix: "send it to a file or a pipe", status: .usage)
            }
            let client = try DataPlace.client(place.name, site)
            let mask = Umask.read()
            let order = ExportOrder(
                place: place.bytes, isArchive: isArchive, umask: mask, keepsModes: keepModes ? true : nil)
            let label = "\(place.name)"
            guard isArchive, target != "-" else {
                let output = try open()
                guard !isArchive else {
                    return try Self.send(order, label, to: output.rawValue, client, progress: 2)
                }
                let reply = try ExportDirectory.ask(client, order, output)
                return try Transfer(client, label, output: 1).follow(reply)
            }
            // An archive has its name once it is whole.
            let archive = try OutputFile(target)
            var leftOut: SystemFailure?
            do throws(SystemFailure) {
                try Self.send(order, label, to: archive.number, client, progress: 1)
            } catch {
                // What was left out is said; the archive is whole.
                guard error.status == .dataError else { throw error }
                leftOut = error
            }
            try archive.finish(mode: mode_t(0o666 & ~mask))
            if let leftOut { throw leftOut }
        }
    }

    private static func send(
        _ order: ExportOrder, _ label: String, to target: Int32, _ client: ServerClient, progress: Int32
    ) throws(SystemFailure) {
        let reply = try client.ask(.exportData(order), passing: target, timeout: .seconds(60))
        try Transfer(client, label, output: progress).follow(reply)
    }

    private func open() throws(SystemFailure) -> FileDescriptor {
        if target == "-" {
            return try explaining("standard output", "cannot be used") { () throws(Errno) in
                try FileDescriptor.copy(of: 1)
            }
        }
        guard mkdir(target, 0o777) == 0 || errno == EEXIST else {
            throw SystemFailure(target, "cannot be made", .current, status: .cannotCreate)
        }
        let directory = try explaining(target, "cannot be opened", fix: "a link there must be yours") {
            () throws(Errno) in try GuardedOpen.followingOwnLinks(target, O_RDONLY | O_DIRECTORY)
        }
        guard Self.isChosen(directory.rawValue) else {
            throw SystemFailure(
                target,
                "belongs to another user, who may have put it there: everybody can write to the directory above",
                fix: "name one of yours", errno: .accessDenied, status: .noPermission)
        }
        return directory
    }

    /// False for a directory of somebody else in one such as /tmp. Elsewhere whoever owns the directory above has let it be.
    private static func isChosen(_ directory: Int32) -> Bool {
        guard let own = try? GuardedOpen.status(directory) else { return false }
        if own.st_uid == geteuid() || own.st_uid == 0 { return true }
        var above = stat()
        guard fstatat(directory, "..", &above, 0) == 0 else { return true }
        return above.st_mode & S_IWOTH == 0
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
        let rate = UInt64(clamping: (Double(progress.found) / max(output.seconds, 0.001)).rounded(.down))
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
