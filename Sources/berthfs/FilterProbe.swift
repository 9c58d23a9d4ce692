import ArgumentParser
import Glibc
import LinuxSystem
import Sandbox

/// Enters the server's filter and makes a call that it forbids: the proof that the filter holds on this kernel.
struct FilterProbe: ParsableCommand {
    @Flag(help: "Enter the filter of a volume whose store is in the network.")
    var network = false

    @Flag(help: "Make a network socket instead of starting a program.")
    var socket = false

    static let configuration = CommandConfiguration(
        commandName: "filter-probe", abstract: "Do from inside the seccomp filter what it forbids; SIGSYS must end it.",
        shouldDisplay: false)

    func run() throws {
        do {
            try SystemCallFilter.enter(network ? .network : .files)
        } catch {
            ProcessEnvironment.complain("berthfs: \(error.description)")
            throw ExitCode(ExitStatus.systemError.rawValue)
        }
        ProcessEnvironment.complain("inside the filter")
        if socket {
            let number = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            return ProcessEnvironment.complain(number >= 0 ? "the filter let a socket be made" : "no socket")
        }
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("true"), nil]
        execv("/bin/true", &arguments)
        ProcessEnvironment.complain("berthfs: the filter let a forbidden system call through")
        throw ExitCode(ExitStatus.software.rawValue)
    }
}
