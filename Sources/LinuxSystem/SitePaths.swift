import FileModel
import Glibc

/// Where everything of one user lies on this machine.
///
///     <configuration>/berth.conf          what the user sets
///     <configuration>/credentials         keys of stores, mode 0600
///     <configuration>/hooks.d/            OCI hooks that `berth setup` registers with podman
///     <data>/volumes/NAME/                volume.json, meta.db, staging/, snapshots/, store/ (the default store); lock,
///                                         control.sock; copy-key of the cache; copy.db and copied of copies of the metadata
///     <data>/volumes/.removed/            volumes that a container engine removed
///     <data>/logs/                        one log a server
///     <cache>/NAME/                       raw copies of packs
///     <runtime>/servers/NAME@MARK.sock    control socket of the volume's berthfs; MARK is the data directory's
///     <runtime>/plugin.sock               podman's volume plugin
///     <runtime>/serve.sock                what OCI hooks ask of `berth serve`
///     <runtime>/metrics.sock              what Prometheus asks of `berth serve`
///     <runtime>/mnt/NAME                  mount points of podman's volumes
///     <runtime>/host/NAME                 mount points on the host, for runtimes that bind them
///     <runtime>/hook/NAME                 mount points of volumes that an annotation names
///     <runtime>/leases/TOKEN              containers being made with such volumes
public struct SitePaths: Equatable, Sendable {
    public var home: String
    public var configuration: String
    public var data: String
    public var cache: String
    /// As the kernel names it: what is mounted in it is found again among the mounts.
    public var runtime: String
    /// Whether the runtime directory is one of a node's, below the home directory.
    public let isOfNode: Bool
    /// What of this user lasts and is of no use elsewhere: `$XDG_STATE_HOME/berth`.
    public var state: String
    /// Where podman's configuration lies: `<configuration home>/containers`.
    public var containers: String
    /// Tells apart data directories that share a runtime directory: six hexadecimal digits of where it really is.
    public let dataMark: String

    /// Follows the XDG variables, with what their specification says where they are unset. The runtime directory is
    /// `RuntimeDirectory`'s choice. `node` is asked only where nothing else decides.
    public init(
        environment: [String: String], userID: UInt32 = geteuid(), node: () -> NodeIdentity = NodeIdentity.current,
        isOwn: (String) -> Bool = RuntimeDirectory.isOwn
    ) {
        // The specification tells to ignore values that are not absolute.
        func absolute(_ name: String) -> String? {
            guard let value = environment[name], value.hasPrefix("/") else { return nil }
            var trimmed = Substring(value)
            while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed = trimmed.dropLast() }
            return String(trimmed)
        }
        home = absolute("HOME") ?? Account.named(id: userID)?.home ?? "/"
        let configurationHome = absolute("XDG_CONFIG_HOME") ?? "\(home)/.config"
        configuration = "\(configurationHome)/berth"
        containers = "\(configurationHome)/containers"
        data = (absolute("XDG_DATA_HOME") ?? "\(home)/.local/share") + "/berth"
        dataMark = Self.mark(data)
        cache = (absolute("XDG_CACHE_HOME") ?? "\(home)/.cache") + "/berth"
        state = (absolute("XDG_STATE_HOME") ?? "\(home)/.local/state") + "/berth"
        let chosen = RuntimeDirectory.choose(
            chosen: absolute("BERTH_RUNTIME_DIR"), xdg: absolute("XDG_RUNTIME_DIR"), userID: userID, state: state,
            node: node, isOwn: isOwn)
        isOfNode = chosen.utf8.starts(with: "\(state)/run/".utf8)
        runtime = RuntimeDirectory.throughLinks(chosen)
    }

    /// Whichever links a path goes through, it is the same place. FNV-1a (RFC 9923), folded.
    public static func mark(_ path: String) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in real(path).utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        let digits = String((hash ^ (hash >> 24) ^ (hash >> 48)) & 0xFF_FFFF, radix: 16)
        return String(repeating: "0", count: 6 - digits.utf8.count) + digits
    }

    /// What is not there yet lies below what is.
    private static func real(_ path: String) -> String {
        if let found = realpath(path, nil) {
            defer { free(found) }
            return String(cString: found)
        }
        guard let slash = path.lastSlash, slash > path.startIndex else { return path }
        return real(String(path[..<slash])) + path[slash...]
    }

    public var volumes: String { "\(data)/volumes" }
    /// Volumes that a container engine removed: `.removed/NAME/SECONDS-DIGITS`.
    public var removedVolumes: String { "\(volumes)/.removed" }
    public var logs: String { "\(data)/logs" }
    public var servers: String { "\(runtime)/servers" }
    public var pluginSocket: String { "\(runtime)/plugin.sock" }
    public var supervisorSocket: String { "\(runtime)/serve.sock" }
    public var metricsSocket: String { "\(runtime)/metrics.sock" }
    public var mountpoints: String { "\(runtime)/mnt" }
    public var hostMountpoints: String { "\(runtime)/host" }
    public var hookMountpoints: String { "\(runtime)/hook" }
    public var leases: String { "\(runtime)/leases" }
    public var settings: String { "\(configuration)/berth.conf" }
    /// Keys of stores, for this user's eyes only.
    public var credentials: String { "\(configuration)/credentials" }
    /// Guards the records of all volumes, and the user's paths of them.
    public var recordLock: String { "\(configuration)/paths.lock" }
    public var hooks: String { "\(configuration)/hooks.d" }
    public var hookLog: String { "\(logs)/hook.log" }
    public var containersConfiguration: String { "\(containers)/containers.conf" }

    public func volume(_ name: String) -> VolumePaths { VolumePaths(site: self, name: name) }

    /// The directories that `prepare` makes.
    public var directories: [String] {
        [configuration, data, volumes, logs, cache, runtime, servers, mountpoints, hookMountpoints, leases]
    }

    /// Makes what is missing, all 0700, and refuses what belongs to somebody else.
    public func prepare() throws(SystemFailure) {
        for directory in directories { try SecureDirectory.make(directory) }
        if isOfNode { RuntimeDirectory.sweep(beside: runtime, node: .current()) }
    }

}

