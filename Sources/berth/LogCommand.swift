import ArgumentParser
import LinuxSystem
import Volumes

struct LogCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log", abstract: "Show the last lines of the logs: servers, plugin and hooks.")

    @Argument(help: "One log only: a volume, \"serve\" or \"hook\".")
    var name: String?

    @Option(name: .short, help: "How many lines.")
    var number = 20

    @Flag(help: "Print as JSON.")
    var json = false

    func validate() throws {
        guard number > 0 else { throw ValidationError("-n takes a number above 0") }
    }

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let lines = try LogLines(site.paths).last(number, of: name)
            if json { return try Output.json(lines) }
            for line in lines { print(line.text) }
        }
    }
}
