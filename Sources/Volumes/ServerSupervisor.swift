import CLinux
import Control
import FileModel
import Glibc
import LinuxSystem
import Logging

/// Finds a volume's server, or starts it. There is one at most: the server itself holds a lock.
public struct ServerSupervisor: Sendable {
    /// A database with a long log to replay, on a slow disk.
    private static let startTimeout = Duration.seconds(60)

    public let paths: SitePaths
    let environment: [String: String]
    let program: String

    /// `environment` and `program` (the path of this process's own program) come from the composition root.
    public init(paths: SitePaths, environment: [String: String], program: String) {
        self.paths = paths
        self.environment = environment
        self.program = program
    }

    private static let jobVariable = "SLURM_JOB_ID"

    /// A connection to the volume's server, which is started where none runs.
    public func client(for volume: VolumePaths) throws(SystemFailure) -> ServerClient {
        if let client = try running(volume) { return client }
        try paths.prepare()
        // Two clients at once must not start two servers. The lock goes with the value.
        guard let lock = try FileLock.take(volume.startLock, until: Deadline(after: Self.startTimeout)) else {
            throw SystemFailure(
                "the server of volume \"\(volume.name)\"", "is being started by another process",
                fix: "try again; see \(volume.log)", status: .temporaryFailure)
        }
        do throws(SystemFailure) {
            let client: ServerClient
            if let other = try running(volume) { client = other } else { client = try startServer(volume) }
            lock.remove()
            return client
        } catch {
            lock.remove()
            throw error
        }
    }

    private func startServer(_ volume: VolumePaths) throws(SystemFailure) -> ServerClient {
        try startDetached(
            "berthfs", ["serve", volume.name], log: volume.log, as: "the server of volume \"\(volume.name)\"",
            withKeys: needsKeys(volume))
        return try ServerClient(socket: volume.controlSocket)
    }

    /// Hands a session to the volume's server, and to a new one where that one is just ending or being replaced.
    /// Returns what its mount point must show.
    public func attach(
        _ attachment: Attachment, _ device: Int32, to client: ServerClient, of volume: VolumePaths, timeout: Duration
    ) throws(SystemFailure) -> SessionProof {
        let deadline = Deadline(after: timeout)
        var client = client
        while true {
            do {
                return try client.attach(attachment, device, timeout: timeout)
            } catch  where Self.isPassing(error) && !deadline.hasPassed {
                usleep(20_000)
                client = try self.client(for: volume)
            }
        }
    }

    /// The server has not taken the session, and the next one will.
    private static func isPassing(_ failure: SystemFailure) -> Bool {
        failure.errno == Errno(EAGAIN) || failure.isHangUp
    }

    /// A connection to the server, or nil where none runs.
    public func running(_ volume: VolumePaths) throws(SystemFailure) -> ServerClient? {
        do {
            return try ServerClient(socket: volume.controlSocket)
        } catch  where error.errno == .noEntry || error.errno == Errno(ECONNREFUSED) {
            return runningElsewhere(volume)
        }
    }

    /// A server that was started with another runtime directory: jobs and containers often have no
    /// XDG_RUNTIME_DIR. It listens in the volume's directory, too, and says in the lock file where else.
    private func runningElsewhere(_ volume: VolumePaths) -> ServerClient? {
        if let client = try? ServerClient(socket: volume.innerSocket) { return client }
        // The line of a dead process, or of another machine's, names a place where anybody may listen by now.
        guard let note = LockNote(at: volume.lock), note.state == .serving, let socket = note.socket,
            socket != volume.controlSocket, note.isOfLivingProcess(on: .current())
        else { return nil }
        return try? ServerClient(socket: socket)
    }

    /// The program that engines start as a hook.
    public func hookProgram() throws(SystemFailure) -> String {
        try Self.sibling("berth-hook", of: program, environment)
    }

    /// Another program of this build: beside this one, or where $BERTH_LIBEXEC or PATH has it.
    static func sibling(
        _ name: String, of program: String, _ environment: [String: String]
    ) throws(SystemFailure) -> String {
        let own = program.parts(at: "/").dropLast().joined(separator: "/")
        let places = [environment["BERTH_LIBEXEC"], own].compactMap { $0 }.filter { $0.hasPrefix("/") }
        if let found = places.map({ place -> String in "\(place)/\(name)" }).first(where: { access($0, X_OK) == 0 }) {
            return found
        }
        if let found = Spawn.find(name, path: environment["PATH"]) { return found }
        throw SystemFailure(
            name, "is not beside \(program) and not in PATH",
            fix: "install all three programs of Berth in one directory",
            errno: .noEntry, status: .unavailable)
    }
}

extension ServerSupervisor {
    /// Replaces this process by another program of the build, started with these words and then the raw ones.
    /// Returns only where that fails.
    public func become(
        _ name: String, _ words: [String], _ raw: [UnsafeMutablePointer<CChar>] = []
    ) throws(SystemFailure) -> SystemFailure {
        let path = try Self.sibling(name, of: program, environment)
        return SystemFailure(path, "cannot be started", ProcessImage.become(path, words, raw))
    }

    /// Starts a program of this build in the background and waits until it says that it is ready. `withKeys`: it asks
    /// stores, or starts what does.
    public func startDetached(
        _ name: String, _ words: [String], log: String, as description: String, withKeys: Bool
    ) throws(SystemFailure) {
        let ready = try ReadinessPipe()
        let output = try explaining(log, "the log cannot be opened") { () throws(Errno) in
            try FileDescriptor.open(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW)
        }
        let null = try explaining("/dev/null", "cannot be opened") { () throws(Errno) in
            try FileDescriptor.open("/dev/null", O_RDONLY)
        }
        let readyNumber: Int32 = 3
        var command = Command(
            try Self.sibling(name, of: program, environment), words + ["--ready-fd", "\(readyNumber)"],
            environment: Self.inherited(
                environment, withKeys: withKeys, names: CachePlaces.variables(VolumeRegistry(paths: paths))))
        command.descriptors = [
            .init(from: null.rawValue, to: 0), .init(from: output.rawValue, to: 1), .init(from: output.rawValue, to: 2),
            .init(from: ready.childEnd, to: readyNumber),
        ]
        // For its log. Not for the plugin, which is everybody's, whatever job started it.
        if name == "berthfs" { command.environment[Self.jobVariable] = environment[Self.jobVariable] }
        command.newSession = true
        command.directory = "/"
        let child = try Spawn.start(command)
        // Reaped by a thread that does nothing else: a long-lived parent must leave no zombies.
        _ = WorkerThread(name: "berth-reap") { _ = Spawn.wait(for: child) }
        try ready.wait(for: description, log: log, timeout: Self.startTimeout)
    }
}
