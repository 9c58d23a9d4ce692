import FileModel
import Glibc
import LinuxSystem
import Volumes

/// Who started this hook, and where that person's things are. An engine runs hooks as root of its user namespace
/// with almost no environment; the account behind that root is found through the namespace's map.
public struct HookCaller: Sendable {
    /// The person, as the machine numbers them.
    public let userID: UInt32
    /// What `berth` would find in the shell in which the engine was started.
    public let environment: [String: String]
    /// The engine's process.
    public let parent: ProcessIdentity

    public var paths: SitePaths { SitePaths(environment: environment, userID: userID) }

    /// `environment` is the hook's own, as the hook's JSON file lists it.
    public init(environment: [String: String]) throws(SystemFailure) {
        guard geteuid() == 0, let ids = NamespaceIDs(of: "self"), let userID = ids.outside(0) else {
            throw SystemFailure(
                "berth-hook", "is started by podman, as root of its user namespace, and not by hand",
                fix: "run `berth setup`, then: podman run --annotation berth.volume=NAME IMAGE", status: .usage)
        }
        guard let parent = ProcessIdentity(of: getppid()) else {
            throw SystemFailure("berth-hook", "its parent is gone", status: .unavailable)
        }
        self.userID = userID
        self.parent = parent
        // The shell's own settings first: it may be another than the one in which `berth setup` ran.
        // What an engine gives itself where the shell has no runtime directory is no setting of anybody's.
        let shell = ProcessTable.environment(of: parent.processID).filter {
            Self.isOurs($0.key) && !($0.key == "XDG_RUNTIME_DIR" && RuntimeDirectory.isOfEngine($0.value))
        }
        var merged = environment.merging(shell) { $1 }
        if merged["HOME"] == nil { merged["HOME"] = Account.named(id: userID)?.home }
        self.environment = merged
    }

    /// Somebody who does not read their own errors is not waited for.
    private static let patience = Duration.milliseconds(200)

    private static func isOurs(_ key: String) -> Bool {
        key == "HOME" || key == "SLURM_JOB_ID" || key.startsWithBytes(of: "BERTH_") || key.startsWithBytes(of: "XDG_")
    }

    /// Tells the person at the engine's own standard error: the engine itself repeats only an exit status.
    public func tell(_ line: String) {
        // Not where a service is the parent: its standard error is nobody's terminal, and may be a socket.
        guard ProcessTable.name(of: parent.processID) == "podman", parent.isRunning,
            let output = try? ProcessTable.descriptor(2, of: parent.processID),
            (try? output.waitWritable(until: Deadline(after: Self.patience))) == true
        else { return }
        try? output.write(Array((PrintableText.escaped(line) + "\n").utf8))
    }
}

/// The hooks' own log, in the form of the other logs.
public struct HookLog: Sendable {
    /// Some ten thousand lines; the file before it is kept.
    private static let maximumBytes = 2 << 20

    private let path: String
    private let directory: String
    private let format: LogFormat

    public init(_ paths: SitePaths) {
        path = paths.hookLog
        // Engines start hooks with hardly any environment.
        format = LogFormat.chosen(nil, [:], try? UserSettings.load(paths))
        directory = paths.logs
    }

    /// Which container a line is about.
    static func fields(_ container: LeasedContainer?) -> [(key: String, value: String)] {
        guard let container else { return [] }
        let words = [
            ("container", String(container.id.prefix(12))), ("name", container.name), ("image", container.image),
        ]
        return words.compactMap { key, value in value.map { (key, $0) } }
    }

    public func note(_ level: String, _ message: String, _ fields: [(key: String, value: String)]) {
        var status = stat()
        if lstat(path, &status) == 0, status.st_size > Self.maximumBytes { rename(path, "\(path).1") }
        if access(path, F_OK) != 0 { try? SecureDirectory.make(directory) }
        guard let file = try? FileDescriptor.open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW) else { return }
        let record = LogRecord(
            program: "berth-hook", level: level, message: message,
            fields: Dictionary(fields.map { ($0.key, $0.value) }) { first, _ in first })
        // One write, so that lines of hooks that run at one time do not mix.
        try? file.write(Array(record.line(format).utf8))
    }
}
