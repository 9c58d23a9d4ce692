import CLinux
import Control
import FileModel
import Glibc
import LinuxSystem

/// Mounts volumes in this process's own namespaces, and ends such mounts.
///
/// Every mount is proved before it is announced: the session's marker is read from the mount point. Where it is
/// not there, the mount is undone and the reason thrown.
public struct MountService: Sendable {
    static let attachTimeout = Duration.seconds(15)

    public let registry: VolumeRegistry
    public let supervisor: ServerSupervisor
    let environment: [String: String]
    let program: String

    /// `program` is the path of this process's own program: the others are beside it.
    public init(paths: SitePaths, environment: [String: String], program: String) {
        registry = VolumeRegistry(paths: paths)
        supervisor = ServerSupervisor(paths: paths, environment: environment, program: program)
        self.environment = environment
        self.program = program
    }

    /// Mounts a volume at an empty directory of the caller. Returns the directory without links.
    public func mount(_ name: VolumeName, at directory: String, readOnly: Bool) throws(SystemFailure) -> String {
        try mount(VolumeReference(name), at: directory, readOnly: readOnly)
    }

    /// As above; a snapshot is always read-only.
    public func mount(
        _ reference: VolumeReference, at directory: String, readOnly: Bool
    ) throws(SystemFailure) -> String {
        let record = try registry.record(reference.volume)
        let readOnly = readOnly || reference.snapshot != nil
        let target = try Self.checkedMountpoint(directory)
        let client = try supervisor.client(for: registry.paths.volume(record.name))
        let fusermount = Fusermount(environment: environment)
        // Root's containers run as other users, too; for a user fuse.conf decides, and the plugin does not need it.
        let device = try fusermount.mount(volume: reference.description, at: target, readOnly: readOnly)
        do throws(SystemFailure) {
            try attach(
                client, registry.paths.volume(record.name), device, target, readOnly,
                Identity.hostMount(userID: geteuid(), groupID: getegid()), reference.snapshot)
        } catch {
            try? fusermount.unmount(target, lazy: true)
            throw error
        }
        return target
    }

    /// Ends a mount. `lazy` also where programs use it still, `force` for everybody, wherever it was mounted. Returns who has it
    /// still, in other namespaces.
    @discardableResult
    public func unmount(_ directory: String, lazy: Bool, force: Bool = false) throws(SystemFailure) -> [SessionInUse] {
        let target = Self.mountedPath(directory)
        guard let found = MountInfo.at(target, in: try MountInfo.all()), let name = Self.volume(of: found) else {
            if try endSessions(mountedAt: [target, directory], force: force) { return [] }
            throw SystemFailure(directory, "is not a mount of Berth", fix: "see `berth status`", status: .usage)
        }
        let volume = registry.paths.volume(name)
        // What was written is safe before the unmount says so. A dead server has nothing to sync.
        let client = (try? VolumeName(name)).flatMap { _ in (try? supervisor.running(volume)) ?? nil }
        var unsafe: SystemFailure?
        if let client {
            do throws(SystemFailure) { try Self.flush(target, client) } catch { unsafe = error }
        }
        // A volume that takes no changes any more is unmounted all the same: keeping the mount saves nothing.
        try Fusermount(environment: environment).unmount(target, lazy: lazy || force)
        var left: [SessionInUse] = []
        if force {
            _ = try endSessions(mountedAt: [target], force: true, of: volume.name)
        } else if let client {
            left = settle([target], client, volume)
        }
        if let unsafe { throw Self.unsafe(target, unsafe) }
        return left
    }

    /// Has the kernel hand over what programs wrote to memory that they had mapped, and the server make all durable. The end of a
    /// mount does the first only where no other namespace has a copy of it.
    static func flush(_ mountpoint: String, _ client: ServerClient) throws(SystemFailure) {
        // It answers: nothing below waits for long.
        try client.ask(.sync, timeout: syncTimeout)
        guard let directory = try? FileDescriptor.open(mountpoint, O_RDONLY | O_DIRECTORY | O_NONBLOCK) else { return }
        _ = syncfs(directory.rawValue)
        try client.ask(.sync, timeout: syncTimeout)
    }

    /// Ends sessions whose mount is not here: those that nobody has, and with `force` all at these paths. False where there is none.
    /// `volume`: of this one only.
    private func endSessions(
        mountedAt paths: [String], force: Bool, of volume: String? = nil
    ) throws(SystemFailure) -> Bool {
        var isFound = false
        for record in try registry.list().records where volume == nil || record.name == volume {
            let volume = registry.paths.volume(record.name)
            guard let client = try supervisor.running(volume) else { continue }
            let sessions = try client.status().sessions.filter { paths.contains($0.mountpoint) }
            guard !sessions.isEmpty else { continue }
            isFound = true
            guard force else {
                let left = try endAbandoned(client, volume).filter { paths.contains($0.session.mountpoint) }
                guard left.isEmpty else { throw Self.inUse(record.name, left) }
                continue
            }
            _ = try? client.ask(.sync, timeout: Self.syncTimeout)
            for session in sessions {
                try client.ask(.detach(session: session.session), timeout: Self.detachTimeout)
            }
        }
        return isFound
    }

