import ArgumentParser
import CLinux
import Control
import FileModel
import Glibc
import LinuxSystem
import Logging
import Sandbox
import VFS
import Volumes

/// The volume's server. Others start it and hand it sessions over its control socket.
struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Serve a volume's sessions in the foreground, until the last one has ended.")

    /// What storing the last packs may take before the process ends; the rest waits in staging.
    private static let storeSeconds = 30.0

    @Argument(help: "The volume.")
    var name: String

    @Option(help: "Say on this descriptor when the server is ready, or why it never will be.")
    var readyFd: Int32?

    @Option(help: .hidden)
    var keeperFd: Int32?

    @Flag(help: .hidden)
    var afterFault = false

    @Option(help: "The form of the log, text or json; default: BERTH_LOG_FORMAT, your settings, text.")
    var logFormat: LogFormat?

    func run() throws {
        // Of the keeper, too: what it holds is what the server must not get at again.
        ProcessPrivileges.closeMemory()
        ProcessPrivileges.forgoNewPrivileges()
        Signals.prepare()
        MappedReads.survive()
        berth_return_large_blocks()
        umask(0o077)
        let logger = logger()
        guard let keeperFd else { return try keep(logger) }
        let reporter = ReadinessReporter(descriptor: readyFd)
        let served: ServedVolume
        do throws(SystemFailure) {
            let link = try KeeperLink(keeperFd, logger: logger)
            served = try start(Legacy(link, afterFault: afterFault, logger: logger), logger)
        } catch {
            logger.critical("the volume cannot be served", metadata: ["cause": "\(error.message)"])
            reporter.failed(error)
            throw ExitCode(error.status.rawValue)
        }
        reporter.ready()
        do throws(SystemFailure) {
            try served.serveToEnd(storeSeconds: Self.storeSeconds)
        } catch {
            throw ExitCode(error.status.rawValue)
        }
    }

    /// Stays as the keeper of the server, which is a process of its own.
    private func keep(_ logger: Logger) throws {
        let status: Int32
        do throws(SystemFailure) {
            guard let program = ProcessEnvironment.executablePath() else {
                throw SystemFailure("/proc/self/exe", "cannot be read", fix: "mount /proc", status: .unavailable)
            }
            var keeper = try Keeper(program: program, volume: try VolumeName(name), logger: logger)
            if let readyFd { _ = fcntl(readyFd, F_SETFD, FD_CLOEXEC) }
            status = try keeper.run(ready: readyFd)
        } catch {
            logger.critical("the volume cannot be served", metadata: ["cause": "\(error.message)"])
            ReadinessReporter(descriptor: readyFd).failed(error)
            throw ExitCode(error.status.rawValue)
        }
        if status != 0 { throw ExitCode(status) }
    }

    private func start(_ legacy: Legacy, _ logger: Logger) throws(SystemFailure) -> ServedVolume {
        let environment = ProcessEnvironment.current()
        let site = SitePaths(environment: environment)
        let volumeName = try VolumeName(name)
        let record = try VolumeRegistry(paths: site).record(volumeName)
        let paths = site.volume(record.name)
        try site.prepare()
        let settings = try UserSettings.load(site)
        let socket: FileDescriptor
        do {
            socket = try Self.socket(paths.controlSocket, legacy)
        } catch  where error.errno == Errno(EADDRINUSE) {
            throw SystemFailure(
                "volume \"\(name)\"", "has a server already (\(paths.controlSocket))",
                fix: "use `berth mount`, which asks it for one more mount, or `berth stop --all`", errno: error.errno,
                status: .temporaryFailure)
        }
        // Nil where the file system has no sockets, or the path is too long for one: then clients with another runtime
        // directory find the server through the lock file.
        var inner = try? Self.socket(paths.innerSocket, legacy)
        if paths.unmarkedSocket != paths.controlSocket,
            legacy.link.take(Handover.socketPrefix + paths.unmarkedSocket) != nil
        {
            // Of a server of an earlier version: nobody takes up what is asked there any more.
            legacy.link.drop(Handover.socketPrefix + paths.unmarkedSocket)
            unlink(paths.unmarkedSocket)
        }
        do throws(SystemFailure) {
            let caches = CacheSite(VolumeRegistry(paths: site), environment: environment)
            let cache = try ChosenCache(record, caches, settings)
            // What cannot be asked any more inside.
            let host = HostView.own()
            _ = NodeIdentity.current()
            let machine = Identity.mountInOwnNamespace()
            TrustedPath.prepare()
            let domain = ServerDomain(
                record: record, paths: paths, site: site, cache: cache.directory, environment: environment)
            let landlock = try domain.enter()
            return try serve(
                Prepared(
                    record: record, paths: paths, caches: caches, cache: cache, landlock: landlock, host: host,
                    machine: machine, legacy: legacy, settings: settings, logger: logger),
                socket, inner.take())
        } catch {
            // One that is to be tried again keeps its socket: clients wait.
            if !legacy.isTakenOver { unlink(paths.controlSocket) }
            throw error
        }
    }

    /// Listens, or goes on listening where an earlier server did: clients that came meanwhile are waiting.
    private static func socket(_ path: String, _ legacy: Legacy) throws(SystemFailure) -> FileDescriptor {
        let name = Handover.socketPrefix + path
        if let inherited = legacy.link.take(name) { return inherited.takeDescriptor() }
        let socket = try UnixSocket.listen(at: path)
        legacy.link.keep(name, socket.rawValue)
        return socket
    }

    private static func lock(
        _ paths: VolumePaths, _ legacy: Legacy, _ logger: Logger
    ) throws(SystemFailure) -> VolumeLock {
        let report = { @Sendable (words: String) in logger.warning("\(words)") }
        if let inherited = legacy.link.take("lock") {
            return try VolumeLock.inherit(paths, inherited.takeDescriptor(), report: report)
        }
        let lock = try VolumeLock.take(paths, report: report)
        legacy.link.keep("lock", lock.number)
        return lock
    }

    /// What is known and decided before the server gives up the rest of the file system.
    private struct Prepared {
        let record: VolumeRecord
        let paths: VolumePaths
        let caches: CacheSite
        let cache: ChosenCache
        let landlock: Int
        /// What clients show who are in no container.
        let host: HostView?
        /// How the volume's ids are in this process's namespace.
        let machine: Identity
        let legacy: Legacy
        let settings: UserSettings
        let logger: Logger
    }

    private func serve(
        _ prepared: Prepared, _ socket: consuming FileDescriptor, _ innerSocket: consuming FileDescriptor?
    ) throws(SystemFailure) -> ServedVolume {
        let (record, paths, caches) = (prepared.record, prepared.paths, prepared.caches)
        let (legacy, logger) = (prepared.legacy, prepared.logger)
        let lock = try Self.lock(paths, legacy, logger)
        let isMended = Mending(record, paths, logger: logger).runIfAsked()
        let volume = try OpenVolume(
            record, paths, caches, prepared.cache, legacy: legacy, lease: lock.lease, machine: prepared.machine,
            logger: logger)
        let copier = try MetadataCopier(record, volume, paths, logger: logger)
        let confinement = Confinement(
            landlock: prepared.landlock, reachesNetwork: volume.reach == .network,
            isMemoryOpen: ProcessPrivileges.isMemoryOpen)
        let fileSystem = volume.fileSystem
        lock.lease.whenLost { fileSystem.giveUp($0) }
        let name = try VolumeName(record.name)
        let snapshots = SnapshotService(record.name, paths, volume, showsDirectory: record.options.showsSnapshots)
        let server = Server(
            paths, fileSystem: fileSystem,
            warmer: Warmer(volume: record.name, fileSystem: fileSystem, packs: volume.packs),
            snapshots: snapshots,
            transfers: Transfers(
                volume: record.name, fileSystem: fileSystem,
                stores: ForeignStores(
                    reach: volume.reach, trust: volume.trust, meter: volume.meter.store),
                makesFiles: prepared.landlock == 0),
            trust: volume.trust, copier: copier,
            census: StatisticsCensus(volume: record.name, opened: volume, startTime: StatisticsCensus.now()),
            legacy: legacy, confinement: confinement, linger: prepared.settings.serverIdle, logger: logger,
            reload: { () throws(SystemFailure) in
                let record = try caches.registry.record(name)
                record.apply(to: fileSystem.trashSettings)
                volume.trust.reload(record)
                record.apply(to: fileSystem.volumeLimits)
                snapshots.directory.show(record.options.showsSnapshots)
                try copier?.reload(record)
            })
        Signals.onTermination { server.stop() }
        let listener = Self.listener(socket, paths.controlSocket, prepared.host, server, legacy, logger)
        var inner: ControlListener?
        if let innerSocket {
            inner = Self.listener(innerSocket, paths.innerSocket, prepared.host, server, legacy, logger)
        }
        let listeners = [listener, inner].compactMap { $0 }
        server.stayWhile { listeners.contains { $0.hasClients } }
        do throws(SandboxFailure) {
            try SystemCallFilter.enter(volume.reach)
        } catch {
            throw SystemFailure("berthfs", error.description, status: .systemError)
        }
        let distrusted =
            isMended
            ? try explaining(paths.database, "cannot be read", volume.metadata.allInodes) : volume.distrusted(legacy)
        server.takeOver(distrusted: distrusted)
        for listener in listeners { listener.start() }
        volume.keeper.start(Self.confined(prepared, server))
        Self.adoptSources(prepared, server)
        copier?.start()
        if prepared.landlock == 0 {
            logger.notice("the kernel has no Landlock: whoever gets hold of this server gets at all files of its user")
        }
        logger.info("serving", metadata: ["volume": "\(record.name)", "pid": "\(getpid())"])
        return ServedVolume(
            lock: lock, volume: volume, server: server, copier: copier, listeners: listeners,
            logger: logger)
    }

    /// A record of an older version has just got its list of sources, which the domain knows nothing of: the next server's.
    private static func adoptSources(_ prepared: Prepared, _ server: Server) {
        let record = prepared.record
        guard prepared.landlock > 0, record.sources == nil, let name = try? VolumeName(record.name),
            let listed = try? prepared.caches.registry.record(name).sources,
            listed.contains(where: { ForeignStores.path(of: $0) != nil })
        else { return }
        do throws(SystemFailure) {
            try server.replace()
        } catch {
            prepared.logger.warning(
                "files that were imported from directories cannot be read until the volume is unmounted once",
                metadata: ["volume": "\(record.name)", "cause": "\(error.message)"])
        }
    }

    /// Nil for a server that may look at everything itself.
    private static func confined(_ prepared: Prepared, _ server: Server) -> CacheKeeper.Confined? {
        guard prepared.landlock > 0 else { return nil }
        let (link, logger) = (prepared.legacy.link, prepared.logger)
        return CacheKeeper.Confined(
            surroundings: { link.surroundings() },
            replace: {
                // Where no place can be had there is nothing to be gained.
                guard link.makeCache() else { return }
                do throws(SystemFailure) {
                    try server.replace()
                    logger.warning(
                        "cache",
                        metadata: [
                            "volume": "\(prepared.record.name)",
                            "cause":
                                "\(prepared.cache.directory) was removed, and a new server makes it anew; copies come again as they are read",
                        ])
                } catch {
                    logger.debug("the server goes on without its cache", metadata: ["cause": "\(error.message)"])
                }
            })
    }

    private static func listener(
        _ socket: consuming FileDescriptor, _ path: String, _ host: HostView?, _ server: Server, _ legacy: Legacy,
        _ logger: Logger
    ) -> ControlListener {
        ControlListener(
            socket, path: path, host: host, note: { logger.debug("\($0)", metadata: ["cause": "\($1)"]) },
            renew: { legacy.link.listen(at: $0) },
            answer: { server.answer($0, from: $1, passed: $2) })
    }

    /// Settings that cannot be read are an error of `start`, which is logged.
    private func logger() -> Logger {
        let environment = ProcessEnvironment.current()
        let settings = try? UserSettings.load(SitePaths(environment: environment))
        var fields: [LogField: String] = [.volume: name, .runtime: "host"]
        if let job = SessionOrigin(runtime: .host, namespace: nil, environment: environment).job {
            (fields[.runtime], fields[.job]) = ("slurm", job)
        }
        return LogWriter.logger(
            program: "berthfs", format: LogFormat.chosen(logFormat, environment, settings), fields: fields)
    }
}

