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
            let findings = try site.doctor().findings() + space(site)
            if json { try Output.json(findings) } else { for finding in findings { print(finding.line) } }
            let failed = findings.filter { $0.verdict == .fail }
            guard failed.isEmpty else {
                throw SystemFailure(
                    "this machine", "fails \(failed.count) of \(findings.count) checks",
                    fix: failed.compactMap(\.fix).first, status: .unavailable)
            }
        }
    }

    /// What each volume takes of a quota. One that cannot be looked at is no fault of the machine.
    private func space(_ site: Site) -> [Finding] {
        let settings = (try? UserSettings.load(site.paths)) ?? UserSettings()
        let records = (try? site.registry.list())?.records ?? []
        return records.map { record in
            guard let view = try? CacheView(record, settings, site) else {
                return Finding(
                    spaceOf: record.name, "cannot be looked at", fix: "see: berth cache ls \(record.name)")
            }
            return Finding(spaceOf: record.name, view.words)
        }
    }
}
