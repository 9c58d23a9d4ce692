import ArgumentParser
import Control
import FileModel
import Glibc
import LinuxSystem
import Volumes

/// `NAME`, or `NAME:/path`: a volume, or what is below a path of it.
struct DataPlace {
    let name: VolumeName
    /// From the volume's root, without slashes at the ends; empty: all of it.
    let path: String

    init(_ text: String) throws(SystemFailure) {
        let parts = text.parts(at: ":", atMost: 1).map(String.init)
        name = try VolumeName(parts[0])
        guard let path = Self.inner(parts.count > 1 ? parts[1] : "/") else {
            throw SystemFailure(
                text, "names no path in the volume", fix: "write NAME:/path, from the volume's root", status: .usage)
        }
        self.path = path
    }

    /// A path from the volume's root, without slashes at its ends; nil for what is none.
    static func inner(_ text: String) -> String? {
        let parts = text.utf8.split(separator: PathBytes.slash)
        guard text.utf8.first == PathBytes.slash, !parts.contains(where: PathBytes.isDots) else { return nil }
        return parts.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/")
    }

    /// Places of one volume, and what its server is to be told of them. With a list, a bare name says only which volume
    /// the list is of.
    static func selection(
        _ places: [String], hasList: Bool
    ) throws(SystemFailure) -> (name: VolumeName, selection: DataSelection) {
        var parsed: [DataPlace] = []
        for place in places { parsed.append(try DataPlace(place)) }
        guard let first = parsed.first, parsed.allSatisfy({ $0.name.description == first.name.description }) else {
            throw SystemFailure("the paths", "are of more than one volume", fix: "name one at a time", status: .usage)
        }
        let paths = parsed.map(\.bytes).filter { !hasList || !$0.isEmpty }
        return (first.name, DataSelection(paths: paths, hasList: hasList))
    }

    /// Asks the volume's server, which is started where none runs. The list goes as a descriptor: it may be long.
    static func ask(
        _ request: ServerRequest, of client: ServerClient, list: String?
    ) throws(SystemFailure) -> ServerReply {
        // Finding the packs of very many files reads all their metadata.
        let timeout = Duration.seconds(3600)
        guard let list else { return try client.ask(request, timeout: timeout) }
        let file = try explaining(list, "cannot be opened") { () throws(Errno) in
            try FileDescriptor.open(list == "-" ? "/dev/stdin" : list, O_RDONLY)
        }
        return try client.ask(request, passing: file.rawValue, timeout: timeout)
    }
}

extension DataPlace {
    var bytes: [UInt8] { Array(path.utf8) }

    /// A connection to the volume's server, which is started where none runs.
    static func client(_ name: VolumeName, _ site: Site) throws(SystemFailure) -> ServerClient {
        let record = try site.registry.record(name)
        return try site.mounts.supervisor.client(for: site.paths.volume(record.name))
    }
}

struct WarmCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warm",
        abstract: "Bring a volume's data, or a part of it, into the cache of this machine.",
        discussion: """
            Exit status 0: all of it is here and verified; 75: not all. Progress is a bar on a terminal, and a line of
            JSON a second elsewhere.
            """)

    @Argument(help: "NAME or NAME:/path, several of one volume.")
    var places: [String]

    @Option(help: "A file of more paths, one a line; \"-\" is standard input.")
    var fromFile: String?

    @Option(help: "Packs fetched at once, 1 to 16.")
    var threads = 8

    @Flag(help: "Return at once; the server goes on.")
    var background = false

    @Flag(help: "Wait until it is done: so it is without --background.")
    var wait = false

    @Flag(help: "Fetch nothing; say what share is here.")
    var check = false

    @Flag(help: "Keep it here until `berth cache unpin`, also across restarts.")
    var pin = false

    func validate() throws {
        guard (1...16).contains(threads) else { throw ValidationError("--threads is 1 to 16") }
        guard !background || !(wait || check) else {
            throw ValidationError("--background goes with neither --wait nor --check")
        }
        guard !(pin && check) else { throw ValidationError("--pin does not go with --check") }
    }

    func run() throws {
        let purpose: WarmOrder.Purpose = check ? .check : pin ? .pin : .fetch
        try berth.run { site throws(SystemFailure) in
            try PackJob(places: places, list: fromFile, threads: threads, purpose: purpose).run(
                site, inBackground: background)
        }
    }
}

/// Work of a volume's server on packs, followed to its end.
struct PackJob {
    private static let askTimeout = Duration.seconds(60)
    private static let pollMicroseconds: UInt32 = 200_000

    /// `NAME` or `NAME:/path`.
    var places: [String]
    var list: String?
    var threads: Int
    var purpose: WarmOrder.Purpose

    private static let tries = 5

