import CLinux
import Control
import FileModel
import Glibc
import LinuxSystem
import Volumes

/// A mount that a container runtime made itself: it opened `/dev/fuse`, mounted it, and starts us with the descriptor
/// (`berthfs NAME /dev/fd/N`). The descriptor goes to the volume's one server; where we were asked to stay, we stay
/// until the session has ended or we are told to end.
///
/// Observed with Apptainer 1.4.5 (`--fusemount`): the environment holds PATH only, the working directory is `/`, we run
/// in the container's user namespace, and SIGTERM comes when the container has ended. The container starts whatever
/// becomes of us, so that each refusal is also written to the volume's log.
struct DescriptorMount {
    private static let attachTimeout = Duration.seconds(15)
    private static let pollSeconds = 1.0
    /// Questions without an answer after which there is no server.
    private static let patience = 10

    let number: Int32
    let name: String
    let readOnly: Bool
    let site: SitePaths
    let service: MountService

    /// Nil where `path` names no descriptor. `home` goes before $HOME.
    init?(path: String, name: String, readOnly: Bool, home: String?, program: String) {
        let prefixes = ["/dev/fd/", "/proc/self/fd/"]
        guard let prefix = prefixes.first(where: { path.startsWithBytes(of: $0) }),
            let number = Int32(path.droppingBytes(first: prefix.utf8.count)), number >= 0
        else { return nil }
        var environment = ProcessEnvironment.current()
        environment["HOME"] = home ?? environment["HOME"]
        // In `apptainer --fakeroot` we look like root, and belong to somebody else.
        let site = SitePaths(environment: environment, userID: Identity.userOutside())
        // What a server that we start cannot find out by itself.
        environment["HOME"] = site.home
        environment["BERTH_RUNTIME_DIR"] = site.runtime
        self.number = number
        self.name = name
        self.readOnly = readOnly
        self.site = site
        service = MountService(paths: site, environment: environment, program: program)
    }

    func run(foreground: Bool) throws(SystemFailure) {
        do throws(SystemFailure) {
            let asked = Latch()
            if foreground { Signals.onTermination(asked.open) }
            let session = try attach()
            if foreground { try hold(session, until: asked) }
        } catch {
            writeDown(error)
            throw error
        }
    }

    private func attach() throws(SystemFailure) -> String {
        // Ours must go at the end, or the kernel would wait for answers from nobody.
        let device = FileDescriptor(owning: number)
        guard fcntl(number, F_GETFD) >= 0 else {
            throw SystemFailure("descriptor \(number)", "is not open", .current, status: .usage)
        }
        guard FUSEDevice.isOne(number) else {
            throw SystemFailure(
                "descriptor \(number)", "is not /dev/fuse", fix: "name a directory, or use apptainer's --fusemount",
                status: .usage)
        }
        _ = fcntl(number, F_SETFD, FD_CLOEXEC)
        let record = try service.registry.record(try VolumeName(name))
        let client = try client(record.name)
        let session = SessionMarker.newSession()
        let attachment = Attachment(
            session: session, mountpoint: "a descriptor of process \(getppid())", readOnly: readOnly,
            identity: .mountInOwnNamespace(),
            origin: SessionOrigin(
                runtime: .apptainer, namespace: ProcessTable.namespace("mnt", of: "self"),
                environment: ProcessEnvironment.current()))
        _ = try service.supervisor.attach(
            attachment, device.rawValue, to: client, of: site.volume(record.name), timeout: Self.attachTimeout)
        return session
    }

    /// The one server, started where none runs. Not inside a container with processes of its own: it would be killed
    /// with the last of them, and what they wrote last would be lost.
    private func client(_ volume: String) throws(SystemFailure) -> ServerClient {
        if let client = try service.supervisor.running(site.volume(volume)) { return client }
        let first = ((try? AtomicFile.read("/proc/1/comm")) ?? nil).map { String(decoding: $0, as: UTF8.self) } ?? ""
        // What Apptainer and Singularity call the first process, and what it is before.
        guard !["appinit\n", "sinit\n", "starter\n", "starter-suid\n"].contains(first) else {
            throw SystemFailure(
                "volume \"\(volume)\"", "has no server outside, and one inside a container would end with it",
                fix: "start one first with `eval \"$(berth env)\"`, or use --fusemount host-daemon:…",
                status: .unavailable)
        }
        return try service.supervisor.client(for: site.volume(volume))
    }

    private func hold(_ session: String, until asked: Latch) throws(SystemFailure) {
        let volume = site.volume(name)
        var silence = 0
        while !asked.wait(seconds: Self.pollSeconds) {
            // A new connection each time: the server may have been replaced, and be silent for a moment.
            guard let client = try service.supervisor.running(volume) else { return }
            do {
                guard try client.isServing(session) else { return }
                silence = 0
            } catch {
                silence += 1
                guard silence < Self.patience else { throw error }
            }
        }
        guard let client = try service.supervisor.running(volume) else { return }
        // What was written is safe before we say that we have ended.
        try client.ask(.sync, timeout: .seconds(60))
        try client.ask(.detach(session: session), timeout: .seconds(10))
    }

    /// Where people look: standard error is nobody's here.
    private func writeDown(_ failure: SystemFailure) {
        let file = (try? VolumeName(name)).map { site.volume($0.description).log } ?? "\(site.logs)/berthfs.log"
        guard (try? SecureDirectory.make(site.logs)) != nil,
            let log = try? FileDescriptor.open(file, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW)
        else { return }
        let record = LogRecord(
            program: "berthfs", level: "error", message: "not mounted for a container",
            fields: [LogField.volume.rawValue: name, LogField.cause.rawValue: failure.message])
        let format = LogFormat.chosen(nil, ProcessEnvironment.current(), try? UserSettings.load(site))
        try? log.write(Array(record.line(format).utf8))
    }
}
