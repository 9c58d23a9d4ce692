import Control
import FileModel
import Glibc
import LinuxSystem
import Logging

/// The user and mount namespaces of a process, held open so that they can be joined after it has ended.
public struct EngineNamespaces: ~Copyable, Sendable {
    let user: FileDescriptor
    let mount: FileDescriptor
    /// The inode that names the mount namespace.
    public let mountInode: UInt64
    /// How the volume's owners are shown there.
    let identity: Identity
    /// What of the process's environment says which job it belongs to.
    let environment: [String: String]

    /// Opens the namespaces of a peer while its connection is open, so that its pid cannot be another's.
    public init(of peer: PeerCredentials) throws(SystemFailure) {
        try self.init(ofProcess: peer.processID)
    }

    public init(ofProcess processID: Int32) throws(SystemFailure) {
        let process = "/proc/\(processID)/ns"
        let user = try explaining("\(process)/user", "the caller's namespace cannot be opened") { () throws(Errno) in
            try FileDescriptor.open("\(process)/user", O_RDONLY)
        }
        let mount = try explaining("\(process)/mnt", "the caller's namespace cannot be opened") { () throws(Errno) in
            try FileDescriptor.open("\(process)/mnt", O_RDONLY)
        }
        var status = Glibc.stat()
        guard fstat(mount.rawValue, &status) == 0 else {
            throw SystemFailure("\(process)/mnt", "the caller's namespace cannot be examined", .current)
        }
        self.user = user
        self.mount = mount
        mountInode = UInt64(status.st_ino)
        identity = .engine(process: "\(processID)")
        environment = ProcessTable.environment(of: processID).filter { $0.key == "SLURM_JOB_ID" }
    }

    /// Whether this process is in the same user namespace.
    var isOurUserNamespace: Bool { Self.isSame(user, "/proc/self/ns/user") }
    var isOurMountNamespace: Bool { Self.isSame(mount, "/proc/self/ns/mnt") }

    private static func isSame(_ descriptor: borrowing FileDescriptor, _ path: String) -> Bool {
        var given = Glibc.stat()
        var own = Glibc.stat()
        return fstat(descriptor.rawValue, &given) == 0 && stat(path, &own) == 0 && given.st_ino == own.st_ino
            && given.st_dev == own.st_dev
    }
}

extension MountService {
    /// Mounts a volume where a container engine's containers will look: in the engine's own namespaces. A living
    /// mount there is left as it is. Returns the mount point.
    public func mountForEngine(
        _ name: VolumeName, _ namespaces: borrowing EngineNamespaces
    ) throws(SystemFailure) -> String {
        let record = try registry.record(name)
        let volume = registry.paths.volume(record.name)
        try registry.paths.prepare()
        if namespaces.isOurUserNamespace && !KernelMount.isRealRoot() {
            guard namespaces.isOurMountNamespace else {
                throw SystemFailure(
                    "volume \"\(name)\"", "the caller is in a mount namespace that nobody but root may mount in",
                    fix: "run `berth serve` inside that namespace", errno: .notPermitted, status: .noPermission)
            }
            return try mountBeside(name, volume)
        }
        // First, so that a volume that cannot be opened never gets a mount.
        let client = try supervisor.client(for: volume)
        let hook = try Hook(self, volume.podmanTask(.mount), namespaces)
        var event = try hook.event()
        if case .alreadyMounted(let session) = event.message {
            guard try client.isServing(session) else { throw Self.ofAnotherHome(volume.podmanMountpoint) }
            return volume.podmanMountpoint
        }
        guard case .mounted(let number) = event.message, let device = event.takeDescriptor() else {
            throw hook.unexpected(event.message)
        }
        let session = SessionMarker.newSession()
        let attachment = Attachment(
            session: session, mountpoint: volume.podmanMountpoint, readOnly: false, identity: namespaces.identity,
            origin: SessionOrigin(
                runtime: .podman, namespace: namespaces.mountInode, environment: namespaces.environment,
                device: number))
        let proof: SessionProof
        do throws(SystemFailure) {
            proof = try supervisor.attach(
                attachment, device.rawValue, to: client, of: volume, timeout: Self.attachTimeout)
        } catch {
            try? hook.order(.giveUp)
            throw error
        }
        try hook.order(.verify(session: proof.session, secret: proof.secret))
        let last = try hook.event()
        guard case .verified = last.message else { throw hook.unexpected(last.message) }
        return volume.podmanMountpoint
    }

    /// Volumes that an engine has had mounted and not unmounted since, where it does not see them: its namespaces are
    /// others now. `process` is one of the engine's.
    public func lostByEngine(_ process: Int32) -> [VolumeName] {
        let names = (try? FileTree.names(in: registry.paths.mountpoints)) ?? []
        guard !names.isEmpty, let mounts = try? MountInfo.all(process: "\(process)") else { return [] }
        return names.compactMap { try? VolumeName($0) }.filter {
            MountInfo.at(registry.paths.volume($0.description).podmanMountpoint, in: mounts) == nil
        }
    }

    /// Whether an engine has had this volume mounted, and not unmounted since.
    public func isUsedByEngine(_ name: VolumeName) -> Bool {
        access(registry.paths.volume(name.description).podmanHolder, F_OK) == 0
    }

