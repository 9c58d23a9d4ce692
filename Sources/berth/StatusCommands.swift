import ArgumentParser
import Control
import FileModel
import Glibc
import LinuxSystem
import Volumes

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show the volume plugin, the servers and their mounts.")

    @Flag(help: "Print as JSON.")
    var json = false

    /// Who looks waits for podman no longer.
    private static let patience = Duration.seconds(5)

    private struct View: Encodable {
        /// Of this program. What runs may be older, after an upgrade.
        var version = Release.version
        var plugin: Int32?
        var pluginVersion: String?
        var pluginSocket: String
        var volumes: [Entry]
        /// Where podman means something else by a volume's name.
        var podman: [String]
    }

    private struct Entry: Encodable {
        var name: String
        /// The server's pid.
        var server: Int32?
        var serverVersion: String?
        /// The pid of the process that holds the sessions while one server follows another.
        var keeper: Int32?
        /// Why the mounts end with the server, should it die.
        var irreplaceable: String?
        /// What keeps the volume from working now.
        var faults: [VolumeFault]
        /// Sources of imported files that the metadata name and the user has not.
        var closedSources: [String]
        var sessions: [SessionView]
        /// Containers that have the volume by an annotation, and not by a word of `podman volume`.
        var annotated: [LeasedContainer]
    }

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let census = MountCensus.take()
            let leases = Leases(site.paths)
            var volumes: [Entry] = []
            for record in try site.registry.list().records {
                let status = (try? site.mounts.status(of: site.paths.volume(record.name))) ?? nil
                volumes.append(
                    Entry(
                        name: record.name, server: status?.processID, serverVersion: status?.version,
                        keeper: status?.keeperID, irreplaceable: status?.irreplaceable, faults: status?.faults ?? [],
                        closedSources: status?.closedSources ?? [],
                        sessions: status.map { site.mounts.sessions($0, census) } ?? [],
                        annotated: try leases.containers(with: VolumeName(record.name))))
            }
            let view = View(
                plugin: PluginProcess.running(site.paths), pluginVersion: PluginProcess.version(site.paths),
                pluginSocket: site.paths.pluginSocket, volumes: volumes,
                podman: site.engineVolumes.differences(volumes.map(\.name), within: Self.patience).map(\.message))
            if json { return try Output.json(view) }
            print("plugin   \(Self.line(view, site.paths))")
            print("socket   \(view.pluginSocket)")
            for line in view.podman { print("warning  \(line)") }
            for volume in volumes {
                print("volume   \(volume.name)  \(Self.line(volume))")
                for fault in volume.faults { print("fault    \(volume.name)  \(fault.part.rawValue): \(fault.text)") }
                for line in Recovery.lines(ofClosed: volume.closedSources, volume: volume.name) {
                    print("note     \(volume.name)  \(line)")
                }
                for session in volume.sessions { print("           \(session.line)") }
                for container in volume.annotated { print("           by annotation: container \(container.line)") }
            }
        }
    }

    private static func line(_ view: View, _ paths: SitePaths) -> String {
        guard let process = view.plugin else {
            return PluginProcess.isAwaited(paths)
                ? "not running; systemd starts it when it is asked" : "not running; start it with: berth serve --detach"
        }
        let note = RunningVersion.note(view.pluginVersion, restart: "berth stop && berth serve --detach")
        return "pid \(process)" + (note.map { "  \($0)" } ?? "")
    }

    private static func line(_ volume: Entry) -> String {
        guard let process = volume.server else { return "no server" }
        let restart = volume.sessions.isEmpty ? "berth stop --all" : "berth restart \(volume.name)"
        let note = RunningVersion.note(volume.serverVersion, restart: restart)
        let warning = volume.irreplaceable.map { "should it die, its mounts end: \($0)" }
        return (["pid \(process)"] + [note, warning].compactMap { $0 }).joined(separator: "  ")
    }
}

struct StopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop", abstract: "End the volume plugin; with --all also the servers that nothing uses.")

    private static let patience = Duration.seconds(20)

    @Flag(help: "End the volumes' servers, too. One with mounts is left alone and named.")
    var all = false

    @Flag(help: "With --all: end servers with mounts as well. Programs that use them get errors.")
    var force = false

    @Option(help: "With --all: so many seconds at most for what is staged to reach the store.")
    var timeout: Double?

    func validate() throws {
        guard all || timeout == nil else { throw ValidationError("--timeout goes with --all") }
        guard timeout ?? 0 >= 0 else { throw ValidationError("--timeout is a number of seconds") }
    }

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let deadline = Deadline(afterSeconds: timeout)
            try stopPlugin(site)
            guard all else { return }
            var busy: SystemFailure?
            for record in try site.registry.list().records {
                let volume = site.paths.volume(record.name)
                site.mounts.endIdleHookMounts(volume)
                guard try site.mounts.status(of: volume) != nil else { continue }
                let sessions = try site.mounts.sessionsInUse(volume)
                guard sessions.isEmpty || force else {
                    var failure = MountService.inUse(record.name, sessions)
                    failure.cause += ", and its server goes on"
                    failure.fix = "\(failure.fix.map { "\($0); " } ?? "")or add --force"
                    if let previous = busy { ProcessEnvironment.complain("berth: \(previous.message)") }
                    busy = failure
                    continue
                }
                let left = deadline.remainingMilliseconds
                try site.mounts.stopServer(volume, storeSeconds: left < 0 ? nil : Double(left) / 1000)
                print("ended the server of \(record.name)")
                let behind = site.mounts.leftBehind(by: record)
                if timeout != nil {
                    print(StagedNote.text(record.name, behind))
                } else if case .failed(let place) = behind.metadata {
                    ProcessEnvironment.complain(
                        "berth: volume \"\(record.name)\": its store has no copy of what was changed last in its metadata "
                            + "(\(place)); make one with: berth sync \(record.name) --wait")
                }
            }
            if let busy { throw busy }
        }
    }

    private func stopPlugin(_ site: Site) throws(SystemFailure) {
        guard let process = PluginProcess.running(site.paths) else { return print("the volume plugin is not running") }
        kill(process, SIGTERM)
        guard ProcessWatch.waitForEnd(of: process, timeout: Self.patience) else {
            throw SystemFailure(
                "the volume plugin", "did not end (pid \(process))", fix: "see \(site.paths.logs)/serve.log",
                status: .temporaryFailure)
        }
        print("ended the volume plugin (pid \(process))")
        if PluginProcess.isAwaited(site.paths) {
            print("systemd starts it again when it is asked; end that with: systemctl --user stop berth.socket")
        }
    }
}
