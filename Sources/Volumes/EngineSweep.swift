import Control
import FileModel
import Glibc
import LinuxSystem

/// Ends what nobody uses any more, and takes away what a crash, a logout or an engine's end left behind. Looks at
/// live namespaces and processes each time; what it remembers is only since when a mount has been idle.
///
/// What it touches: mounts of hooks, whose users it counts; dead mounts; sockets that nobody answers. A living mount of the plugin is podman's to end: podman keeps its own count.
// SAFETY: `idleSince` is used by the one thread that calls `sweep`.
public final class EngineSweep: @unchecked Sendable {
    /// What happened, for the log: a constant message, the volume, and the cause of a failure.
    public typealias Note = @Sendable (_ message: String, _ volume: String, _ failure: SystemFailure?) -> Void
    /// Runs a closure while the plugin neither mounts nor unmounts this volume.
    public typealias Exclusion = @Sendable (VolumeName, () -> Void) -> Void

    private struct Place: Hashable {
        var volume: VolumeName
        var namespace: UInt64
    }

    private let service: MountService
    private let leases: Leases
    private let idle: Duration
    private let note: Note
    private let excludingPlugin: Exclusion
    private var idleSince: [Place: ContinuousClock.Instant] = [:]

    private var paths: SitePaths { service.registry.paths }

    public init(
        _ service: MountService, idle: Duration, note: @escaping Note, excludingPlugin: @escaping Exclusion
    ) {
        self.service = service
        self.idle = idle
        self.note = note
        self.excludingPlugin = excludingPlugin
        leases = Leases(service.registry.paths)
    }

    /// How long to wait between two rounds.
    public var interval: Duration { min(max(idle / 4, .milliseconds(500)), .seconds(5)) }

    /// One round.
    public func sweep(now: ContinuousClock.Instant) {
        leases.sweep()
        let hookNames = Set(volumes(in: paths.hookMountpoints) + Self.names(in: paths.hookMountpoints, [".lock"]))
        for name in hookNames { sweepHookMounts(name, now) }
        for name in volumes(in: paths.mountpoints) { excludingPlugin(name) { sweepPluginMounts(name) } }
        for name in sockets() { sweepSocket(name) }
        for name in Set(sockets()) { sweepSessions(name) }
    }

    /// Ends sessions that nothing but copies in other namespaces keeps.
    private func sweepSessions(_ name: VolumeName) {
        let volume = paths.volume(name.description)
        guard let client = (try? service.supervisor.running(volume)) ?? nil,
            let sessions = try? client.status().sessions, !sessions.isEmpty, let mounts = try? MountInfo.all()
        else { return }
        let here = Set(mounts.map(\.device))
        guard sessions.contains(where: { $0.origin?.device.map { !here.contains($0) } ?? false }) else { return }
        do throws(SystemFailure) {
            try service.endAbandoned(client, volume, onlyCopies: true)
        } catch {
            note("an unmounted session cannot be ended", volume.name, error)
        }
    }

    private func sweepHookMounts(_ name: VolumeName, _ now: ContinuousClock.Instant) {
        let volume = paths.volume(name.description)
        // Busy: a hook is at work, and has its own reasons.
        guard let lock = (try? FileLock.take(volume.hookLock, until: Deadline(after: .zero))) ?? nil else { return }
        let census = MountCensus.take()
        let places = census.places(of: volume.name, at: volume.hookMountpoint)
        guard let living = livingDevices(volume, census) else { return }
        var left = places.count
        for place in places {
            let key = Place(volume: name, namespace: place.namespace.inode)
            let isDead = !living.contains(place.mount.device)
            let isUsed =
                leases.hold(name)
                || !census.namespaces(showing: place.mount.device, except: place.namespace.inode).isEmpty
            if isUsed && !isDead {
                idleSince[key] = nil
                continue
            }
            let since = idleSince[key] ?? now
            idleSince[key] = since
            guard isDead || now - since >= idle, end(volume, place, force: isDead) else { continue }
            idleSince[key] = nil
            left -= 1
        }
        guard left == 0, !leases.hold(name) else { return }
        rmdir(volume.hookHolder)
        lock.remove()
    }

