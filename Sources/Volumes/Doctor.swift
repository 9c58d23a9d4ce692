import CLinux
import FileModel
import Glibc
import LinuxSystem

/// What a look at the machine found.
public struct Finding: Encodable, Sendable, Equatable {
    public enum Verdict: String, Encodable, Sendable {
        case pass
        case warn
        case fail
    }

    public var check: String
    public var verdict: Verdict
    public var detail: String
    /// What to do, where something is wrong.
    public var fix: String?
    /// Of a process that runs.
    public var process: ProcessSecurity?

    init(_ check: String, _ verdict: Verdict, _ detail: String, fix: String? = nil) {
        self.check = check
        self.verdict = verdict
        self.detail = detail
        self.fix = fix
    }

    /// What a volume takes; `fix` where that cannot be told.
    public init(spaceOf volume: String, _ detail: String, fix: String? = nil) {
        self.init("space of \(volume)", fix == nil ? .pass : .warn, detail, fix: fix)
    }

    public var line: String { "\(verdict.rawValue)  \(check): \(detail)\(fix.map { "; \($0)" } ?? "")" }
    /// Whether it is about the plugin's own state, which `setup` itself changes.
    public var isAboutPlugin: Bool { check == Doctor.pluginCheck }
}

/// Looks at what Berth needs of a machine. Changes nothing.
public struct Doctor: Sendable {
    static let pluginCheck = "podman's configuration"

    let paths: SitePaths
    let environment: [String: String]
    private let configuration: EngineConfiguration

    /// `configuration`: what `setup` makes of podman's configuration, so that both judge it by the same text.
    public init(_ paths: SitePaths, environment: [String: String], configuration: EngineConfiguration) {
        self.paths = paths
        self.environment = environment
        self.configuration = configuration
    }

    public func findings() -> [Finding] {
        [
            device(), fusermount(), userNamespaces(), subordinateIDs("/etc/subuid", "newuidmap"),
            subordinateIDs("/etc/subgid", "newgidmap"), propagation(), fileSystem("home", paths.data),
            fileSystem("cache", paths.cache), runtimeDirectory(), podman(), registration(), hooks(),
        ] + engineVolumes() + confinement()
    }

    private func device() -> Finding {
        let path = "/dev/fuse"
        if (try? FileDescriptor.open(path, O_RDWR)) != nil { return Finding(path, .pass, "can be opened") }
        let isMissing = access(path, F_OK) != 0
        return Finding(
            path, .fail, isMissing ? "does not exist" : "cannot be opened by you",
            fix: isMissing
                ? "ask the administrator for: modprobe fuse" : "ask the administrator for: chmod 0666 /dev/fuse")
    }

    private func fusermount() -> Finding {
        let check = "fusermount3"
        let fix = "ask the administrator for the fuse3 package (apt-get install fuse3)"
        guard let path = Spawn.find(check, path: environment["PATH"]) else {
            return Finding(check, .warn, "is not installed: volumes work in podman, `berth mount` does not", fix: fix)
        }
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_ISUID != 0 || geteuid() == 0 else {
            return Finding(
                check, .warn, "\(path) is not setuid root: `berth mount` does not work",
                fix: "ask for: chmod u+s \(path)")
        }
        return Finding(check, .pass, path)
    }

    private func userNamespaces() -> Finding {
        let check = "user namespaces"
        if let number = Self.number("/proc/sys/user/max_user_namespaces"), number == 0 {
            return Finding(check, .fail, "are switched off", fix: "ask for: sysctl -w user.max_user_namespaces=15000")
        }
        if Self.number("/proc/sys/kernel/unprivileged_userns_clone") == 0, geteuid() != 0 {
            return Finding(
                check, .fail, "are for root only", fix: "ask for: sysctl -w kernel.unprivileged_userns_clone=1")
        }
        if Self.number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1 {
            return Finding(
                check, .warn, "are restricted by AppArmor to programs with a profile",
                fix: "if podman fails, ask for: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")
        }
        return Finding(check, .pass, "can be made")
    }

