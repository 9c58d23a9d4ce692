import LinuxSystem
import Synchronization

/// Where a client of a control socket is. It is this user's process in any case; a container that has got hold of the
/// socket is that, too, and must not get the user's files by it.
public final class RequestOrigin: Sendable {
    private struct Shown {
        var root = false
        var userNamespace = false
    }

    private let host: HostView?
    private let shown = Mutex(Shown())

    /// `host`: what a process outside of all containers can show; nil where nobody can, and nobody is.
    public init(host: HostView?) {
        self.host = host
    }

    /// Takes a descriptor of `HostView.descriptors`. Anything else shows nothing.
    public func show(_ descriptor: consuming FileDescriptor) {
        switch host?.part(descriptor) {
        case .root: shown.withLock { $0.root = true }
        case .userNamespace: shown.withLock { $0.userNamespace = true }
        case nil: break
        }
    }

    /// Ids that it names are those of the machine: it has shown the host's user namespace, wherever its files are.
    public var namesHostIDs: Bool { shown.withLock { $0.userNamespace } }

    /// It has shown both.
    public var isHost: Bool { shown.withLock { $0.root && $0.userNamespace } }
}
