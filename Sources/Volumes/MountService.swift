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

    /// Ends a mount in this namespace. `lazy` also where programs use it still.
    public func unmount(_ directory: String, lazy: Bool) throws(SystemFailure) {
        let target = Self.mountedPath(directory)
        guard let found = MountInfo.at(target, in: try MountInfo.all()), let volume = Self.volume(of: found) else {
            throw SystemFailure(directory, "is not a mount of Berth", fix: "see `berth status`", status: .usage)
        }
        // What was written is safe before the unmount says so. A dead server has nothing to sync.
        let client = (try? VolumeName(volume)).flatMap { name in
            (try? supervisor.running(registry.paths.volume(name.description))) ?? nil
        }
        var unsafe: SystemFailure?
        if let client {
            do { try client.ask(.sync, timeout: Self.syncTimeout) } catch { unsafe = error }
        }
        // A volume that takes no changes any more is unmounted all the same: keeping the mount saves nothing.
        try Fusermount(environment: environment).unmount(target, lazy: lazy)
        if !lazy, let client { Self.waitForEnd(ofSessionsAt: [target], client) }
        if let unsafe { throw Self.unsafe(target, unsafe) }
    }

    /// A mount that is gone, of a volume that could not be made durable before.
    static func unsafe(_ mountpoint: String, _ failure: SystemFailure) -> SystemFailure {
        SystemFailure(
            mountpoint, "is unmounted, and what was written last may be lost: \(failure.message)",
            fix: "see `berth status` and `berth log`", errno: failure.errno, status: .inputOutputError)
    }

    /// The kernel says that it has unmounted before the server has read so: whoever stops the server or removes the
    /// volume next must not find the session still there.
    static func waitForEnd(ofSessionsAt mountpoints: [String], _ client: ServerClient) {
        let deadline = Deadline(after: endTimeout)
        // One that answers no more has ended with its session.
        while (try? client.status())?.sessions.contains(where: { mountpoints.contains($0.mountpoint) }) == true,
            !deadline.hasPassed
        {
            usleep(2_000)
        }
    }

    static let syncTimeout = Duration.seconds(60)
    private static let endTimeout = Duration.seconds(5)

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
                runtime: .host, namespace: ProcessTable.namespace("mnt", of: "self"), environment: environment),
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
                fix: "unmount it, or use another directory",
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