/// Where one volume's things lie. `name` must have been checked.
public struct VolumePaths: Equatable, Sendable {
    let site: SitePaths
    public let name: String

    public var directory: String { "\(site.volumes)/\(name)" }
    public var record: String { "\(directory)/volume.json" }
    /// Where volumes of this name are kept that a container engine removed.
    public var removedHolder: String { "\(site.removedVolumes)/\(name)" }
    public var database: String { "\(directory)/meta.db" }
    /// The metadata, while it is copied into the store.
    public var copy: String { "\(directory)/copy.db" }
    /// There while the database is what the newest copy in the store holds.
    public var copiedMark: String { "\(directory)/copied" }
    /// There where the next server is to mend the metadata first.
    public var mendMark: String { "\(directory)/mend" }
    /// What came of that: a JSON list of lines.
    public var mended: String { "\(directory)/mended" }
    /// What copies in the cache are sealed with: 16 random bytes.
    public var copyKey: String { "\(directory)/copy-key" }
    public var lock: String { "\(directory)/lock" }
    /// A second control socket, for those who see the volume's directory and not the runtime directory.
    public var innerSocket: String { "\(directory)/control.sock" }
    public var staging: String { "\(directory)/staging" }
    /// What it took when its last server ended.
    public var space: String { "\(directory)/space.json" }
    /// Copies of the database: one a snapshot.
    public var snapshots: String { "\(directory)/snapshots" }
    /// Another volume of the same user.
    public func sibling(_ name: String) -> VolumePaths { site.volume(name) }
    public var defaultStore: String { "\(directory)/store" }
    /// Two homes of one user may share a runtime directory, and have volumes of one name.
    public var controlSocket: String { ofServer(".sock") }
    /// Where servers of earlier versions listen, which are found by `innerSocket`.
    public var unmarkedSocket: String { "\(site.servers)/\(name).sock" }
    /// Held by whoever starts or is the server, so that there is never a second.
    public var startLock: String { ofServer(".lock") }

    /// A socket's name that would be too long goes without the mark.
    private func ofServer(_ ending: String) -> String {
        let marked = "\(site.servers)/\(name)@\(site.dataMark)\(ending)"
        return UnixSocket.isUsable(marked) ? marked : "\(site.servers)/\(name)\(ending)"
    }

    public var log: String { "\(site.logs)/\(name).log" }
    /// There from a container engine's first use of the volume to its last. What is mounted lies in it, in a file system
    /// of the engine's mount namespace: where that namespace ends, the mount point ends with it, and is never an empty
    /// directory.
    public var podmanHolder: String { "\(site.mountpoints)/\(name)" }
    public var podmanMountpoint: String { "\(podmanHolder)/volume" }
    /// The same for mounts of hooks.
    public var hookHolder: String { "\(site.hookMountpoints)/\(name)" }
    public var hookMountpoint: String { "\(hookHolder)/volume" }
    /// Held while the mount point above is mounted or given up.
    public var hookLock: String { "\(site.hookMountpoints)/\(name).lock" }
}
