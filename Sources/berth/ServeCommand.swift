import ArgumentParser
import Control
import FileModel
import Glibc
import LinuxSystem
import Logging
import VolumePlugin
import Volumes

struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Serve the volume plugin that podman talks to.",
        discussion: "Volumes that are mounted stay mounted when it ends, and are taken over when it starts again.")

    @Flag(help: "Return when the plugin answers, and leave it running in the background.")
    var detach = false

    @OptionGroup
    var options: ServeOptions

    @Option(help: .hidden)
    var readyFd: Int32?

    func run() throws {
        if detach { return try runDetached() }
        let reporter = ReadinessReporter(descriptor: readyFd)
        // It holds containers' namespaces and the keys of stores. It unmounts with fusermount3, which is set-user-id: new
        // privileges stay possible.
        ProcessPrivileges.closeMemory()
        Termination.block()
        umask(0o077)
        let service: ServedPlugin
        do throws(SystemFailure) {
            service = try ServedPlugin(try Site(passingOn: options), options)
        } catch {
            ProcessEnvironment.complain("berth: \(error.message)")
            reporter.failed(error)
            throw ExitCode(error.status.rawValue)
        }
        service.tellOfVolumes()
        reporter.ready()
        Termination.wait()
        service.stop()
    }

    static func taken(_ paths: SitePaths, _ other: String) -> SystemFailure {
        SystemFailure(
            "runtime directory \(paths.runtime)", "is used by the plugin of the volumes in \(other)",
            fix: "set BERTH_RUNTIME_DIR to another directory for those in \(paths.data), and run `berth setup` there",
            errno: .busy, status: .temporaryFailure)
    }

    private func runDetached() throws {
        try berth.run { site throws(SystemFailure) in
            try site.paths.prepare()
            if let other = SupervisorClient.otherData(site.paths) { throw Self.taken(site.paths, other) }
            if let process = PluginProcess.running(site.paths) {
                return print("the volume plugin is running already (pid \(process))")
            }
            if PluginProcess.isAwaited(site.paths), let process = try PluginProcess.wake(site.paths) {
                return print("the volume plugin answers at \(site.paths.pluginSocket) (by systemd, pid \(process))")
            }
            try site.mounts.supervisor.startDetached(
                "berth", ["serve"] + options.words, log: "\(site.paths.logs)/serve.log", as: "the volume plugin",
                withKeys: true)
            print("the volume plugin answers at \(site.paths.pluginSocket)")
        }
    }
}

struct ServeOptions: ParsableArguments {
    @Option(
        help:
            "Tell Prometheus on this address of the loopback, too, such as 127.0.0.1:9567; anybody on this machine can ask."
    )
    var metricsListen: String?

    @Option(help: "The form of the logs, text or json; default: BERTH_LOG_FORMAT, your settings, text.")
    var logFormat: LogFormat?

    /// For the same process in the background.
    var words: [String] {
        (metricsListen.map { ["--metrics-listen", $0] } ?? [])
            + (logFormat.map { ["--log-format", $0.rawValue] } ?? [])
    }
}

extension LogFormat: ExpressibleByArgument {}

extension Site {
    /// As `init()`; the servers that are started get the form of logs that was asked for.
    init(passingOn options: ServeOptions) throws(SystemFailure) {
        var environment = ProcessEnvironment.current()
        if let format = options.logFormat { environment[LogFormat.variable] = format.rawValue }
        try self.init(environment: environment)
    }
}

/// Signals that ask the process to end: blocked everywhere, waited for by the main thread.
enum Termination {
    private static func signals() -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in [SIGTERM, SIGINT, SIGHUP] { sigaddset(&set, number) }
        return set
    }

    /// Before the first thread starts.
    static func block() {
        signal(SIGPIPE, SIG_IGN)
        var set = signals()
        pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    static func wait() {
        var set = signals()
        var number: Int32 = 0
        while sigwait(&set, &number) != 0 {}
    }
}
