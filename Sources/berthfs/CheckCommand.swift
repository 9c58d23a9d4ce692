import ArgumentParser
import LinuxSystem

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "check")
    func run() throws {
        throw ExitCode(ExitStatus.unavailable.rawValue)
    }
}
