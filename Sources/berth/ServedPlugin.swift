import Control
import FileModel
import Glibc
import LinuxSystem
import Logging
import Metrics
import VolumePlugin
import Volumes

/// The plugin's listening socket.
private struct Listener: ~Copyable {
    enum Origin {
        /// Made here; its file goes with the process.
        case own
        /// Passed by systemd, which goes on listening when this process ends.
        case serviceManagers
    }

    let socket: FileDescriptor
    let origin: Origin
}

/// What `berth serve` is made of: podman's plugin, the socket that hooks ask, and the sweep of what nobody uses.
struct ServedPlugin {
    private let site: Site
    private let logger: Logger
    /// Sockets that go with this process, and which files they are.
    private let files: [(path: String, mark: FileMark)]
    private let server: PluginServer
    private let metrics: MetricsServer
    private let hooks: RequestListener<SupervisorRequest, SupervisorReply>

    init(_ site: Site, _ asked: ServeOptions) throws(SystemFailure) {
        self.site = site
        try site.paths.prepare()
        let settings = try UserSettings.load(site.paths)
        let logger = LogWriter.logger(
            program: "berth", format: LogFormat.chosen(asked.logFormat, site.environment, settings))
        self.logger = logger
        // First, because it is what most likely cannot be had.
        let loopback = try Self.loopback(asked, settings, logger)
        let listener = try Self.listen(site)
        let isOwn = listener.origin == .own
        // Before anything is taken over: nobody else can be there.
        let hookSocket = try UnixSocket.listen(at: site.paths.supervisorSocket)
        site.registry.sweep()
        let driver = PluginDriver(site.mounts, logger: logger)
        driver.adopt()
        server = try PluginServer(
            listener.socket, driver: driver, userID: geteuid(), host: HostView.own(), logger: logger)
        metrics = try Self.metrics(site, loopback, logger)
        files = ([site.paths.metricsSocket] + (isOwn ? [site.paths.pluginSocket] : [])).compactMap { path in
            FileMark(path).map { (path, $0) }
        }
        let supervisor = site.mounts.supervisor
        hooks = RequestListener(
            hookSocket, path: site.paths.supervisorSocket, host: nil,
            note: { logger.debug("\($0)", metadata: ["cause": "\($1)"]) },
            answer: { request, _, _ in Self.answer(request, supervisor) })
        hooks.start()
        Self.tellPodman(site, logger)
        Self.startSweep(site, driver, settings, logger)
        logger.info(
            "serving the volume plugin", metadata: ["socket": "\(site.paths.pluginSocket)", "pid": "\(getpid())"])
    }

    /// Takes no more requests and finishes those under way.
    func stop() {
        hooks.close()
        server.stop()
        metrics.stop()
        // After a logout another plugin may have made its own in their place.
        for file in files where FileMark(file.path) == file.mark { unlink(file.path) }
    }

    /// Tells podman of volumes that it does not know: those made while no plugin ran, or on a node that shares the home
    /// directory and not podman's storage. Before the plugin is said to be ready: the user's next word may be `podman run`.
    func tellOfVolumes() {
        let names = ((try? site.registry.list())?.records ?? []).map(\.name)
        for failure in site.engineVolumes.tellMade(all: names) {
            logger.warning("podman does not have a volume as it is", metadata: ["cause": "\(failure.message)"])
        }
    }

    /// Another socket than `berth setup` found is of no use to podman.
    private static func tellPodman(_ site: Site, _ logger: Logger) {
        let changes: [ConfigurationChange]
        do throws(SystemFailure) {
            changes = try site.engineConfiguration().follow()
        } catch {
            // A home that is full or read-only: what podman knew, it knows.
            return logger.warning("podman cannot be told of this socket", metadata: ["cause": "\(error.message)"])
        }
        for change in changes {
            logger.info(
                "podman is told of this socket",
                metadata: ["socket": "\(site.paths.pluginSocket)", "cause": "\(change.path)"])
        }
    }

