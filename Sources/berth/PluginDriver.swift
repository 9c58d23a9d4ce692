import Control
import FileModel
import Glibc
import LinuxSystem
import Logging
import VolumePlugin
import Volumes

/// The volumes behind the plugin: one thing at a time per volume, and mounts made again when a server dies.
///
/// Invariants
/// - `entries[name]` is made once and stays; its `lock` is held while the volume is mounted or unmounted.
/// - `namespaces` is there from a mount for an engine until its unmount.
// SAFETY: `entries` is guarded by `monitor`, every entry's members by its own lock.
final class PluginDriver: VolumeDriver, @unchecked Sendable {
    private final class Volume {
        let lock = Monitor()
        var namespaces: EngineNamespaces?
        /// The server whose end is being waited for.
        var watched: Int32?
        var restarts: [ContinuousClock.Instant] = []

        var mountInode: UInt64? {
            switch namespaces {
            case .some(let held): held.mountInode
            case .none: nil
            }
        }
    }

    /// A server that dies more often than this in a minute has a reason that starting it again does not mend.
    private static let restartsPerMinute = 5

    private let service: MountService
    private let logger: Logger
    private let monitor = Monitor()
    private var entries: [String: Volume] = [:]

    init(_ service: MountService, logger: Logger) {
        self.service = service
        self.logger = logger
    }

    /// Takes over servers and mounts that an earlier plugin left.
    func adopt() {
        guard let found = try? service.registry.list() else { return }
        let census = MountCensus.take()
        for record in found.records {
            guard let status = (try? service.status(of: service.registry.paths.volume(record.name))) ?? nil else {
                continue
            }
            adopt(record, census)
            logger.info("adopted", metadata: ["volume": "\(record.name)", "pid": "\(status.processID)"])
        }
        for failure in found.failures {
            logger.error("a volume cannot be read", metadata: ["cause": "\(failure.message)"])
        }
    }

    private func adopt(_ record: VolumeRecord, _ census: MountCensus) {
        guard let name = try? VolumeName(record.name),
            let namespaces = service.podmanNamespaces(service.registry.paths.volume(record.name), census)
        else { return }
        let volume = entry(name)
        volume.lock.lock()
        defer { volume.lock.unlock() }
        volume.namespaces = consume namespaces
        watch(name, volume)
    }

    /// Runs a closure while this volume is neither mounted nor unmounted for podman.
    func excluding(_ name: VolumeName, _ body: () -> Void) {
        let volume = entry(name)
        volume.lock.lock()
        defer { volume.lock.unlock() }
        body()
    }

    /// Lets go of namespaces in which no process lives: held, they would keep their mounts, and these their server.
    func dropDeadNamespaces() {
        let volumes = monitor.withLock { Array(entries.values) }
        guard volumes.contains(where: { volume in volume.lock.withLock { volume.mountInode != nil } }) else { return }
        let census = MountCensus.take()
        for volume in volumes {
            volume.lock.lock()
            if let inode = volume.mountInode, census.namespaces[inode] == nil { volume.namespaces = nil }
            volume.lock.unlock()
        }
    }

    func create(_ name: String, _ options: [String: String]) throws(SystemFailure) {
        let name = try VolumeName(name)
        _ = try service.create(name, try VolumeOptions(plugin: options), now: Output.timestamp())
        logger.info("created", metadata: ["volume": "\(name)"])
    }

    func remove(_ name: String) throws(SystemFailure) {
        let name = try VolumeName(name)
        let volume = entry(name)
        volume.lock.lock()
        defer { volume.lock.unlock() }
        try service.discard(name, now: Timestamp.now().seconds)
        volume.namespaces = nil
        logger.info("removed, and kept for `berth volume restore`", metadata: ["volume": "\(name)"])
    }

    /// Podman counts a volume's users, asks for no mount where it knows of some, and keeps the count when its namespaces
    /// end with the mount in them.
    func greet(_ peer: PeerCredentials) {
        for name in service.lostByEngine(peer.processID) {
            let volume = entry(name)
            volume.lock.lock()
            defer { volume.lock.unlock() }
            guard service.isUsedByEngine(name), let namespaces = try? EngineNamespaces(of: peer) else { continue }
            // A container that needs it finds no mount point, and podman says so.
            _ = try? mount(name, volume, namespaces)
        }
    }