extension LogFormat: ExpressibleByArgument {}

typealias ControlListener = RequestListener<ServerRequest, ServerReply>

/// A volume in service.
struct ServedVolume: ~Copyable {
    let lock: VolumeLock
    let volume: OpenVolume
    let server: Server
    let copier: MetadataCopier?
    let listeners: [ControlListener]
    let logger: Logger

    /// Blocks until the server ends, then closes the volume.
    borrowing func serveToEnd(storeSeconds: Double) throws(SystemFailure) {
        if server.waitForEnd() { leave() }
        lock.noteClosing()
        defer { lock.noteClosed() }
        volume.keeper.stop()
        for listener in listeners { listener.close() }
        // A request that waits for a store that is away would hold up the end of its session.
        copier?.prepareToStop()
        volume.fileSystem.letGo()
        server.endSessions()
        copier?.stop()
        defer { VolumeSpace.note(volume.fileSystem.spaceAtEnd, in: volume.paths) }
        let unstored = close(within: server.chosenStoreSeconds ?? storeSeconds)
        if let unstored {
            logger.error("not everything is in the store; it stays in staging", metadata: ["cause": "\(unstored)"])
            throw SystemFailure(
                "the store", unstored, fix: "serve the volume again when the store is back", status: .temporaryFailure)
        }
        logger.info("closed")
    }

