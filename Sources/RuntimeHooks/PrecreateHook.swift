import Control
import FileModel
import Glibc
import LinuxSystem
import Volumes

/// The precreate hook: mounts the volumes that a container's annotation names, in the engine's own namespaces, and
/// adds the binds to the container's configuration.
///
/// Invariants
/// - Nothing is printed before every mount has been proved, and a failure prints nothing: the engine then makes no
///   container.
/// - What an image asks for is not given: each word of the annotations is the user's, or carries the volume's token.
/// - The lease's annotation in what is printed is this hook's, whatever the configuration said before.
/// - A lease is held from before the first mount; it outlives this process, and says that the mounts are in use
///   until the container's own namespace does.
public struct PrecreateHook {
    /// The lease's file, for the poststop hook.
    static let leaseAnnotation = "berth.lease"
    /// A start of a server, with a log to replay.
    private static let startTimeout = Duration.seconds(70)
    private static let attachTimeout = Duration.seconds(15)
    private static let lockTimeout = Duration.seconds(90)
    /// A server may end at the very moment it is asked.
    private static let attempts = 3

    private struct Request {
        var record: VolumeRecord
        var name: VolumeName
        var path: ContainerPath
        var isReadOnly: Bool
    }

    private let caller: HookCaller
    private let paths: SitePaths

    public init(_ caller: HookCaller) {
        self.caller = caller
        paths = caller.paths
    }

    /// The configuration with the volumes, for a configuration without. Answers it as it is where no annotation
    /// names a volume.
    public func run(_ input: [UInt8]) throws(SystemFailure) -> [UInt8] {
        let started = ContinuousClock.now
        let configuration = try RuntimeConfiguration(input)
        let annotation = try VolumeAnnotation(configuration)
        let claim = configuration.annotation(Self.leaseAnnotation)
        guard !annotation.words.isEmpty else {
            // Nothing is mounted, so that a lease somebody made up is nothing to end either.
            guard let claim, !claim.utf8.isEmpty else { return input }
            return try configuration.changed(adding: [], annotations: [.init(key: Self.leaseAnnotation, value: "")])
        }
        let storage = EngineStorage(configuration).look()
        // Two registrations of this hook, a site's and the user's: once is enough.
        if let claim, Leases(paths).isHeld(claim, by: caller.parent, for: storage.container?.id) { return input }
        let container = storage.container.map {
            LeasedContainer(id: $0.id, name: $0.name, image: $0.image, pidFile: $0.pidFile)
        }
        let consent = try AnnotationConsent(paths, storage.keys, image: container?.image)
        for word in annotation.words { try consent.check(word) }
        let requests = try resolve(annotation)
        try VolumeAnnotation.checkConflicts(
            requests.map { ($0.name.description, $0.path) }, taken: configuration.destinations)
        try paths.prepare()
        try HookRuntimes(caller).remember()
        let leases = Leases(paths)
        let lease = try leases.take(caller.parent, requests.map(\.name), for: container)
        do throws(SystemFailure) {
            var binds: [RuntimeConfiguration.Bind] = []
            for request in requests {
                try mount(request.name)
                binds.append(
                    RuntimeConfiguration.Bind(
                        source: paths.volume(request.record.name).hookMountpoint,
                        destination: request.path.description, isReadOnly: request.isReadOnly))
            }
            let output = try configuration.changed(
                adding: binds,
                annotations: annotation.withoutTokens + [.init(key: Self.leaseAnnotation, value: lease)])
            let names = requests.map { "\($0.name):\($0.path)" }.joined(separator: ",")
            let taken = started.duration(to: .now) / .milliseconds(1)
            HookLog(paths).note(
                "info", "mounted for a container",
                [("volume", names), ("milliseconds", "\(Int(taken.rounded()))"), ("lease", lease)] + job
                    + HookLog.fields(container))
            return output
        } catch {
            leases.end(lease)
            for request in requests { HookRelease(paths).releaseIfUnused(request.name) }
            throw error
        }
    }

    private var job: [(key: String, value: String)] {
        caller.environment["SLURM_JOB_ID"].map { [("job", $0)] } ?? []
    }

