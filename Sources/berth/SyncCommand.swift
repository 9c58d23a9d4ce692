import ArgumentParser
import Control
import Glibc
import LinuxSystem
import Volumes

struct SyncCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sync",
        abstract: "Send what is written to the store, and a copy of the metadata.",
        discussion: """
            Exit status 0 with --wait: the store has it all, and a copy of the metadata, unless metadata-copy=off. What it has
            not is safe in staging. Progress is a bar on a terminal, and with --json a line a second elsewhere.
            """)

    @Argument(help: "The volume.")
    var name: String

    @Flag(help: "Wait until the store has it all.")
    var wait = false

    @Option(help: "With --wait: so many seconds at most.")
    var timeout: Double?

    @Flag(help: "With --wait: progress as lines of JSON.")
    var json = false

    func validate() throws {
        guard wait || (timeout == nil && !json) else { throw ValidationError("--timeout and --json go with --wait") }
        guard timeout ?? 0 >= 0 else { throw ValidationError("--timeout is a number of seconds") }
    }

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let record = try site.registry.record(try VolumeName(name))
            let volume = site.paths.volume(record.name)
            // A server that has ended may have left data in staging: a new one goes on with it.
            _ = try site.mounts.supervisor.client(for: volume)
            var display = DrainDisplay(name: record.name, style: wait ? (json ? .lines : .bar) : .none)
            let deadline = wait ? Deadline(afterSeconds: timeout) : Deadline(after: .zero)
            guard let total = try site.mounts.drain(volume, until: deadline, show: { display.show($0) }) else {
                throw SystemFailure(
                    "volume \"\(record.name)\"", "its server ended meanwhile", fix: "try again",
                    status: .temporaryFailure)
            }
            display.finish()
            guard wait, let failure = Self.failure(record.name, total) else {
                return json ? () : print(StagedNote.text(record.name, total, isBeingSent: !wait))
            }
            throw failure
        }
    }

    /// Why not all of it is in the store; nil where it is.
    private static func failure(_ name: String, _ total: StagedTotal) -> SystemFailure? {
        let subject = "volume \"\(name)\""
        guard total.packs == 0 else {
            let left = "\(total.packs) packs (\(Output.bytes(total.bytes)))"
            return SystemFailure(
                subject, "\(left) are not in the store yet, and safe in staging", fix: total.failure ?? "wait longer",
                status: .temporaryFailure)
        }
        switch total.metadata {
        case .failed(let cause):
            return SystemFailure(
                subject, "its data is in the store, and no copy of its metadata: \(cause)",
                status: .temporaryFailure)
        case .copying:
            return SystemFailure(
                subject, "its data is in the store, and no copy of its metadata yet", fix: "wait longer",
                status: .temporaryFailure)
        case .copied, .off, nil: return nil
        }
    }
}

/// Shows how much of a volume is still to be stored.
struct DrainDisplay {
    enum Style {
        case none
        /// On a terminal only.
        case bar
        case lines
    }

    private struct Line: Encodable {
        var packs: Int
        var bytes: UInt64
        var stored: UInt64
        var seconds: Double
        var failure: String?
        /// Of the metadata: copied, copying, failed or off.
        var copy: String?
    }

    private let name: String
    private let style: Style
    private let output = ProgressOutput()
    /// The most that was left: what is written meanwhile makes it more.
    private var most: UInt64 = 0

    init(name: String, style: Style) {
        self.name = name
        self.style = style == .bar && !output.isTerminal ? .none : style
    }

    mutating func show(_ total: StagedTotal) {
        most = max(most, total.bytes)
        let stored = most - total.bytes
        switch style {
        case .none: break
        case .bar:
            let share = most == 0 ? 1 : Double(stored) / Double(most)
            let left = share > 0 ? "\(output.secondsLeft(after: share)) s left" : total.failure ?? "waiting"
            output.draw(
                "\(name) \(ProgressOutput.bar(share)) \(total.packs) packs (\(Output.bytes(total.bytes))) to go, "
                    + "\(output.rate(stored)), \(left)")
        case .lines:
            output.line(
                Line(
                    packs: total.packs, bytes: total.bytes, stored: stored, seconds: output.seconds,
                    failure: total.failure, copy: total.metadata?.word))
        }
    }

    func finish() {
        if style == .bar { output.endLine() }
    }
}

extension MetadataCopyState {
    fileprivate var word: String {
        switch self {
        case .off: "off"
        case .copied: "copied"
        case .copying: "copying"
        case .failed: "failed"
        }
    }
}

/// What is said of what a store has of a volume: its data, and the copy of its metadata.
enum StagedNote {
    /// `isBeingSent`: a server is at it.
    static func text(_ name: String, _ total: StagedTotal, isBeingSent: Bool = false) -> String {
        data(name, total, isBeingSent) + copy(name, total, isBeingSent)
    }

    private static func data(_ name: String, _ total: StagedTotal, _ isBeingSent: Bool) -> String {
        guard total.packs > 0 else { return "all of \(name) is in the store" }
        let left = "\(total.packs) packs (\(Output.bytes(total.bytes))) of \(name) are"
        if isBeingSent { return "\(left) on their way to the store" }
        return
            "\(left) not in the store yet; they are safe in staging, and the volume's next server on this machine sends them"
    }

    private static func copy(_ name: String, _ total: StagedTotal, _ isBeingSent: Bool) -> String {
        switch total.metadata {
        case nil: ""
        case .off: "; its metadata is not copied there (make copies with: berth volume set \(name) metadata-copy=)"
        case .copied: total.packs == 0 ? ", with a copy of its metadata" : "; a copy of its metadata is there"
        case .copying: isBeingSent ? "; its metadata is being copied" : "; a copy of its metadata is not"
        case .failed(let cause): "; a copy of its metadata is not (\(cause))"
        }
    }
}
