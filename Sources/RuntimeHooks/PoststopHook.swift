import Control
import FileModel
import Glibc
import LinuxSystem
import Volumes

/// The poststop hook: what the container wrote is made durable, its lease ends, and its volumes are unmounted
/// where nobody else uses them: at once where nobody else would, later by `berth serve` where that runs.
public struct PoststopHook {
    private static let syncTimeout = Duration.seconds(60)

    private let caller: HookCaller

    public init(_ caller: HookCaller) {
        self.caller = caller
    }

    public func run(_ input: [UInt8]) throws(SystemFailure) {
        let state = try RuntimeState(input)
        let path = "\(state.bundle)/config.json"
        guard let bytes = try AtomicFile.read(path, limit: RuntimeConfiguration.maximumBytes),
            let lease = try RuntimeConfiguration(bytes).annotation(PrecreateHook.leaseAnnotation)
        else { return }
        let paths = Self.paths(caller, lease)
        let leases = Leases(paths)
        guard leases.isLease(lease) else {
            throw SystemFailure(path, "names a lease that is none: \(lease)", status: .dataError)
        }
        let annotation = try VolumeAnnotation(try RuntimeConfiguration(bytes))
        _ = leases.end(lease)
        let release = HookRelease(paths)
        var released: [String] = []
        var unsafe: SystemFailure?
        for name in Self.volumes(annotation) {
            if let client = try? ServerClient(socket: paths.volume(name.description).controlSocket) {
                do { try client.ask(.sync, timeout: Self.syncTimeout) } catch { unsafe = error }
            }
            release.releaseOrLeave(name)
            released.append(name.description)
        }
        HookLog(paths).note(
            "info", "a container ended",
            [("volume", released.joined(separator: ",")), ("container", String(state.id.prefix(12))), ("lease", lease)])
        if let unsafe {
            throw SystemFailure(
                "what the container wrote last", "may be lost: \(unsafe.message)", errno: unsafe.errno,
                status: .inputOutputError)
        }
    }

    private static func volumes(_ annotation: VolumeAnnotation) -> [VolumeName] {
        Set(annotation.words.map(\.volume)).sorted { $0.description < $1.description }
    }

    /// The runtime directory that the container was made with: the engine's cleanup has another environment.
    private static func paths(_ caller: HookCaller, _ lease: String) -> SitePaths {
        var paths = caller.paths
        let parts = lease.split(separator: "/", omittingEmptySubsequences: false)
        if parts.count > 2, parts[parts.count - 2] == "leases" {
            paths.runtime = parts.dropLast(2).joined(separator: "/")
        }
        return paths
    }
}

/// Ends hooks' mounts, from inside the engine's namespaces.
struct HookRelease {
    private let paths: SitePaths
    private let leases: Leases

    init(_ paths: SitePaths) {
        self.paths = paths
        leases = Leases(paths)
    }

    /// Leaves an idle mount to `berth serve`, so that the next container finds it warm.
    func releaseOrLeave(_ name: VolumeName) {
        let settings = (try? UserSettings.load(paths)) ?? UserSettings()
        if settings.sessionIdle > .zero, let supervisor = try? SupervisorClient(socket: paths.supervisorSocket),
            (try? supervisor.ask(.ping, timeout: .seconds(2))) != nil
        {
            return
        }
        releaseIfUnused(name)
    }

    /// Unmounts the volume where no lease and no other mount namespace holds it.
    func releaseIfUnused(_ name: VolumeName) {
        let volume = paths.volume(name.description)
        guard let lock = (try? FileLock.take(volume.hookLock, until: Deadline(after: .seconds(5)))) ?? nil,
            !leases.hold(name), let own = ProcessTable.namespace("mnt", of: "self")
        else { return }
        let place = EngineMountpoint(volume: volume.name, path: volume.hookMountpoint, sibling: volume.podmanMountpoint)
        if let mount = (try? MountInfo.all()).flatMap({ MountInfo.at(place.path, in: $0) }) {
            guard MountCensus.take().namespaces(showing: mount.device, except: own).isEmpty,
                (try? place.unmount(lazy: false)) != nil
            else { return }
        } else {
            place.undo()
        }
        lock.remove()
    }
}
