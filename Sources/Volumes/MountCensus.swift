import FileModel
import LinuxSystem

/// Which mounts of volumes there are on this machine, in which mount namespaces, and which processes live there:
/// what counts users, read from the kernel each time.
///
/// Only processes that this user may look at are seen: their own, and those of the namespaces they own.
public struct MountCensus: Sendable {
    public struct Namespace: Sendable {
        /// The inode of `/proc/PID/ns/mnt`.
        public var inode: UInt64
        public var processes: [Int32]
        /// Mounts of volumes, whoever's they are.
        public var mounts: [MountInfo]
        /// What its root directory is: the same in a namespace and a copy of it, another one in a container.
        public var root: String?
    }

    public struct Place: Sendable {
        public var namespace: Namespace
        public var mount: MountInfo
    }

    public let namespaces: [UInt64: Namespace]

    public init(namespaces: [UInt64: Namespace]) {
        self.namespaces = namespaces
    }

    public static func take() -> MountCensus {
        var found: [UInt64: Namespace] = [:]
        for process in ProcessTable.all() {
            guard let inode = ProcessTable.namespace("mnt", of: "\(process)") else { continue }
            if found[inode] != nil {
                found[inode]?.processes.append(process)
                continue
            }
            // Gone in between: another process of the namespace will do.
            guard let mounts = try? MountInfo.all(process: "\(process)") else { continue }
            found[inode] = Namespace(
                inode: inode, processes: [process], mounts: mounts.filter { MountService.volume(of: $0) != nil },
                root: MountInfo.at("/", in: mounts).map { "\($0.device) \($0.root)" })
        }
        return MountCensus(namespaces: found)
    }

    /// Where a volume is mounted at this very path.
    public func places(of volume: String, at path: String) -> [Place] {
        namespaces.values.compactMap { namespace in
            guard let mount = MountInfo.at(path, in: namespace.mounts), MountService.volume(of: mount) == volume else {
                return nil
            }
            return Place(namespace: namespace, mount: mount)
        }
    }

    /// The mount namespaces, less one, that show a device: containers and what else uses a mount of that one.
    public func namespaces(showing device: String, except own: UInt64) -> [Namespace] {
        namespaces.values.filter { namespace in
            namespace.inode != own && namespace.mounts.contains { $0.device == device }
        }
    }

    /// Files of a device that processes hold open or have mapped.
    public func openFiles(on device: String) -> Int {
        namespaces.values.reduce(0) { total, namespace in
            let mounts = Set(namespace.mounts.filter { $0.device == device }.map(\.identifier))
            guard !mounts.isEmpty else { return total }
            return total
                + namespace.processes.reduce(0) {
                    $0 + ProcessTable.openFiles(of: $1, onMounts: mounts)
                        + ProcessTable.mappedFiles(of: $1, onDevice: device)
                }
        }
    }
}