    /// A mount that is gone, of a volume that could not be made durable before.
    static func unsafe(_ mountpoint: String, _ failure: SystemFailure) -> SystemFailure {
        SystemFailure(
            mountpoint, "is unmounted, and what was written last may be lost: \(failure.message)",
            fix: "see `berth status` and `berth log`", errno: failure.errno, status: .inputOutputError)
    }

    static let syncTimeout = Duration.seconds(60)
    static let detachTimeout = Duration.seconds(10)

    /// The volume that a mount shows, or whose snapshot, or nil where it is none of ours.
    public static func volume(of mount: MountInfo) -> String? {
        guard mount.fileSystem == "fuse.berth", mount.source.startsWithBytes(of: "berth:") else { return nil }
        return mount.source.droppingBytes(first: "berth:".utf8.count).words(at: "@").first.map(String.init)
    }

    func attach(
        _ client: ServerClient, _ volume: VolumePaths, _ device: borrowing FileDescriptor, _ target: String,
        _ readOnly: Bool, _ identity: Identity, _ snapshot: SnapshotName?
    ) throws(SystemFailure) {
        let session = SessionMarker.newSession()
        let attachment = Attachment(
            session: session, mountpoint: target, readOnly: readOnly, identity: identity,
            origin: SessionOrigin(
                runtime: .host, namespace: ProcessTable.namespace("mnt", of: "self"), environment: environment,
                device: MountInfo.device(at: target)),
            snapshot: snapshot?.description)
        let proof = try supervisor.attach(
            attachment, device.rawValue, to: client, of: volume, timeout: Self.attachTimeout)
        try proof.check(target)
    }

    /// The directory without links, where it exists, is empty, and is the caller's own.
    private static func checkedMountpoint(_ directory: String) throws(SystemFailure) -> String {
        guard let real = realpath(directory, nil) else {
            throw SystemFailure(
                "mount point \(directory)", "cannot be used", .current,
                fix: errno == ENOENT ? "make it with: mkdir -p \(directory)" : nil, status: .noInput)
        }
        defer { free(real) }
        let path = String(cString: real)
        var status = stat()
        guard lstat(path, &status) == 0 else {
            throw SystemFailure(
                "mount point \(path)", "cannot be examined", .current,
                fix: errno == ENOTCONN ? "a dead mount lies there: run `berth umount --lazy \(path)`" : nil)
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw SystemFailure("mount point \(path)", "is not a directory", errno: .notDirectory, status: .usage)
        }
        guard status.st_uid == geteuid() else {
            throw SystemFailure(
                "mount point \(path)", "belongs to uid \(status.st_uid), not to you", fix: "use a directory of yours",
                errno: .accessDenied, status: .noPermission)
        }
        if let found = MountInfo.at(path, in: try MountInfo.all()) {
            throw SystemFailure(
                "mount point \(path)", "has a mount already (\(found.source))",
                fix: Self.volume(of: found) == nil
                    ? "unmount it, or use another directory"
                    : "run `berth umount \(ShellWord.quoted(path))`, or use another directory",
                errno: .busy, status: .cannotCreate)
        }
        guard try FileTree.names(in: path).isEmpty else {
            throw SystemFailure(
                "mount point \(path)", "is not empty",
                fix: "use an empty directory: a mount would hide what lies there",
                errno: .directoryNotEmpty, status: .cannotCreate)
        }
        return path
    }

    /// Without touching the path itself, which may be a dead mount: the parent's links are resolved.
    static func mountedPath(_ directory: String) -> String {
        var trimmed = Substring(directory)
        while trimmed.utf8.count > 1, trimmed.endsWithBytes(of: "/") { trimmed = trimmed.droppingBytes(last: 1) }
        let parts = trimmed.parts(at: "/")
        let parent = parts.count > 1 ? parts.dropLast().joined(separator: "/") : "."
        guard let last = parts.last, let real = realpath(parent.isEmpty ? "/" : parent, nil) else { return directory }
        defer { free(real) }
        if last == "." || last == ".." || last.isEmpty {
            guard let whole = realpath(directory, nil) else { return directory }
            defer { free(whole) }
            return String(cString: whole)
        }
        let prefix = String(cString: real)
        let path = prefix == "/" ? "/\(last)" : "\(prefix)/\(last)"
        // A link that the user made to a mount point.
        var status = stat()
        if lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFLNK, let target = realpath(path, nil) {
            defer { free(target) }
            return String(cString: target)
        }
        return path
    }
}