    func mount(_ name: String, peer: PeerCredentials) throws(SystemFailure) -> String {
        let name = try VolumeName(name)
        let namespaces = try EngineNamespaces(of: peer)
        let volume = entry(name)
        volume.lock.lock()
        defer { volume.lock.unlock() }
        return try mount(name, volume, namespaces)
    }

    /// Under the volume's lock.
    private func mount(
        _ name: VolumeName, _ volume: Volume, _ namespaces: consuming EngineNamespaces
    ) throws(SystemFailure) -> String {
        do throws(SystemFailure) {
            let path = try service.mountForEngine(name, namespaces)
            volume.namespaces = consume namespaces
            watch(name, volume)
            logger.info("mounted", metadata: ["volume": "\(name)", "mountpoint": "\(path)"])
            return path
        } catch {
            logger.error("cannot be mounted", metadata: ["volume": "\(name)", "cause": "\(error.message)"])
            throw error
        }
    }

    func unmount(_ name: String, peer: PeerCredentials) {
        do throws(SystemFailure) {
            let name = try VolumeName(name)
            let volume = entry(name)
            volume.lock.lock()
            defer { volume.lock.unlock() }
            volume.namespaces = nil
            try service.unmountForEngine(name, try EngineNamespaces(of: peer))
            logger.info("unmounted", metadata: ["volume": "\(name)"])
        } catch {
            logger.error("cannot be unmounted", metadata: ["volume": "\(name)", "cause": "\(error.message)"])
        }
    }

    func volume(_ name: String) throws(SystemFailure) -> PluginVolume {
        view(try service.registry.record(try VolumeName(name)))
    }

    func volumes() throws(SystemFailure) -> [PluginVolume] {
        try service.registry.list().records.map(view)
    }

    private func view(_ record: VolumeRecord) -> PluginVolume {
        let paths = service.registry.paths.volume(record.name)
        var status = record.options.words
        status["store"] = record.storeURL(paths)
        return PluginVolume(
            name: record.name, mountpoint: paths.podmanMountpoint, createdAt: record.createdAt, status: status)
    }

    private func entry(_ name: VolumeName) -> Volume {
        monitor.lock()
        defer { monitor.unlock() }
        if let volume = entries[name.description] { return volume }
        let volume = Volume()
        entries[name.description] = volume
        return volume
    }

    /// Under the volume's lock: waits on a thread for the server's end.
    private func watch(_ name: VolumeName, _ volume: Volume) {
        guard let status = (try? service.status(of: service.registry.paths.volume(name.description))) ?? nil,
            volume.watched != status.lastProcessID
        else { return }
        // Its keeper, where it has one: that goes on when the server is replaced.
        let process = status.lastProcessID
        volume.watched = process
        _ = WorkerThread(name: "berth-watch") {
            ProcessWatch.waitForEnd(of: process)
            self.serverEnded(name, process: process)
        }
    }

    private func serverEnded(_ name: VolumeName, process: Int32) {
        let volume = entry(name)
        volume.lock.lock()
        defer { volume.lock.unlock() }
        guard volume.watched == process else { return }
        volume.watched = nil
        guard let namespaces = volume.namespaces.take() else { return }
        logger.error("the server died while mounted", metadata: ["volume": "\(name)", "pid": "\(process)"])
        let minuteAgo = ContinuousClock.now - .seconds(60)
        volume.restarts = volume.restarts.filter { $0 > minuteAgo } + [.now]
        guard volume.restarts.count <= Self.restartsPerMinute else {
            return logger.error("it dies too often to be started again", metadata: ["volume": "\(name)"])
        }
        do throws(SystemFailure) {
            _ = try service.mountForEngine(name, namespaces)
            volume.namespaces = consume namespaces
            watch(name, volume)
            logger.info("mounted again", metadata: ["volume": "\(name)"])
        } catch {
            logger.error("cannot be mounted again", metadata: ["volume": "\(name)", "cause": "\(error.message)"])
        }
    }
}
