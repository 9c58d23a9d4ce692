import Control
import FileModel
import Glibc
import LinuxSystem

/// Mounts of volumes at places of our own on the host, for container runtimes that bind them: Apptainer,
/// Singularity, Charliecloud.
///
/// Invariants
/// - The directory under such a mount has mode 0 while it exists: should the mount go away, a bind of it shows nothing
///   that looks like an empty volume, and takes no files.
extension MountService {
    /// Where a volume is mounted for such runtimes.
    public func hostPlace(_ name: String) -> String { "\(registry.paths.hostMountpoints)/\(name)" }

    /// Whether the volume is mounted there and alive.
    public func isPlaced(_ name: String) -> Bool {
        guard let found = MountInfo.at(hostPlace(name), in: (try? MountInfo.all()) ?? []),
            Self.volume(of: found) != nil, found.source == "berth:\(name)"
        else { return false }
        guard let session = try? SessionMarker.session(at: hostPlace(name)) else { return false }
        return serves(session, name)
    }

    /// Whether a session is that of this user's volume, and not that of one of the same name in another home.
    private func serves(_ session: String, _ name: String) -> Bool {
        guard let reference = try? VolumeReference(name),
            let client = (try? supervisor.running(registry.paths.volume(reference.volume.description))) ?? nil
        else { return false }
        return (try? client.isServing(session)) ?? false
    }

    /// Has the volume mounted at its place: a living mount stays, a dead one is made again.
    public func place(_ name: VolumeReference) throws(SystemFailure) {
        _ = try registry.record(name.volume)
        try registry.paths.prepare()
        try SecureDirectory.make(registry.paths.hostMountpoints)
        try alone { () throws(SystemFailure) in try placeAlone(name) }
    }

    private func placeAlone(_ name: VolumeReference) throws(SystemFailure) {
        if isPlaced(name.description) { return }
        let path = hostPlace(name.description)
        try takeAwayDeadMounts(path)
        chmod(path, 0o700)
        try SecureDirectory.make(path)
        let below = try explaining(path, "cannot be opened") { () throws(Errno) in
            try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
        }
        do throws(SystemFailure) {
            _ = try mount(name, at: path, readOnly: false)
        } catch {
            rmdir(path)
            throw error
        }
        fchmod(below.rawValue, 0)
    }

    /// Ends the mount, and takes its directory away. Nothing there is no error.
    public func unplace(_ name: String) throws(SystemFailure) {
        try alone { () throws(SystemFailure) in try unplaceAlone(name) }
    }

    private func unplaceAlone(_ name: String) throws(SystemFailure) {
        let path = hostPlace(name)
        if let found = MountInfo.at(path, in: try MountInfo.all()), Self.volume(of: found) != nil {
            let isAlive = (try? SessionMarker.session(at: path)) != nil
            let volume = registry.paths.volume(Self.volume(of: found) ?? name)
            let client = isAlive ? (try? supervisor.running(volume)) ?? nil : nil
            if let client { try Self.flush(path, client) }
            // Containers that bind it keep it.
            try Fusermount(environment: environment).unmount(path, lazy: !isAlive)
            if let client { settle([path], client, volume) }
        }
        guard rmdir(path) == 0 || errno == ENOENT else {
            throw SystemFailure(path, "cannot be removed", .current)
        }
    }

    /// The volumes that have a place now, whether their mounts live or not.
    public func placed() -> [String] { (try? FileTree.names(in: registry.paths.hostMountpoints)) ?? [] }

    private func takeAwayDeadMounts(_ path: String) throws(SystemFailure) {
        // More than one where a dead mount was mounted over; bounded, so that a busy one ends in an error.
        for _ in 0..<8 {
            guard let found = MountInfo.at(path, in: try MountInfo.all()) else { return }
            guard Self.volume(of: found) != nil else {
                throw SystemFailure(
                    path, "something else is mounted there (\(found.source))", fix: "unmount it", errno: .busy,
                    status: .cannotCreate)
            }
            if let session = try? SessionMarker.session(at: path),
                !serves(session, found.source.droppingBytes(first: "berth:".utf8.count).description)
            {
                throw Self.ofAnotherHome(path)
            }
            try Fusermount(environment: environment).unmount(path, lazy: true)
        }
    }

    static func ofAnotherHome(_ path: String) -> SystemFailure {
        SystemFailure(
            path, "shows a volume of the same name from another data directory, which has the same runtime directory",
            fix: "set BERTH_RUNTIME_DIR to another directory", errno: .busy, status: .temporaryFailure)
    }

    /// Two shells at once must not both mount. A mount waits for its server, so the other waits for long.
    private func alone(_ body: () throws(SystemFailure) -> Void) throws(SystemFailure) {
        try SecureDirectory.make(registry.paths.runtime)
        try FileLock.holding("\(registry.paths.runtime)/host.lock", within: .seconds(60), body)
    }
}