    /// Ends an engine's mount. Nothing there is no error.
    public func unmountForEngine(
        _ name: VolumeName, _ namespaces: borrowing EngineNamespaces
    ) throws(SystemFailure) {
        let volume = registry.paths.volume(name.description)
        // What was written is safe before the engine is told that it is over.
        let client = try supervisor.running(volume)
        try client?.ask(.sync, timeout: Self.syncTimeout)
        if namespaces.isOurUserNamespace && !KernelMount.isRealRoot() {
            if let found = MountInfo.at(volume.podmanMountpoint, in: try MountInfo.all()), Self.volume(of: found) != nil
            {
                try Fusermount(environment: environment).unmount(volume.podmanMountpoint, lazy: true)
            }
            rmdir(volume.podmanMountpoint)
            rmdir(volume.podmanHolder)
            return
        }
        try endMount(volume.podmanTask(.unmount), namespaces, client)
    }

    /// Ends a mount of the hook's in an engine's namespaces. Answers EBUSY where something uses it, unless `force`.
    public func releaseHookMount(
        _ volume: VolumePaths, _ namespaces: borrowing EngineNamespaces, force: Bool
    ) throws(SystemFailure) {
        let client = try supervisor.running(volume)
        var unsafe: SystemFailure?
        do { try client?.ask(.sync, timeout: Self.syncTimeout) } catch { unsafe = error }
        // A volume that takes no changes any more is unmounted all the same.
        try endMount(volume.hookTask(force ? .unmount : .release), namespaces, client)
        if let unsafe { throw Self.unsafe(volume.hookMountpoint, unsafe) }
    }

    /// The engine's namespaces where the plugin's mount of a volume lives; nil where there is none.
    public func podmanNamespaces(_ volume: VolumePaths, _ census: MountCensus) -> EngineNamespaces? {
        guard let place = census.places(of: volume.name, at: volume.podmanMountpoint).first else { return nil }
        return try? place.namespace.open()
    }

    /// A container's namespace goes some moments after the engine has said that the container is gone.
    private static let containerTime = Duration.seconds(5)

    private func endMount(
        _ task: HookTask, _ namespaces: borrowing EngineNamespaces, _ client: ServerClient?
    ) throws(SystemFailure) {
        let hook = try Hook(self, task, namespaces)
        let event = try hook.event()
        guard case .unmounted(let sessionGoesOn) = event.message else { throw hook.unexpected(event.message) }
        guard let client, !sessionGoesOn else { return }
        let volume = registry.paths.volume(task.volume)
        settle([task.mountpoint, task.sibling], client, volume, patience: Self.containerTime)
    }

    /// An engine without a user namespace of its own: its containers see this namespace's mounts.
    private func mountBeside(_ name: VolumeName, _ volume: VolumePaths) throws(SystemFailure) -> String {
        if let found = MountInfo.at(volume.podmanMountpoint, in: try MountInfo.all()),
            Self.volume(of: found) == volume.name
        {
            if (try? SessionMarker.session(at: volume.podmanMountpoint)) != nil { return volume.podmanMountpoint }
            try Fusermount(environment: environment).unmount(volume.podmanMountpoint, lazy: true)
        }
        try SecureDirectory.make(volume.podmanHolder)
        try SecureDirectory.make(volume.podmanMountpoint)
        return try mount(name, at: volume.podmanMountpoint, readOnly: false)
    }
}

extension VolumePaths {
    func podmanTask(_ verb: HookTask.Verb) -> HookTask {
        HookTask(verb: verb, volume: name, mountpoint: podmanMountpoint, sibling: hookMountpoint)
    }

    func hookTask(_ verb: HookTask.Verb) -> HookTask {
        HookTask(verb: verb, volume: name, mountpoint: hookMountpoint, sibling: podmanMountpoint)
    }
}

/// A running `berth-hook`.
private struct Hook: ~Copyable {
    private static let timeout = Duration.seconds(20)

    private let channel: FrameChannel
    private let child: pid_t
    private let mountpoint: String

    init(
        _ service: borrowing MountService, _ task: HookTask, _ namespaces: borrowing EngineNamespaces
    ) throws(SystemFailure) {
        let pair = try explaining("berth-hook", "no socket can be made") { () throws(Errno) in try UnixSocket.pair() }
        var command = Command(
            try ServerSupervisor.sibling("berth-hook", of: service.program, service.environment), task.arguments,
            environment: ServerSupervisor.inherited(service.environment, withKeys: false))
        command.descriptors = [
            .init(from: pair.second.rawValue, to: HookTask.Descriptor.channel),
            .init(from: namespaces.user.rawValue, to: HookTask.Descriptor.userNamespace),
            .init(from: namespaces.mount.rawValue, to: HookTask.Descriptor.mountNamespace),
        ]
        command.directory = "/"
        let child = try Spawn.start(command)
        self.child = child
        mountpoint = task.mountpoint
        channel = FrameChannel(pair.takeFirst(), name: "berth-hook")
    }

    deinit {
        // It ends by itself when it has said its last word, or when its order does not come.
        _ =
            Spawn.wait(for: child, timeout: Self.timeout)
            ?? {
                kill(child, SIGKILL); return Spawn.wait(for: child)
            }()
    }

    func order(_ order: HookOrder) throws(SystemFailure) {
        try channel.send(order, timeout: Self.timeout)
    }

    /// What the hook says next. Its refusal is thrown with its own words.
    func event() throws(SystemFailure) -> ReceivedFrame<HookEvent> {
        guard let frame = try channel.receive(HookEvent.self, timeout: Self.timeout) else {
            throw SystemFailure(mountpoint, "berth-hook ended without a word", status: .software)
        }
        if case .failed(let code, let message) = frame.message {
            throw SystemFailure("berth-hook", message, errno: code == 0 ? nil : Errno(code), status: .unavailable)
        }
        return frame
    }

    func unexpected(_ event: HookEvent) -> SystemFailure {
        SystemFailure(mountpoint, "berth-hook said \(event) out of turn", status: .software)
    }
}
