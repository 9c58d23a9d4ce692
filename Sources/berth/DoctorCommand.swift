import ArgumentParser
import LinuxSystem
import Volumes

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Look at what Berth needs of this machine, and say how to mend what is missing.")

    @Flag(help: "Print as JSON.")
    var json = false

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let findings = try site.doctor().findings()
            if json { try Output.json(findings) } else { for finding in findings { print(finding.line) } }
            let failed = findings.filter { $0.verdict == .fail }
            guard failed.isEmpty else {
                throw SystemFailure(
                    "this machine", "fails \(failed.count) of \(findings.count) checks",
                    fix: failed.compactMap(\.fix).first, status: .unavailable)
            }
        }
    }
}
