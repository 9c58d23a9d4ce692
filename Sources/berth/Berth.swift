import ArgumentParser
import FileModel
import LinuxSystem
import Volumes

/// `berth`: what people type, and, as `berth serve`, the volume plugin.
@main
struct Berth: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "berth",
        abstract: "Volumes that appear at the same path in every container, without root.",
        version: Release.version,
        subcommands: [
            SetupCommand.self, ServeCommand.self, StatusCommand.self, StopCommand.self, RestartCommand.self,
            VolumeCommand.self,
            MountCommand.self, UmountCommand.self, PathCommand.self, RunCommand.self, EnvCommand.self,
            DoctorCommand.self, LogCommand.self, StatsCommand.self, WarmCommand.self, EvictCommand.self,
            CacheCommand.self,
            SyncCommand.self, SnapshotCommand.self, CloneCommand.self, CollectCommand.self, TrashCommand.self,
            QuotaCommand.self, UsageCommand.self, ImportCommand.self, ExportCommand.self, AnnotateCommand.self,
            Preparation.self,
        ])
}

/// What every command works with, read once from the process.
struct Site {
    let environment: [String: String]
    let paths: SitePaths
    let program: String
    let mounts: MountService

    init(environment: [String: String] = ProcessEnvironment.current()) throws(SystemFailure) {
        self.environment = environment
        paths = SitePaths(environment: environment)
        guard let program = ProcessEnvironment.executablePath() else {
            throw SystemFailure("/proc/self/exe", "cannot be read", fix: "mount /proc", status: .unavailable)
        }
        self.program = program
        mounts = MountService(paths: paths, environment: environment, program: program)
    }

    /// How podman is told of the plugin and the hooks.
    func engineConfiguration() throws(SystemFailure) -> EngineConfiguration {
        EngineConfiguration(
            paths: paths,
            hooks: HookFiles(program: try mounts.supervisor.hookProgram(), environment: environment))
    }

    func doctor() throws(SystemFailure) -> Doctor {
        Doctor(paths, environment: environment, configuration: try engineConfiguration())
    }

    var registry: VolumeRegistry { mounts.registry }

    /// Podman's own list of volumes.
    var engineVolumes: EngineVolumes { EngineVolumes(paths, environment: environment) }

    /// Every way of making a volume ends here: podman is told, and where it is not, the user. The volume is there all the same.
    func tellPodman(ofNew name: String) {
        if let failure = engineVolumes.tellMade(name) { ProcessEnvironment.complain("berth: \(failure.message)") }
    }

    /// Every way of removing a volume goes through here.
    func tellingPodman(
        ofRemoved name: VolumeName, _ body: () throws(SystemFailure) -> Void
    ) throws(SystemFailure) {
        // First: podman does not say whose a volume was that is gone.
        let isKnown = engineVolumes.knows(name.description)
        try body()
        guard isKnown, let failure = engineVolumes.tellRemoved(name.description) else { return }
        ProcessEnvironment.complain("berth: \(failure.message)")
    }
}

/// Runs a command's body; a failure becomes one line on standard error and an exit status of `sysexits.h`.
func run(_ body: (Site) throws(SystemFailure) -> Void) throws {
    do throws(SystemFailure) {
        try body(try Site())
    } catch {
        ProcessEnvironment.complain("berth: \(error.message)")
        throw ExitCode(error.status.rawValue)
    }
}
