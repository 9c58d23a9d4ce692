import CLinux
import Control
import FileModel
import Glibc
import LinuxSystem

/// Joins a container engine's namespaces and mounts there. The process must have one thread: the kernel lets
/// no other join a user namespace. Source: setns(2), and what rootless podman does with its pause process.
public struct NamespaceMount {
    private static let patience = Duration.seconds(20)

    private let task: HookTask
    private let channel: FrameChannel

    public init(_ task: HookTask, channel: consuming FileDescriptor) {
        self.task = task
        self.channel = FrameChannel(channel, name: "berth")
    }

    /// Does the task and tells the other end how it went. Returns the exit status.
    public func run() -> ExitStatus {
        do throws(SystemFailure) {
            try join()
            switch task.verb {
            case .mount: try mount()
            case .unmount: try unmount()
            }
            return .success
        } catch {
            // Should the starter be gone, nobody is left to tell.
            try? channel.send(
                HookEvent.failed(code: error.errno?.rawValue ?? 0, message: error.message), timeout: Self.patience)
            return error.status
        }
    }

    private func join() throws(SystemFailure) {
        let userNamespace = HookTask.Descriptor.userNamespace
        if !Self.isOurs(userNamespace) {
            guard setns(userNamespace, Int32(BERTH_CLONE_NEWUSER)) == 0 else {
                throw SystemFailure("the container engine's user namespace", "cannot be joined", .current)
            }
            // Root there, whoever that is outside: mounting asks for it.
            guard setresgid(0, 0, 0) == 0, setresuid(0, 0, 0) == 0 else {
                throw SystemFailure("the container engine's user namespace", "has no root to become", .current)
            }
        }
        guard setns(HookTask.Descriptor.mountNamespace, Int32(BERTH_CLONE_NEWNS)) == 0 else {
            throw SystemFailure("the container engine's mount namespace", "cannot be joined", .current)
        }
    }

    private static func isOurs(_ namespace: Int32) -> Bool {
        var given = Glibc.stat()
        var own = Glibc.stat()
        return fstat(namespace, &given) == 0 && stat("/proc/self/ns/user", &own) == 0 && given.st_ino == own.st_ino
            && given.st_dev == own.st_dev
    }

    private func mount() throws(SystemFailure) {
        if let session = try livingSession() {
            return try channel.send(HookEvent.alreadyMounted(session: session), timeout: Self.patience)
        }
        try SecureDirectory.make(task.mountpoint)
        guard try FileTree.names(in: task.mountpoint).isEmpty else {
            throw SystemFailure(
                task.mountpoint, "is not empty", fix: "move away what lies there", errno: .directoryNotEmpty,
                status: .cannotCreate)
        }
        let device = try KernelMount.openDevice()
        try KernelMount.mount(
            device, name: task.volume, at: task.mountpoint, flags: KernelMount.untrusted, readOnly: task.readOnly)
        do throws(SystemFailure) {
            try channel.send(HookEvent.mounted, passing: device.rawValue, timeout: Self.patience)
            try verify()
        } catch {
            try? KernelMount.unmount(task.mountpoint, lazy: true)
            throw error
        }
        try channel.send(HookEvent.verified, timeout: Self.patience)
    }

    /// Looks from inside for the session's marker: the only proof that a container will not see an empty directory.
    private func verify() throws(SystemFailure) {
        guard let frame = try channel.receive(HookOrder.self, timeout: Self.patience) else {
            throw SystemFailure(task.mountpoint, "the process that asked for the mount is gone", status: .unavailable)
        }
        guard case .verify(let session) = frame.message else {
            throw SystemFailure(task.mountpoint, "the volume's server did not take the session", status: .unavailable)
        }
        let found: String
        do {
            found = try SessionMarker.session(at: task.mountpoint)
        } catch {
            throw SystemFailure(task.mountpoint, "does not show the volume", error, status: .unavailable)
        }
        guard found == session else {
            throw SystemFailure(task.mountpoint, "shows session \(found), not \(session)", status: .unavailable)
        }
    }

    /// The session of the volume that is mounted and alive there. A dead one is taken away.
    private func livingSession() throws(SystemFailure) -> String? {
        // More than one where a dead mount was mounted over; bounded, so that a busy one ends in an error.
        for _ in 0..<8 {
            guard let found = MountInfo.at(task.mountpoint, in: try MountInfo.all()) else { return nil }
            guard found.source == "berth:\(task.volume)" else {
                throw SystemFailure(
                    task.mountpoint, "something else is mounted there (\(found.source))", fix: "unmount it",
                    errno: .busy, status: .cannotCreate)
            }
            if let session = try? SessionMarker.session(at: task.mountpoint) { return session }
            try detach()
        }
        throw SystemFailure(
            task.mountpoint, "a dead mount there cannot be taken away", errno: .busy, status: .unavailable)
    }

    private func detach() throws(SystemFailure) {
        do {
            try KernelMount.unmount(task.mountpoint, lazy: true)
        } catch  where error == .invalidArgument || error == .noEntry {
            // Not mounted any more: somebody else was faster.
        } catch {
            throw SystemFailure(task.mountpoint, "cannot be unmounted", error)
        }
    }

    private func unmount() throws(SystemFailure) {
        while let found = MountInfo.at(task.mountpoint, in: try MountInfo.all()), found.source == "berth:\(task.volume)"
        {
            try detach()
        }
        try channel.send(HookEvent.unmounted, timeout: Self.patience)
    }
}
