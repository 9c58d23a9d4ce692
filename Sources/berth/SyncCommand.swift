import ArgumentParser
import Control
import Glibc
import LinuxSystem
import Volumes

struct SyncCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sync",
        abstract: "Send what is written to the store.",
        discussion: """
            Exit status 0 with --wait: the store has it all. What it has not is safe in staging. Progress is a bar on a
            terminal, and with --json a line a second elsewhere.
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
            if total.packs == 0 { return json ? () : print("all of \(record.name) is in the store") }
            let left = "\(total.packs) packs (\(Output.bytes(total.bytes)))"
            guard wait else { return print("\(left) of \(record.name) are on their way to the store") }
            throw SystemFailure(
                "volume \"\(record.name)\"", "\(left) are not in the store yet, and safe in staging",
                fix: total.failure ?? "wait longer", status: .temporaryFailure)
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
                    failure: total.failure))
        }
    }

    func finish() {
        if style == .bar { output.endLine() }
    }
}

/// What is said of data that is in staging when a mount or a server has ended.
enum StagedNote {
    static func text(_ name: String, packs: Int, bytes: UInt64) -> String {
        guard packs > 0 else { return "all of \(name) is in the store" }
        return "\(packs) packs (\(Output.bytes(bytes))) of \(name) are not in the store yet; they are safe in staging, "
            + "and the volume's next server on this machine sends them"
    }
}
