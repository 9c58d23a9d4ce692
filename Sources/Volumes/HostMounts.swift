import Control
import FileModel
import Glibc
import LinuxSystem

extension MountService {
    /// Ends every mount of this user's volumes that nothing uses: on the host, and those that hooks made. With
    /// `lazy` also those in use on the host. What podman's plugin mounted is podman's to end, while it lives.
    /// Answers what was ended and what could not be.
    public func unmountAll(lazy: Bool) throws(SystemFailure) -> (ended: [String], failures: [SystemFailure]) {
        var ended: [String] = []
        var failures: [SystemFailure] = []
        let census = MountCensus.take()
        func attempt(_ what: String, _ body: () throws(SystemFailure) -> Void) {
            do throws(SystemFailure) {
                try body()
                ended.append(what)
            } catch {
                failures.append(error)
            }
        }
        for record in try registry.list().records {
            let volume = registry.paths.volume(record.name)
            for place in census.places(of: record.name, at: volume.hookMountpoint) {
                attempt(volume.hookMountpoint) { () throws(SystemFailure) in
                    try endIdleHookMount(volume, place, census)
                }
            }
            for place in census.places(of: record.name, at: volume.podmanMountpoint) {
                failures.append(Self.ofPodman(record.name, place))
            }
        }
        for (mountpoint, isDead) in try ownHostMounts() {
            attempt(mountpoint) { () throws(SystemFailure) in try unmount(mountpoint, lazy: lazy || isDead) }
        }
        for record in try registry.list().records {
            // Copies of what was unmounted before.
            _ = try? sessionsInUse(registry.paths.volume(record.name))
        }
        return (ended, failures)
    }

    /// Ends a volume's mounts that hooks left for the next container. One in use stays, and is no failure.
    public func endIdleHookMounts(_ volume: VolumePaths) {
        guard access(volume.hookHolder, F_OK) == 0 else { return }
        let census = MountCensus.take()
        for place in census.places(of: volume.name, at: volume.hookMountpoint) {
            try? endIdleHookMount(volume, place, census)
        }
    }

    private func endIdleHookMount(
        _ volume: VolumePaths, _ place: MountCensus.Place, _ census: MountCensus
    ) throws(SystemFailure) {
        guard let lock = try FileLock.take(volume.hookLock, until: Deadline(after: .seconds(10))) else {
            throw SystemFailure(volume.hookMountpoint, "a hook is at work there", status: .temporaryFailure)
        }
        if let name = try? VolumeName(volume.name), Leases(registry.paths).hold(name) {
            throw SystemFailure(
                "volume \"\(volume.name)\"", "a container is being made with it", fix: "try again", errno: .busy,
                status: .temporaryFailure)
        }
        let users = census.namespaces(showing: place.mount.device, except: place.namespace.inode).count
        guard users == 0 else {
            throw SystemFailure(
                "volume \"\(volume.name)\"", "is used by \(users) container\(users == 1 ? "" : "s")",
                fix: "end them first (podman stop)", errno: .busy, status: .temporaryFailure)
        }
        try releaseHookMount(volume, try place.namespace.open(), force: false)
        lock.remove()
    }

    private static func ofPodman(_ volume: String, _ place: MountCensus.Place) -> SystemFailure {
        SystemFailure(
            "volume \"\(volume)\"", "is mounted by podman at \(place.mount.mountpoint)",
            fix: "end its containers: podman unmounts it after the last", errno: .busy, status: .temporaryFailure)
    }

    /// Mount points in this process's namespace at which this account's volumes are mounted, or were until their
    /// server died; the latest first. A mount that another account's server serves is none of ours, whoever's it is.
    private func ownHostMounts() throws(SystemFailure) -> [(mountpoint: String, isDead: Bool)] {
        var sessions: Set<String> = []
        let records = try registry.list().records
        for record in records {
            let status = try status(of: registry.paths.volume(record.name))
            sessions.formUnion((status?.sessions ?? []).map(\.session))
        }
        // The kernel keeps whose mount it is.
        let owner = "user_id=\(geteuid())"
        let runtime = [registry.paths.mountpoints, registry.paths.hookMountpoints]
        return try MountInfo.all().reversed().compactMap { mount in
            guard let volume = Self.volume(of: mount), records.contains(where: { $0.name == volume }),
                mount.superOptions.contains(owner),
                !runtime.contains(where: { mount.mountpoint.startsWithBytes(of: "\($0)/") })
            else { return nil }
            do throws(Errno) {
                return sessions.contains(try SessionMarker.session(at: mount.mountpoint))
                    ? (mount.mountpoint, false) : nil
            } catch {
                return error == Errno(ENOTCONN) ? (mount.mountpoint, true) : nil
            }
        }
    }
}
