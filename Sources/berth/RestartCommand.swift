import ArgumentParser
import Control
import FileModel
import LinuxSystem
import Volumes

struct RestartCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restart",
        abstract: "Replace a volume's server by the installed program; its mounts go on, and programs see a pause.")

    @Argument(help: "The volume.")
    var name: String?

    @Flag(help: "The servers of all volumes.")
    var all = false

    func validate() throws {
        guard (name == nil) == all else { throw ValidationError("name a volume, or use --all") }
    }

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            guard let name else { return try restartAll(site) }
            let record = try site.registry.record(try VolumeName(name))
            guard try restart(record.name, site) else {
                throw SystemFailure(
                    "volume \"\(record.name)\"", "has no server", fix: "its next mount starts one", status: .unavailable
                )
            }
        }
    }

    private func restartAll(_ site: Site) throws(SystemFailure) {
        var failed: SystemFailure?
        for record in try site.registry.list().records {
            do throws(SystemFailure) {
                _ = try restart(record.name, site)
            } catch {
                if let failed { ProcessEnvironment.complain("berth: \(failed.message)") }
                failed = error
            }
        }
        if let failed { throw failed }
    }

    /// False where no server runs.
    private func restart(_ volume: String, _ site: Site) throws(SystemFailure) -> Bool {
        guard let status = try site.mounts.restartServer(site.paths.volume(volume)) else { return false }
        print("the server of \(volume) is pid \(status.processID), version \(status.version)")
        return true
    }
}