    /// A server that nobody uses may end just when it is asked: then another is. A list on standard input comes once.
    func run(_ site: Site, inBackground: Bool) throws(SystemFailure) {
        for _ in 1..<(list == nil ? Self.tries : 1) {
            do throws(SystemFailure) {
                return try runOnce(site, inBackground: inBackground)
            } catch {
                let isHangUp = [ECONNRESET, EPIPE, ENOTCONN].contains { error.errno == Errno($0) }
                guard isHangUp else { throw error }
                usleep(Self.pollMicroseconds)
            }
        }
        try runOnce(site, inBackground: inBackground)
    }

    private func runOnce(_ site: Site, inBackground: Bool) throws(SystemFailure) {
        let (name, selection) = try DataPlace.selection(places, hasList: list != nil)
        let client = try DataPlace.client(name, site)
        let order = WarmOrder(selection: selection, threads: threads, inBackground: inBackground, purpose: purpose)
        var progress = try Self.progress(try DataPlace.ask(.warm(order), of: client, list: list), client)
        if inBackground { return print("warming \(progress.packs) packs of \(name)") }
        let display = ProgressDisplay(what: "\(name)")
        while !progress.isOver {
            display.show(progress)
            usleep(Self.pollMicroseconds)
            progress = try Self.progress(
                try client.ask(.warming(job: progress.job), timeout: Self.askTimeout), client)
        }
        display.finish(progress)
        try judge(progress, name)
    }

    private func judge(_ progress: WarmProgress, _ name: VolumeName) throws(SystemFailure) {
        if purpose == .verify {
            guard progress.damaged > 0 || !progress.failures.isEmpty else { return }
            let isDamaged = progress.damaged > 0
            throw SystemFailure(
                "volume \"\(name)\"",
                isDamaged
                    ? "\(progress.damaged) copies were damaged, and are dropped" : "not all copies could be proved",
                fix: progress.failures.joined(separator: ", "), status: isDamaged ? .dataError : .temporaryFailure)
        }
        guard progress.local < progress.packs else { return }
        throw SystemFailure(
            "volume \"\(name)\"", "\(progress.packs - progress.local) of \(progress.packs) packs are not here",
            fix: purpose == .check ? "run berth warm" : progress.failures.first ?? "run it again",
            status: .temporaryFailure)
    }

    private static func progress(_ reply: ServerReply, _ client: ServerClient) throws(SystemFailure) -> WarmProgress {
        guard case .warming(let progress) = reply else {
            throw client.confused
        }
        return progress
    }
}

/// Shows how far a warm-up is: a bar for people, lines for programs.
final class ProgressDisplay {
    private struct Line: Encodable {
        var packs: Int
        var done: Int
        var local: Int
        var fetchedBytes: UInt64
        var provedFrames: UInt64
        var damaged: Int
        var seconds: Double
        var isOver: Bool
        var failures: [String]
    }

    private let what: String
    private var output = ProgressOutput()

    init(what: String) {
        self.what = what
    }

    func show(_ progress: WarmProgress) {
        if output.isTerminal { draw(progress) } else if output.isDue() { printLine(progress) }
    }

    func finish(_ progress: WarmProgress) {
        guard output.isTerminal else { return printLine(progress) }
        draw(progress)
        output.endLine()
    }

    private func draw(_ progress: WarmProgress) {
        let share = progress.packs == 0 ? 1 : Double(progress.done) / Double(progress.packs)
        output.draw(
            "\(what) \(ProgressOutput.bar(share)) \(progress.done)/\(progress.packs) packs, "
                + "\(Output.bytes(progress.fetchedBytes)) fetched, \(output.rate(progress.fetchedBytes)), "
                + "\(output.secondsLeft(after: share)) s left")
    }

    private func printLine(_ progress: WarmProgress) {
        output.line(
            Line(
                packs: progress.packs, done: progress.done, local: progress.local, fetchedBytes: progress.fetchedBytes,
                provedFrames: progress.provedFrames, damaged: progress.damaged, seconds: output.seconds,
                isOver: progress.isOver, failures: progress.failures))
    }
}

struct EvictCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evict", abstract: "Drop copies from the cache; the store keeps the data. Pinned ones stay.")

    @Argument(help: "NAME or NAME:/path, several of one volume.")
    var places: [String]

    @Option(help: "A file of more paths, one a line; \"-\" is standard input.")
    var fromFile: String?

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let (name, selection) = try DataPlace.selection(places, hasList: fromFile != nil)
            let client = try DataPlace.client(name, site)
            let reply = try DataPlace.ask(.evict(selection, pinnedToo: false), of: client, list: fromFile)
            guard case .evicted(let packs, let bytes, let pinned) = reply else {
                throw client.confused
            }
            CacheCommand.tell("\(name)", packs, bytes, pinned)
        }
    }
}
