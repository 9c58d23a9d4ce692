import FileModel
import Glibc
import LinuxSystem

/// `/tmp/berth-UID`, where versions before decision 0080 kept sockets if there was no runtime directory. Everybody can
/// make it, so nothing in it is believed or connected to; what is this user's own is taken away.
public struct SharedPlace {
    public enum State: Equatable {
        case absent
        /// Who made it.
        case ofStranger(String)
        /// Something is mounted below it, or a process of this user listens there.
        case inUse
        case leftOver
    }

    public let path: String

    public init(userID: UInt32) {
        path = "/tmp/berth-\(userID)"
    }

    init(path: String) {
        self.path = path
    }

    public var state: State {
        var status = stat()
        guard lstat(path, &status) == 0 else { return .absent }
        guard status.st_uid == geteuid(), status.st_mode & S_IFMT == S_IFDIR else {
            return .ofStranger("user \(Account.named(id: status.st_uid)?.name ?? "?") (uid \(status.st_uid))")
        }
        let mounts = (try? MountInfo.all()) ?? []
        guard !mounts.contains(where: { $0.mountpoint.utf8.starts(with: "\(path)/".utf8) }) else { return .inUse }
        return sockets.contains { (try? UnixSocket.connect(to: $0, timeout: .seconds(1))) != nil } ? .inUse : .leftOver
    }

    /// Takes it away with all that is in it. Links are removed, not followed.
    public func remove() { FileTree.remove(path) }

    private var sockets: [String] {
        [path, "\(path)/servers"].flatMap { directory in
            ((try? FileTree.names(in: directory)) ?? []).filter { $0.hasSuffix(".sock") }.map { "\(directory)/\($0)" }
        }
    }
}