    private static func listen(_ site: Site) throws(SystemFailure) -> Listener {
        let path = site.paths.pluginSocket
        if let socket = try SocketActivation.listener(at: path, environment: site.environment) {
            return Listener(socket: socket, origin: .serviceManagers)
        }
        do {
            return Listener(socket: try UnixSocket.listen(at: path), origin: .own)
        } catch  where error.errno == Errno(EADDRINUSE) {
            let process = PluginProcess.running(site.paths).map { " (pid \($0))" } ?? ""
            throw SystemFailure(
                "the volume plugin", "is running already\(process)", fix: "end it with `berth stop`",
                errno: error.errno, status: .temporaryFailure)
        }
    }

    /// A socket bound to the address where Prometheus may ask, if there is to be one.
    private static func loopback(
        _ asked: ServeOptions, _ settings: UserSettings, _ logger: Logger
    ) throws(SystemFailure) -> FileDescriptor? {
        var address = settings.metricsListen
        if let text = asked.metricsListen { address = try LoopbackAddress(text, subject: "--metrics-listen") }
        guard let address else { return nil }
        let socket = try address.bind()
        logger.info("telling Prometheus", metadata: ["address": "\(address)"])
        return socket
    }

    private static func metrics(
        _ site: Site, _ loopback: consuming FileDescriptor?, _ logger: Logger
    ) throws(SystemFailure) -> MetricsServer {
        let collector = StatisticsCollector(site.mounts)
        return try MetricsServer(
            try UnixSocket.listen(at: site.paths.metricsSocket), loopback: loopback,
            contentType: Exposition.contentType, userID: geteuid(), logger: logger
        ) {
            let found = collector.all()
            return Exposition.text(found.served, unserved: found.unserved, version: Release.version)
        }
    }

    private static func answer(_ request: SupervisorRequest, _ supervisor: ServerSupervisor) -> SupervisorReply {
        do throws(SystemFailure) {
            switch request {
            case .ping: return .done
            case .version: return .version(Release.version)
            case .data: return .data(supervisor.paths.data)
            case .serve(let volume):
                _ = try supervisor.client(for: supervisor.paths.volume(try VolumeName(volume).description))
                return .done
            }
        } catch {
            return .failed(code: error.status.rawValue, message: error.message)
        }
    }

    private static func expire(_ now: Int64, _ site: Site, _ logger: Logger) {
        let (names, failures) = site.mounts.expireRemoved(now: now)
        for name in names { logger.info("a volume that was removed is gone for good", metadata: ["volume": "\(name)"]) }
        for failure in failures {
            logger.error("a removed volume cannot be taken away", metadata: ["cause": "\(failure.message)"])
        }
    }

    private static func startSweep(_ site: Site, _ driver: PluginDriver, _ settings: UserSettings, _ logger: Logger) {
        let sweep = EngineSweep(
            site.mounts, idle: settings.sessionIdle,
            note: { message, volume, failure in
                guard let failure else { return logger.info("\(message)", metadata: ["volume": "\(volume)"]) }
                logger.error("\(message)", metadata: ["volume": "\(volume)", "cause": "\(failure.message)"])
            },
            excludingPlugin: { name, body in driver.excluding(name, body) })
        let socket = FileMark(site.paths.pluginSocket)
        let (wallStart, start) = (Timestamp.now().seconds, ContinuousClock.now)
        // Detached on purpose: it ends with the process.
        _ = WorkerThread(name: "berth-sweep") {
            while true {
                usleep(UInt32(clamping: Int64(sweep.interval / .microseconds(1))))
                guard FileMark(site.paths.pluginSocket) == socket else {
                    // A logout empties the runtime directory. Nobody can reach us any more.
                    logger.error(
                        "the plugin's socket is gone; ending", metadata: ["socket": "\(site.paths.pluginSocket)"])
                    kill(getpid(), SIGTERM)
                    return
                }
                driver.dropDeadNamespaces()
                sweep.sweep(now: .now)
                // A clock that somebody sets forward must not throw volumes away (decision 0068).
                let elapsed = Int64((ContinuousClock.now - start) / .seconds(1))
                expire(min(Timestamp.now().seconds, wallStart + elapsed), site, logger)
            }
        }
    }
}
