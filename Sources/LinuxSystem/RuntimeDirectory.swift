import FileModel
import Glibc

/// Where sockets and mount points of one user on one node lie. Never in a directory that others can write to: who makes
/// it first could stand in the way, or listen there and be taken for a server of ours.
public enum RuntimeDirectory {
    /// What engines give themselves where `XDG_RUNTIME_DIR` is unset, and pass on to hooks: nobody else looks there.
    /// Observed with podman 4.3.1 and 5.4.2.
    private static let ofEngines = ["/tmp/podman-run-", "/tmp/storage-run-", "/tmp/containers-user-"]
    /// State of other hosts that nobody has touched for so long is left over.
    private static let staleSeconds = 30 * 24 * 3600

    /// $BERTH_RUNTIME_DIR; $XDG_RUNTIME_DIR/berth where that variable names a directory that only this user can write to;
    /// the same of /run/user/UID; else a directory of this node below `state`, which is in the user's home.
    static func choose(
        chosen: String?, xdg: String?, userID: UInt32, state: String, node: () -> NodeIdentity,
        isOwn: (String) -> Bool
    ) -> String {
        if let chosen { return chosen }
        for directory in [xdg, "/run/user/\(userID)"].compactMap({ $0 })
        where !isOfEngine(directory) && isOwn(directory) {
            return "\(directory)/berth"
        }
        return "\(state)/run/\(node().directoryName)"
    }

    /// Whether an engine made a directory for itself alone.
    public static func isOfEngine(_ directory: String) -> Bool {
        ofEngines.contains { directory.utf8.starts(with: $0.utf8) }
    }

    /// A directory of ours, and no link, that nobody else can make files in.
    public static func isOwn(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR && status.st_uid == geteuid()
            && status.st_mode & 0o022 == 0
    }

    /// The path without the symbolic links on its way (`/home -> /cluster/home`), where nobody else made one of them: the
    /// kernel's tables of mounts name no links. Parts that are not there yet stay as they are.
    static func throughLinks(_ path: String) -> String {
        var existing = path[...]
        var status = stat()
        while lstat(String(existing), &status) != 0, let slash = existing.lastSlash, slash != path.startIndex {
            existing = existing[..<slash]
        }
        guard let found = realpath(String(existing), nil) else { return path }
        defer { free(found) }
        let real = String(cString: found)
        guard real != existing, (try? TrustedPath.open(String(existing))) != nil else { return path }
        return real + path[existing.endIndex...]
    }

    /// The file in a node's directory that says whose it is.
    private static let markName = "node"

    /// Notes whose the directory is, and takes away what earlier starts of this very machine left beside it, whose mounts
    /// ended with their kernel, and what no machine has used for a month where nothing can be mounted in it.
    static func sweep(beside directory: String, node: NodeIdentity) {
        let mark = "\(directory)/\(markName)"
        if ((try? AtomicFile.read(mark)) ?? nil) != Array(node.mark.utf8) {
            try? AtomicFile.replace(mark, Array(node.mark.utf8))
        }
        utimes(directory, nil)
        guard let slash = directory.lastSlash else { return }
        let parent = String(directory[..<slash])
        for name in (try? FileTree.names(in: parent)) ?? [] where "\(parent)/\(name)" != directory {
            let path = "\(parent)/\(name)"
            var status = stat()
            guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid() else {
                continue
            }
            let isStale = status.st_mtim.tv_sec < time(nil) - staleSeconds && !holdsMountpoints(path)
            // Without an id of the machine a host's name alone says too little.
            let isEarlier =
                !node.machine.isEmpty
                && ((try? AtomicFile.read("\(path)/\(markName)")) ?? nil) == Array(node.mark.utf8)
            if isEarlier || isStale { FileTree.remove(path) }
        }
    }

    private static func holdsMountpoints(_ directory: String) -> Bool {
        ["mnt", "host", "hook"].contains { (try? FileTree.names(in: "\(directory)/\($0)"))?.isEmpty != true }
    }
}
