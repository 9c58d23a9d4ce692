import ArgumentParser
import Glibc
import LinuxSystem
import Sandbox

/// Enters the server's filter and makes a call that it forbids: the proof that the filter holds on this kernel.
struct FilterProbe: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "filter-probe", abstract: "Start a program from inside the seccomp filter; SIGSYS must end it.",
        shouldDisplay: false)

    func run() throws {
        do {
            try SystemCallFilter.enter()
        } catch {
            ProcessEnvironment.complain("berthfs: \(error.description)")
            throw ExitCode(ExitStatus.systemError.rawValue)
        }
        ProcessEnvironment.complain("inside the filter")
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("true"), nil]
        execv("/bin/true", &arguments)
        ProcessEnvironment.complain("berthfs: the filter let a forbidden system call through")
        throw ExitCode(ExitStatus.software.rawValue)
    }
}
