import LinuxSystem

/// How far a lock (flock(2)) of a mount's files is seen, as far as its options tell: nfs(5), mount.lustre(8), mount.cifs(8).
///
/// Where it is seen by one node only, two nodes could open the same volume; `NodeLease` refuses the second then.
struct LockReach: Equatable {
    enum Extent: Equatable {
        /// All nodes, or the mount does not say otherwise.
        case all
        /// Each node for itself; the words of the mount that say so.
        case node(String)
        /// There are no locks.
        case none
    }

    let extent: Extent
    let type: String

    init(_ mount: MountInfo) {
        type = mount.fileSystem
        extent = Self.extent(mount.fileSystem, mount.superOptions + mount.options)
    }

    private static func extent(_ type: String, _ options: [String]) -> Extent {
        switch type {
        case "nfs", "nfs4":
            // As the kernel writes them: `nolock` of version 3 is local_lock=all, and stands beside it.
            return options.first { ["local_lock=all", "local_lock=flock", "nolock"].contains($0) }
                .map { .node($0) } ?? .all
        case "lustre":
            if options.contains("localflock") { return .node("localflock") }
            return options.contains("flock") ? .all : .none
        case "beegfs": return .node("tuneUseGlobalFileLocks = false, unless the site has set it")
        case "cifs", "smb3": return options.contains("nobrl") ? .node("nobrl") : .all
        case "fuse.sshfs": return .node("sshfs")
        default: return .all
        }
    }

    /// What that means for volumes, and what to do; nil where nothing.
    var trouble: (cause: String, fix: String)? {
        switch extent {
        case .all: return nil
        case .node(let words):
            return (
                "locks are seen by one node only (\(words)): a second node is refused a volume by its heartbeat alone, and after "
                    + "a crash waits 30 s for it",
                fix
            )
        case .none: return ("files cannot be locked, and no volume can be served", fix)
        }
    }

    private var fix: String {
        let mount =
            switch type {
            case "nfs", "nfs4": "mount it with local_lock=none and without nolock"
            case "lustre": "mount it with flock"
            case "beegfs": "set tuneUseGlobalFileLocks = true in the client's configuration"
            case "cifs", "smb3": "mount it without nobrl"
            default: "use another file system"
            }
        return "ask the administrator to \(mount), or set XDG_DATA_HOME to a directory on a local disk"
    }
}
