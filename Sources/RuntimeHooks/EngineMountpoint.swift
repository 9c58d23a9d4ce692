import CLinux
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

    /// What mountinfo calls the file system that the mount point lies in.
    private static let holderSource = "berth"

    /// The session of the volume that is mounted and alive here. A dead one is taken away.
    func livingSession() throws(SystemFailure) -> String? {
        guard try mountHere() != nil else { return nil }
        if let session = try? SessionMarker.session(at: path) { return session }
        undo()
        guard try mountHere() == nil else {
            throw SystemFailure(path, "a dead mount there cannot be taken away", errno: .busy, status: .unavailable)
        }
        return nil
    }

    /// Shows here what is alive at the sibling, and answers its session; nil where nothing is.
    func bindSibling() throws(SystemFailure) -> String? {
        guard let found = MountInfo.at(sibling, in: try MountInfo.all()), isOurs(found),
            let session = try? SessionMarker.session(at: sibling)
        else { return nil }
        try KernelMount.bind(sibling, at: path)
        do throws(SystemFailure) {
            try SessionProof(session: session, secret: nil).check(path)
        } catch {
            undo()
            throw error
        }
        return session
    }

    /// Makes the directory, in a file system of this namespace's own. Refuses to hide what lies in its place.
    func prepare() throws(SystemFailure) {
        if let found = MountInfo.at(holder, in: try MountInfo.all()) {
            guard found.source == Self.holderSource else { throw Self.occupied(holder, found) }
        } else {
            try SecureDirectory.make(holder)
            guard try FileTree.names(in: holder).isEmpty else {
                throw SystemFailure(
                    holder, "is not empty", fix: "move away what lies there", errno: .directoryNotEmpty,
                    status: .cannotCreate)
            }
            try KernelMount.mountMemory(at: holder, source: Self.holderSource)
        }
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else {
            throw SystemFailure(path, "cannot be made", .current, status: .cannotCreate)
        }
    }

    /// Mounts a new session here and answers its descriptor, which must be served at once.
    func mount() throws(SystemFailure) -> FileDescriptor {
        let device = try KernelMount.openDevice()
        try KernelMount.mount(
            device, name: volume, at: path, flags: KernelMount.untrusted, readOnly: false)
        return device
    }

    /// Takes away what is mounted here, whatever uses it, together with the directory: who looks for it later fails,
    /// instead of finding it empty.
    func undo() {
        // Bounded, should one refuse.
        for _ in 0..<8 where isHeld { try? KernelMount.unmount(holder, lazy: true) }
        rmdir(holder)
    }

    /// Takes away what is mounted here, and the directory. Answers whether this namespace shows the session
    /// elsewhere still. Not lazy: EBUSY where something uses it.
    func unmount(lazy: Bool) throws(SystemFailure) -> Bool {
        let mounts = try MountInfo.all()
        Self.flush(path)
        let devices = Set(mounts.filter { $0.mountpoint == path && isOurs($0) }.map(\.device))
        while !lazy, let found = MountInfo.at(path, in: try MountInfo.all()), isOurs(found) {
            do {
                try KernelMount.unmount(path, lazy: false)
            } catch  where error == .invalidArgument || error == .noEntry {
                // Not mounted any more: somebody else was faster.
            } catch {
                throw SystemFailure(path, "cannot be unmounted", error)
            }
        }
        undo()
        return try MountInfo.all().contains { devices.contains($0.device) }
    }

    /// What programs wrote to memory that they had mapped reaches the server: where copies of the mount keep its file system, the
    /// end of the mount does not see to that.
    private static func flush(_ path: String) {
        guard let directory = try? FileDescriptor.open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK) else { return }
        _ = syncfs(directory.rawValue)
    }

    private var holder: String { path.lastSlash.map { String(path[..<$0]) } ?? path }

    private var isHeld: Bool {
        (try? MountInfo.all()).flatMap { MountInfo.at(holder, in: $0) }?.source == Self.holderSource
    }

    private func isOurs(_ mount: MountInfo) -> Bool { mount.source == "berth:\(volume)" }

    private func mountHere() throws(SystemFailure) -> MountInfo? {
        guard let found = MountInfo.at(path, in: try MountInfo.all()) else { return nil }
        guard isOurs(found) else { throw Self.occupied(path, found) }
        return found
    }

    private static func occupied(_ path: String, _ mount: MountInfo) -> SystemFailure {
        SystemFailure(
            path, "something else is mounted there (\(mount.source))", fix: "unmount it", errno: .busy,
            status: .cannotCreate)
    }
}
