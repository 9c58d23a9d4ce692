import Control
import FileModel
import Glibc
import LinuxSystem

/// A process of ours, and what keeps it in: what it could not do, should somebody get hold of it.
public struct ProcessSecurity: Encodable, Sendable, Equatable {
    /// "server NAME", "keeper NAME" or "plugin".
    public var process: String
    public var pid: Int32
    public var hasFilter: Bool
    /// The version of its Landlock domain; 0: the kernel has none; nil: it needs none, or its program is older.
    public var landlock: Int?
    /// Whether other processes of the user can read its memory; nil where that cannot be told.
    public var isMemoryOpen: Bool?
    public var mayGainPrivileges: Bool
    /// Effective capabilities, as the kernel prints them; 0 but for root's processes.
    public var capabilities: String
    public var reachesNetwork: Bool

    /// For people: one line.
    public var line: String {
        var words = [
            "\(process)  pid \(pid)", hasFilter ? "seccomp on" : "no seccomp",
            landlock.map { $0 > 0 ? "landlock ABI \($0)" : "no landlock" } ?? "landlock not used",
        ]
        switch isMemoryOpen {
        case true?: words.append("memory open")
        case false?: words.append("not dumpable")
        case nil: break
        }
        words += [
            mayGainPrivileges ? "new privileges possible" : "no new privileges",
            capabilities.allSatisfy { $0 == "0" } ? "no capabilities" : "capabilities \(capabilities)",
            "network \(reachesNetwork ? "yes" : "no")",
        ]
        return words.joined(separator: "  ")
    }
}

/// What runs, and how it is kept in.
extension Doctor {
    private static let check = "confinement"

    func confinement() -> [Finding] {
        let volumes = (try? VolumeRegistry(paths: paths).list())?.records.map { paths.volume($0.name) } ?? []
        var found: [Finding] = []
        for volume in volumes { found += server(volume) }
        if let plugin = plugin() { found.append(plugin) }
        return found.isEmpty ? [kernel()] : found
    }

    /// What a server would have on this kernel.
    private func kernel() -> Finding {
        let version = KernelFeatures.landlockVersion
        guard version > 0 else {
            return Finding(
                Self.check, .warn, "nothing runs; servers would have seccomp, and no landlock", fix: Self.landlockFix)
        }
        return Finding(Self.check, .pass, "nothing runs; servers would have seccomp and landlock ABI \(version)")
    }

    private static let landlockFix =
        "ask for Linux 5.13 or later with landlock among `lsm=`: without it a server that somebody got hold of reaches all your files"

    private func server(_ volume: VolumePaths) -> [Finding] {
        guard let client = try? ServerClient(socket: volume.controlSocket), let status = try? client.status() else {
            return []
        }
        var found: [Finding] = []
        if let own = security("server \(volume.name)", status.processID, status.confinement) {
            found.append(finding(own))
        }
        if let keeper = status.keeperID, var security = security("keeper \(volume.name)", keeper, nil) {
            // The same program, started the same way.
            if geteuid() == 0 { security.isMemoryOpen = status.confinement.map { _ in false } }
            found.append(finding(security))
        }
        return found
    }

    private func plugin() -> Finding? {
        guard let channel = try? FrameChannel.connect(to: paths.supervisorSocket, timeout: .seconds(2)),
            let peer = try? channel.peer(), peer.userID == geteuid(),
            let security = security("plugin", peer.processID, nil)
        else { return nil }
        return finding(security)
    }

    private func finding(_ security: ProcessSecurity) -> Finding {
        let isServer = security.process.hasPrefix("server")
        var weakness: String?
        if security.isMemoryOpen == true || (isServer && (!security.hasFilter || security.landlock == nil)) {
            weakness = "it is of an older version: berth restart"
        } else if security.landlock == 0 {
            weakness = Self.landlockFix
        }
        var finding = Finding(Self.check, weakness == nil ? .pass : .warn, security.line, fix: weakness)
        finding.process = security
        return finding
    }

    /// Nil where the process has ended.
    private func security(_ name: String, _ process: Int32, _ confinement: Confinement?) -> ProcessSecurity? {
        guard let bytes = (try? AtomicFile.read("/proc/\(process)/status")) ?? nil else { return nil }
        var fields: [Substring: Substring] = [:]
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: "\t", maxSplits: 1)
            if parts.count == 2 { fields[parts[0]] = parts[1] }
        }
        var isMemoryOpen = confinement?.isMemoryOpen
        var status = stat()
        // The kernel gives what shows a process that is not dumpable to root; of root's own that tells nothing.
        if geteuid() != 0, stat("/proc/\(process)/environ", &status) == 0 { isMemoryOpen = status.st_uid == geteuid() }
        return ProcessSecurity(
            process: name, pid: process, hasFilter: fields["Seccomp:"] == "2", landlock: confinement?.landlock,
            isMemoryOpen: isMemoryOpen, mayGainPrivileges: fields["NoNewPrivs:"] == "0",
            capabilities: fields["CapEff:"].map(String.init) ?? "?",
            reachesNetwork: confinement?.reachesNetwork ?? (fields["Seccomp:"] != "2"))
    }
}