    private func subordinateIDs(_ file: String, _ helper: String) -> Finding {
        guard geteuid() != 0 else { return Finding(file, .pass, "root needs none") }
        guard let user = Account.named(id: geteuid()) else {
            return Finding(
                file, .warn, "your uid \(geteuid()) has no name", fix: "ask the administrator for an account entry")
        }
        let ranges = SubordinateIDs.load(file, user: user).ranges
        guard !ranges.isEmpty else {
            return Finding(
                file, .warn, "has no range for \(user.name): containers see one user only",
                fix:
                    "ask for: usermod --add-\(file.hasSuffix("uid") ? "subuids" : "subgids") 100000-165535 \(user.name)"
            )
        }
        guard Spawn.find(helper, path: environment["PATH"]) != nil else {
            return Finding(
                file, .warn, "\(helper) is not installed", fix: "ask for the uidmap package (apt-get install uidmap)")
        }
        return Finding(file, .pass, ranges.map { "\($0.count) ids from \($0.first)" }.joined(separator: ", "))
    }

    private func propagation() -> Finding {
        let check = "propagation of /"
        guard let mounts = try? MountInfo.all(), let root = MountInfo.at("/", in: mounts) else {
            return Finding(check, .warn, "cannot be read", fix: "mount /proc")
        }
        return Finding(
            check, .pass,
            root.propagation.isEmpty
                ? "private; podman's volumes are mounted inside its own namespace, so this is fine"
                : root.propagation.joined(separator: " "))
    }

    private func runtimeDirectory() -> Finding {
        let check = "runtime directory"
        let path = paths.runtime
        if paths.pluginSocket.utf8.count > UnixSocket.maximumAddressLength {
            return Finding(
                check, .warn, "\(path) is long: podman cannot reach the plugin there; all else works",
                fix: "set BERTH_RUNTIME_DIR to a shorter directory of yours, and run: berth setup")
        }
        if access(path, F_OK) == 0, !SecureDirectory.isSecure(path) {
            return Finding(
                check, .fail, "\(path) is not yours alone", fix: "run: chmod 700 \(path), or set BERTH_RUNTIME_DIR")
        }
        return Finding(check, .pass, path)
    }

    private func podman() -> Finding {
        let check = "podman"
        guard let path = Spawn.find("podman", path: environment["PATH"]) else {
            return Finding(
                check, .warn, "is not installed", fix: "ask for it (apt-get install podman), or use `berth mount`")
        }
        let command = Command(path, ["--version"], environment: environment)
        guard let outcome = try? Spawn.run(command, timeout: .seconds(20)), outcome.succeeded else {
            return Finding(check, .fail, "\(path) does not run", fix: "run `\(path) info` and do what it says")
        }
        let runtimes = ["crun", "runc"].filter { Spawn.find($0, path: environment["PATH"]) != nil }
        guard !runtimes.isEmpty else {
            return Finding(check, .fail, "finds neither crun nor runc", fix: "ask for one (apt-get install crun)")
        }
        let version = outcome.output.split(separator: "\n").first.map(String.init) ?? "podman"
        return Finding(check, .pass, "\(version) with \(runtimes.joined(separator: " and "))")
    }

    private func registration() -> Finding {
        let check = Self.pluginCheck
        do throws(SystemFailure) {
            if let change = try configuration.changesToRegister().first {
                return Finding(
                    check, .warn, "is not what setup makes it, to \(change.summary): \(change.path)",
                    fix: "run: berth setup")
            }
        } catch {
            return Finding(check, .fail, "\(error.subject) \(error.cause)", fix: error.fix)
        }
        if let override = environment["CONTAINERS_CONF"] {
            return Finding(
                check, .warn, "CONTAINERS_CONF=\(override) hides the file that registers the plugin",
                fix: "unset it, or register berth there")
        }
        guard (try? UnixSocket.connect(to: paths.pluginSocket, timeout: .seconds(2))) != nil else {
            return Finding(
                check, .warn, "the plugin is registered but does not answer at \(paths.pluginSocket)",
                fix: "run: berth serve --detach")
        }
        return Finding(check, .pass, "the plugin is registered and answers at \(paths.pluginSocket)")
    }

    private static func number(_ path: String) -> Int? {
        guard let bytes = (try? AtomicFile.read(path)) ?? nil else { return nil }
        return Int(String(decoding: bytes, as: UTF8.self).split(separator: "\n").first ?? "")
    }
}