    /// False where something uses the mount, or where it could not be ended.
    private func end(_ volume: VolumePaths, _ place: MountCensus.Place, force: Bool) -> Bool {
        do throws(SystemFailure) {
            let namespaces = try place.namespace.open()
            try service.releaseHookMount(volume, namespaces, force: force)
            note(force ? "a dead mount was taken away" : "an idle mount was ended", volume.name, nil)
            return true
        } catch  where error.errno == .busy {
            return false
        } catch {
            note("an idle mount cannot be ended", volume.name, error)
            return false
        }
    }

    /// Devices behind which a server still serves a session; nil where the server does not answer.
    private func livingDevices(_ volume: VolumePaths, _ census: MountCensus) -> Set<String>? {
        let answer: ServerStatus?
        do { answer = try service.status(of: volume) } catch { return nil }
        guard let status = answer else { return [] }
        let own = [volume.hookMountpoint, volume.podmanMountpoint]
        var devices: Set<String> = []
        for session in status.sessions {
            for namespace in census.namespaces.values
            where session.origin?.namespace == nil || session.origin?.namespace == namespace.inode {
                let places = own.contains(session.mountpoint) ? own : [session.mountpoint]
                for place in places {
                    if let mount = MountInfo.at(place, in: namespace.mounts) { devices.insert(mount.device) }
                }
            }
        }
        return devices
    }

    /// Under the plugin's lock: a dead mount is taken away. Looks anew: the census is older than the lock.
    private func sweepPluginMounts(_ name: VolumeName) {
        let volume = paths.volume(name.description)
        let census = MountCensus.take()
        let places = census.places(of: volume.name, at: volume.podmanMountpoint)
        guard let living = livingDevices(volume, census) else { return }
        for place in places where !living.contains(place.mount.device) {
            do throws(SystemFailure) {
                try service.unmountForEngine(name, try place.namespace.open())
                note("a dead mount was taken away", volume.name, nil)
            } catch {
                note("a dead mount cannot be taken away", volume.name, error)
            }
        }
    }

    /// A server that was killed leaves its socket, and who started it perhaps a lock.
    private func sweepSocket(_ name: VolumeName) {
        let volume = paths.volume(name.description)
        guard nobodyAnswers(volume),
            // Held: somebody is starting a server.
            let lock = (try? FileLock.take(volume.startLock, until: Deadline(after: .zero))) ?? nil
        else { return }
        if nobodyAnswers(volume) { unlink(volume.controlSocket) }
        lock.remove()
    }

    private func nobodyAnswers(_ volume: VolumePaths) -> Bool {
        do { return try service.supervisor.running(volume) == nil } catch { return false }
    }

    private func sockets() -> [VolumeName] {
        let mark = "@\(paths.dataMark)"
        return Self.names(in: paths.servers, ["\(mark).sock", "\(mark).lock", ".sock", ".lock"])
    }

    /// Volumes with a file of one of these endings.
    private static func names(in directory: String, _ endings: [String]) -> [VolumeName] {
        ((try? FileTree.names(in: directory)) ?? []).compactMap { name in
            endings.first { name.endsWithBytes(of: $0) }.flatMap {
                try? VolumeName(String(name.droppingBytes(last: $0.utf8.count)))
            }
        }
    }

    private func volumes(in directory: String) -> [VolumeName] {
        ((try? FileTree.names(in: directory)) ?? []).compactMap { entry in
            var status = stat()
            guard lstat("\(directory)/\(entry)", &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
            return try? VolumeName(entry)
        }
    }
}

extension MountCensus.Namespace {
    /// Opens the namespaces of one of the processes seen here, if it is the same still.
    func open() throws(SystemFailure) -> EngineNamespaces {
        for process in processes {
            guard let namespaces = try? EngineNamespaces(ofProcess: process), namespaces.mountInode == inode else {
                continue
            }
            return namespaces
        }
        throw SystemFailure(
            "mount namespace \(inode)", "has no process any more", errno: .noEntry, status: .temporaryFailure)
    }
}
