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

    private var place: EngineMountpoint {
        EngineMountpoint(volume: task.volume, path: task.mountpoint, sibling: task.sibling)
    }

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
            case .unmount: try unmount(lazy: true)
            case .release: try unmount(lazy: false)
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
        if let session = try place.livingSession() {
            return try channel.send(HookEvent.alreadyMounted(session: session), timeout: Self.patience)
        }
        try place.prepare()
        if let session = try place.bindSibling() {
            return try channel.send(HookEvent.alreadyMounted(session: session), timeout: Self.patience)
        }
        let device = try place.mount()
        do throws(SystemFailure) {
            try channel.send(
                HookEvent.mounted(device: MountInfo.device(at: place.path)), passing: device.rawValue,
                timeout: Self.patience)
            try verify()
        } catch {
            place.undo()
            throw error
        }
        try channel.send(HookEvent.verified, timeout: Self.patience)
    }

    private func verify() throws(SystemFailure) {
        guard let frame = try channel.receive(HookOrder.self, timeout: Self.patience) else {
            throw SystemFailure(task.mountpoint, "the process that asked for the mount is gone", status: .unavailable)
        }
        guard case .verify(let session, let secret) = frame.message else {
            throw SystemFailure(task.mountpoint, "the volume's server did not take the session", status: .unavailable)
        }
        try SessionProof(session: session, secret: secret).check(place.path)
    }

    private func unmount(lazy: Bool) throws(SystemFailure) {
        let goesOn = try place.unmount(lazy: lazy)
        try channel.send(HookEvent.unmounted(sessionGoesOn: goesOn), timeout: Self.patience)
    }
}
