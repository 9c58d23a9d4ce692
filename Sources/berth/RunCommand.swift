import ArgumentParser
import Control
import FileModel
import Glibc
import LinuxSystem
import Volumes

struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run a program that sees volumes at their paths, without a container.",
        usage: "berth run [--volume NAME[:/PATH][:ro]]… [--host] -- PROGRAM [ARGUMENT]…",
        discussion: """
            The program gets mounts of its own; they end with it and what it started. A container runtime (apptainer, \
            singularity, ch-run) gets the volumes from mounts on the host instead, bound by APPTAINER_BIND and \
            SINGULARITY_BIND, or by --bind for ch-run.
            """)

    @Option(
        help: ArgumentHelp(
            "A volume, and where to show it if not at its own path. May be given more than once. Without: all with a path.",
            valueName: "name[:/path][:ro]"))
    var volume: [String] = []

    @Flag(help: "Mount on the host, set APPTAINER_BIND and SINGULARITY_BIND, and make no namespace.")
    var host = false

    @Flag(help: "Where no volume has a path, run the program as it is.")
    var optional = false

    @Argument(parsing: .postTerminator, help: "The program and its arguments.")
    var command: [String] = []

    /// Programs that make namespaces of their own, often with set-user-id helpers that do nothing in ours.
    private static let binders: Set<String> = ["apptainer", "singularity", "ch-run"]
    private static let engines: Set<String> = ["podman", "docker", "buildah", "nerdctl"]

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            guard let program = command.first, !program.isEmpty else {
                throw SystemFailure("berth run", "has no program", fix: "name it after --", status: .usage)
            }
            let name = program.words(at: "/").last.map(String.init) ?? program
            guard host || !Self.engines.contains(name) else {
                throw SystemFailure(
                    name, "gets volumes from Berth's plugin, not from `berth run`",
                    fix: "write `\(name) run -v VOLUME:/PATH …`, or add --host to run it as it is", status: .usage)
            }
            let map = PathMap(site.registry)
            if optional, volume.isEmpty, try map.entries().isEmpty {
                Self.become(program, ProcessImage.wordsAfterTerminator())
            }
            let volumes = try map.selection(volume)
            if host || Self.binders.contains(name) {
                try onHost(site, volumes, name)
            } else {
                try inNamespace(site, volumes)
            }
        }
    }

    private func inNamespace(_ site: Site, _ volumes: [PlacedVolume]) throws(SystemFailure) {
        let sockets = try Preparation.served(site, volumes)
        // For a runtime that the program starts: the volumes are where the program sees them.
        let binds = volumes.map { Bind(source: $0.path.description, path: $0.path, readOnly: $0.readOnly) }
        let prefix = site.paths.hostMountpoints
        try Self.export(try BindVariables(site.environment).adding(binds, ours: prefix))
        let task = RunTask(
            places: zip(volumes, sockets).map { volume, socket in
                .init(volume: volume.name, socket: socket, path: volume.path, readOnly: volume.readOnly)
            })
        throw try site.mounts.supervisor.become("berth-hook", task.arguments, ProcessImage.wordsAfterTerminator())
    }

    private func onHost(_ site: Site, _ volumes: [PlacedVolume], _ name: String) throws(SystemFailure) {
        let binds = volumes.map {
            Bind(source: site.mounts.hostPlace($0.name), path: $0.path, readOnly: $0.readOnly)
        }
        let variables = try BindVariables(site.environment).adding(binds, ours: site.paths.hostMountpoints)
        let unplaced = volumes.map(\.name).filter { !site.mounts.isPlaced($0) }
        if !unplaced.isEmpty { try Preparation.start(site, ["--on-host"] + unplaced) }
        try Self.export(variables)
        var words = ProcessImage.wordsAfterTerminator()
        if name == "ch-run" {
            for bind in binds {
                for word in ["\(bind.source):\(bind.path)", "--bind"] {
                    guard let copy = strdup(word) else {
                        throw SystemFailure("memory", "is full", status: .systemError)
                    }
                    words.insert(copy, at: 1)
                }
            }
        }
        Self.become(name, words)
    }

    /// Exit statuses as shells have them.
    private static func become(_ name: String, _ words: [UnsafeMutablePointer<CChar>]) -> Never {
        let error = ProcessImage.become(words)
        ProcessEnvironment.complain("berth: \(name): cannot be started: \(error)")
        Glibc.exit(error == .noEntry ? 127 : 126)
    }

    private static func export(_ variables: [String: String?]) throws(SystemFailure) {
        for (name, value) in variables {
            guard (value.map { setenv(name, $0, 1) } ?? unsetenv(name)) == 0 else {
                throw SystemFailure(name, "cannot be set", .current)
            }
        }
    }
}

/// Has servers, or mounts on the host, ready for a program that this process is about to become. It is a process of
/// its own, so that the program has no children that it does not know.
struct Preparation: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prepare", abstract: "Have volumes served, or mounted on the host.", shouldDisplay: false)

    @Flag(help: "Mount them on the host.")
    var onHost = false

    @Argument(help: "The volumes.")
    var names: [String]

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            for name in names {
                let name = try VolumeReference(name)
                if onHost {
                    try site.mounts.place(name)
                } else {
                    _ = try site.mounts.supervisor.client(for: site.paths.volume(name.volume.description))
                }
            }
        }
    }

    /// The control sockets of the volumes' servers, which are started where they do not run.
    static func served(_ site: Site, _ volumes: [PlacedVolume]) throws(SystemFailure) -> [String] {
        var missing: [String] = []
        for volume in volumes where try socket(site, volume) == nil { missing.append(volume.name) }
        if !missing.isEmpty { try start(site, missing) }
        var sockets: [String] = []
        for volume in volumes {
            guard let socket = try socket(site, volume) else {
                throw SystemFailure(
                    "volume \"\(volume.name)\"", "lost its server", fix: "try again", status: .temporaryFailure)
            }
            sockets.append(socket)
        }
        return sockets
    }

    private static func socket(_ site: Site, _ volume: PlacedVolume) throws(SystemFailure) -> String? {
        try site.mounts.supervisor.running(site.paths.volume(volume.volume))?.socket
    }

    /// Runs it to its end. A failure has been told by the process that met it.
    static func start(_ site: Site, _ words: [String]) throws(SystemFailure) {
        let words = [configuration.commandName ?? "prepare"] + words
        let child = try Spawn.start(Command(site.program, words, environment: site.environment))
        switch Spawn.wait(for: child) {
        case .exited(0): return
        case .exited(let status): Glibc.exit(status)
        default: throw SystemFailure("berth prepare", "was killed", status: .software)
        }
    }
}