    /// What of the time for the end is the data's, where the metadata is to be copied, too: where not all could be sent a copy
    /// that says what is missing is worth more than none.
    private static let dataShare = 0.75

    /// Stores what should be stored and closes the volume, then copies the metadata, all within so many seconds. Answers why
    /// data is not stored.
    private borrowing func close(within seconds: Double) -> String? {
        let start = ContinuousClock.now
        let copier = copier.flatMap { $0.isOn ? $0 : nil }
        // A copy is worth what the store holds of its data: a pack that is not full goes, too.
        let storesAll = server.chosenStoreSeconds != nil || copier != nil
        let dataSeconds = copier == nil ? seconds : seconds * Self.dataShare
        let unstored = volume.fileSystem.close(storeSeconds: dataSeconds, storesAll: storesAll)
        if volume.fileSystem.hasClosedWell {
            copier?.copyClosed(within: seconds - start.duration(to: .now) / .seconds(1))
        }
        return unstored
    }

    /// Leaves sessions, sockets and lock to the next server. What the last commit does not get is in the redo log.
    private borrowing func leave() -> Never {
        server.suspendSessions()
        do {
            try volume.fileSystem.synchronize()
        } catch {
            logger.error("the last commit before the replacement failed", metadata: ["cause": "\(error)"])
        }
        // Threads that wait for a store or a disk are not waited for.
        _exit(Handover.restartStatus)
    }
}
