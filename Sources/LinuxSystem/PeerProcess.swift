import CLinux
import FileModel
import Glibc

/// The process at the other end of a connection, held so that its number cannot come to mean another one.
public final class PeerProcess: Sendable {
    public let credentials: PeerCredentials
    private let handle: FileDescriptor

    /// `handle`: what SO_PEERPIDFD gave (Linux 6.5). Without one the process is opened by its number, which must be done
    /// when it has just connected. Nil where it has ended.
    public init?(_ credentials: PeerCredentials, handle: Int32?) {
        let number = handle ?? berth_pidfd_open(credentials.processID)
        guard number >= 0 else { return nil }
        self.credentials = credentials
        self.handle = FileDescriptor(owning: number)
    }

    /// Whether it has this root directory; false where it has ended: another may have its number, and be asked in its place.
    public func hasRoot(of host: HostView) -> Bool {
        let isRoot = host.isRoot(ofProcess: credentials.processID)
        return isRoot && isAlive
    }

    /// A handle can be read once the process has ended (pidfd_open(2)).
    private var isAlive: Bool { (try? !handle.waitReadable(until: Deadline(after: .zero))) ?? false }
}
