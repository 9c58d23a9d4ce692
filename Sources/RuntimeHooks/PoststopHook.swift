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
            let lease = try RuntimeConfiguration(bytes).annotation(PrecreateHook.leaseAnnotation), !lease.utf8.isEmpty
        else { return }
        // The lease itself says which volumes: an annotation's word is nobody's here.
        guard let paths = HookRuntimes(caller).paths(ofLease: lease),
            let volumes = Leases(paths).volumes(lease, ofContainer: state.id)
        else {
            return HookLog(caller.paths).note(
                "warning", "a container ended with a lease that is none of its own, which is left alone",
                [("container", String(state.id.prefix(12))), ("cause", lease)])
        }
        Leases(paths).end(lease)
        let release = HookRelease(paths)
        var released: [String] = []
        var unsafe: SystemFailure?
        for name in Set(volumes).sorted(by: { $0.description < $1.description }) {
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

}

/// The runtime directories of this user that hooks have worked in. An engine's cleanup has another environment than the
/// command that made the container, and an annotation is not believed where one is: an image may have set it.
///
/// The file `<data>/hook-runtimes` has those that the environment of a cleanup may not show, one a line.
struct HookRuntimes {
    /// A login has one, and a job.
    private static let maximumCount = 64

    private let caller: HookCaller

    init(_ caller: HookCaller) {
        self.caller = caller
    }

    private var file: String { "\(caller.paths.data)/hook-runtimes" }

    /// Notes the caller's, after it was prepared.
    func remember() throws(SystemFailure) {
        let known = remembered()
        let runtime = caller.paths.runtime
        guard !known.contains(where: { $0.isBytes(of: runtime) }), !runtime.hasByte("\n") else { return }
        let lines = (known + [runtime]).suffix(Self.maximumCount).map { $0 + "\n" }
        try AtomicFile.replace(file, Array(lines.joined().utf8))
    }

    /// The paths with the runtime directory that a lease lies in; nil where that is none of the user's.
    func paths(ofLease lease: String) -> SitePaths? {
        var paths = caller.paths
        for runtime in [paths.runtime] + remembered() {
            paths.runtime = runtime
            if Leases(paths).isLease(lease), SecureDirectory.isSecure(paths.leases) { return paths }
        }
        return nil
    }

    private func remembered() -> [String] {
        let bytes = (try? AtomicFile.read(file)) ?? nil
        return String(decoding: bytes ?? [], as: UTF8.self).words(at: "\n").map(String.init)
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
