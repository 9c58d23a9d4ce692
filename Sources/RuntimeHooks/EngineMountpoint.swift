import Control
import FileModel
import Glibc
import LinuxSystem

/// A place in this process's mount namespace where an engine's containers find a volume. The process must be root
/// of its user namespace.
struct EngineMountpoint {
    let volume: String
    let path: String
    /// Where the same volume may be mounted for other containers.
    let sibling: String

    /// The session of the volume that is mounted and alive here. A dead one is taken away.
    func livingSession() throws(SystemFailure) -> String? {
        // More than one where a dead mount was mounted over; bounded, so that a busy one ends in an error.
        for _ in 0..<8 {
            guard let found = try mountHere() else { return nil }
            if let session = try? SessionMarker.session(at: path) { return session }
            try detach(found)
        }
        throw SystemFailure(path, "a dead mount there cannot be taken away", errno: .busy, status: .unavailable)
    }

    /// Shows here what is alive at the sibling, and answers its session; nil where nothing is.
    func bindSibling() throws(SystemFailure) -> String? {
        guard let found = MountInfo.at(sibling, in: try MountInfo.all()), found.source == "berth:\(volume)",
            let session = try? SessionMarker.session(at: sibling)
        else { return nil }
        try KernelMount.bind(sibling, at: path)
        do throws(SystemFailure) {
            try prove(session)
        } catch {
            undo()
            throw error
        }
        return session
    }

    /// Makes the directory, and refuses one in which something lies.
    func prepare() throws(SystemFailure) {
        try SecureDirectory.make(path)
        guard try FileTree.names(in: path).isEmpty else {
            throw SystemFailure(
                path, "is not empty", fix: "move away what lies there", errno: .directoryNotEmpty,
                status: .cannotCreate)
        }
    }

    /// Mounts a new session here and answers its descriptor, which must be served at once.
    func mount() throws(SystemFailure) -> FileDescriptor {
        let device = try KernelMount.openDevice()
        try KernelMount.mount(
            device, name: volume, at: path, flags: KernelMount.untrusted, readOnly: false)
        return device
    }

    /// Looks from inside for the session's marker: the only proof that a container will not see an empty directory.
    func prove(_ session: String) throws(SystemFailure) {
        let found: String
        do {
            found = try SessionMarker.session(at: path)
        } catch {
            throw SystemFailure(path, "does not show the volume", error, status: .unavailable)
        }
        guard found == session else {
            throw SystemFailure(path, "shows session \(found), not \(session)", status: .unavailable)
        }
    }

    /// Takes away a mount that came to nothing.
    func undo() {
        try? KernelMount.unmount(path, lazy: true)
        rmdir(path)
    }

    /// Takes away what is mounted here, and the directory. Answers whether this namespace shows the session
    /// elsewhere still. Not lazy: EBUSY where something uses it.
    func unmount(lazy: Bool) throws(SystemFailure) -> Bool {
        var devices: Set<String> = []
        while let found = MountInfo.at(path, in: try MountInfo.all()), found.source == "berth:\(volume)" {
            devices.insert(found.device)
            do {
                try KernelMount.unmount(path, lazy: lazy)
            } catch  where error == .invalidArgument || error == .noEntry {
                // Not mounted any more: somebody else was faster.
            } catch {
                throw SystemFailure(path, "cannot be unmounted", error)
            }
        }
        // Without it a container that is to use it fails, instead of finding it empty.
        rmdir(path)
        return try MountInfo.all().contains { devices.contains($0.device) }
    }

    private func mountHere() throws(SystemFailure) -> MountInfo? {
        guard let found = MountInfo.at(path, in: try MountInfo.all()) else { return nil }
        guard found.source == "berth:\(volume)" else {
            throw SystemFailure(
                path, "something else is mounted there (\(found.source))", fix: "unmount it", errno: .busy,
                status: .cannotCreate)
        }
        return found
    }

    private func detach(_ mount: MountInfo) throws(SystemFailure) {
        do {
            try KernelMount.unmount(path, lazy: true)
        } catch  where error == .invalidArgument || error == .noEntry {
            // Not mounted any more: somebody else was faster.
        } catch {
            throw SystemFailure(path, "cannot be unmounted", error)
        }
    }
}