    private func resolve(_ annotation: VolumeAnnotation) throws(SystemFailure) -> [Request] {
        let registry = VolumeRegistry(paths: self.paths)
        let paths = PathMap(registry)
        var requests: [Request] = []
        for word in annotation.words {
            let record = try registry.record(word.volume)
            let subject = "volume \"\(record.name)\""
            let own = try paths.path(of: word.volume)
            guard let path = word.path ?? own else {
                throw SystemFailure(
                    subject, "has no path of its own",
                    fix: "say where it belongs: \(VolumeAnnotation.name)=\(record.name):/PATH", status: .usage)
            }
            requests.append(
                Request(record: record, name: word.volume, path: path, isReadOnly: word.isReadOnly))
        }
        return requests
    }

    /// Has the volume mounted at its place, proved from inside.
    private func mount(_ name: VolumeName) throws(SystemFailure) {
        let volume = paths.volume(name.description)
        guard let lock = try FileLock.take(volume.hookLock, until: Deadline(after: Self.lockTimeout)) else {
            throw SystemFailure(
                "volume \"\(name)\"", "another container is being made with it for too long", fix: "see `berth log`",
                status: .temporaryFailure)
        }
        let place = EngineMountpoint(
            volume: volume.name, path: volume.hookMountpoint, sibling: volume.podmanMountpoint)
        // A mount of a server that is gone answers nothing, and is replaced.
        if let session = try place.livingSession() {
            try refuseOther(session, volume, place)
        } else {
            try place.prepare()
            if let session = try place.bindSibling() {
                try refuseOther(session, volume, place)
            } else {
                try mountNew(place, volume)
            }
        }
        lock.release()
    }

    /// Two homes of one user may share a runtime directory, and have volumes of one name.
    private func refuseOther(
        _ session: String, _ volume: VolumePaths, _ place: EngineMountpoint
    ) throws(SystemFailure) {
        guard try !server(volume).isServing(session) else { return }
        throw SystemFailure(
            place.path,
            "shows a volume of the same name from another data directory, which has the same runtime directory",
            fix: "set BERTH_RUNTIME_DIR to another directory", errno: .busy, status: .temporaryFailure)
    }

    private func mountNew(_ place: EngineMountpoint, _ volume: VolumePaths) throws(SystemFailure) {
        for attempt in 1...Self.attempts {
            let client = try server(volume)
            let device = try place.mount()
            let session = SessionMarker.newSession()
            let attachment = Attachment(
                session: session, mountpoint: place.path, readOnly: false, identity: .engine(process: "self"),
                origin: SessionOrigin(
                    runtime: .hook, namespace: ProcessTable.namespace("mnt", of: "self"),
                    environment: caller.environment, device: MountInfo.device(at: place.path)))
            do throws(SystemFailure) {
                return try client.attach(attachment, device.rawValue, timeout: Self.attachTimeout).check(place.path)
            } catch {
                place.undo()
                let isEnding = error.errno == Errno(EAGAIN) || error.errno == Errno(ECONNRESET)
                guard isEnding, attempt < Self.attempts else { throw error }
                try place.prepare()
                usleep(50_000)
            }
        }
    }

    /// The volume's server. Where none runs, `berth serve` starts it: a server started here would live in the
    /// engine's namespaces, and keep them alive.
    private func server(_ volume: VolumePaths) throws(SystemFailure) -> ServerClient {
        do {
            return try ServerClient(socket: volume.controlSocket)
        } catch  where error.errno == .noEntry || error.errno == Errno(ECONNREFUSED) {
            guard let supervisor = try SupervisorClient(waking: paths) else {
                throw SystemFailure(
                    "volume \"\(volume.name)\"",
                    "is not served, and `berth serve` does not run (no \(paths.supervisorSocket))",
                    fix: "start it with: berth serve --detach", status: .unavailable)
            }
            try supervisor.ask(.serve(volume: volume.name), timeout: Self.startTimeout)
            return try ServerClient(socket: volume.controlSocket)
        }
    }
}
