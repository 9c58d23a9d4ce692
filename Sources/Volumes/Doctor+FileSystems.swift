import CLinux
import FileModel
import Glibc
import LinuxSystem

extension Doctor {
    /// What the file system below a path is good for.
    func fileSystem(_ what: String, _ path: String) -> Finding {
        let check = "file system of \(what)"
        guard let found = Self.existing(path), let mounts = try? MountInfo.all(),
            let mount = MountInfo.covering(found, in: mounts)
        else { return Finding(check, .warn, "cannot be found out", fix: "mount /proc") }
        let type = mount.fileSystem
        let detail = "\(path) is on \(type) (\(mount.mountpoint))"
        if mount.options.contains("ro") {
            return Finding(check, .fail, "\(detail), which is read-only", fix: Self.elsewhere(what))
        }
        if what != "cache", let trouble = LockReach(mount).trouble {
            return Finding(check, .warn, "\(detail): \(trouble.cause)", fix: trouble.fix)
        }
        switch type {
        case "nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "afs":
            return Finding(
                check, .warn, "\(detail): a network file system, whose locks and speed vary", fix: Self.elsewhere(what))
        case "lustre", "gpfs", "beegfs", "pvfs2", "ceph", "fuse.ceph":
            return Finding(
                check, .warn, "\(detail): a parallel file system, slow for a database and for small files",
                fix: Self.elsewhere(what))
        case "tmpfs", "ramfs":
            return what == "cache"
                ? Finding(check, .warn, "\(detail): the cache takes memory", fix: Self.elsewhere(what))
                : Finding(
                    check, .warn, "\(detail): volumes are lost with the machine's memory", fix: Self.elsewhere(what))
        default: return Finding(check, .pass, detail)
        }
    }

    private static func elsewhere(_ what: String) -> String {
        "set \(what == "cache" ? "XDG_CACHE_HOME" : "XDG_DATA_HOME") to a directory on a local disk"
    }

    /// The path without links, or its nearest parent that exists.
    private static func existing(_ path: String) -> String? {
        var path = path
        while true {
            if let real = realpath(path, nil) {
                defer { free(real) }
                return String(cString: real)
            }
            guard let slash = path.lastSlash, slash != path.startIndex else { return "/" }
            path = String(path[..<slash])
        }
    }
}
