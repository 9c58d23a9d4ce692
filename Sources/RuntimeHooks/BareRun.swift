import CLinux
import Control
import FileModel
import Glibc
import LinuxSystem
import Volumes

/// Shows volumes at their paths to one program, in a user and a mount namespace of its own, and becomes that program:
/// no process stays in between, so signals, the terminal and the exit status are the program's own. The mounts end
/// with the namespace's last process.
///
/// The process must have one thread, and must not have changed what the program inherits (signals, umask).
public struct BareRun {
    private static let attachTimeout = Duration.seconds(15)

    private let task: RunTask

    public init(_ task: RunTask) {
        self.task = task
    }

    /// Returns only where the program cannot be started, with the exit status that says so, as shells have it.
    public func run() -> Int32 {
        do throws(SystemFailure) {
            try prepare()
        } catch {
            ProcessEnvironment.complain("berth: \(error.message)")
            return error.status.rawValue
        }
        let program = ProcessImage.wordsAfterTerminator()
        let error = ProcessImage.become(program)
        let name = program.first.map { String(cString: $0) } ?? ""
        ProcessEnvironment.complain("berth: \(name): cannot be started: \(error)")
        return error == .noEntry ? 127 : 126
    }

    private func prepare() throws(SystemFailure) {
        guard let place = getcwd(nil, 0) else {
            throw SystemFailure("the working directory", "cannot be found out", .current)
        }
        defer { free(place) }
        let directory = String(cString: place)
        // What /etc says of the user, and the servers, are found while the world is as it was.
        let identity: Identity =
            geteuid() == 0 ? .mountInOwnNamespace() : .alone(userID: geteuid(), groupID: getegid())
        var clients: [ServerClient] = []
        for place in task.places { clients.append(try ServerClient(socket: place.socket)) }
        do throws(SystemFailure) {
            try PrivateNamespaces.enter()
        } catch {
            throw offeringHostMount(error)
        }
        var tree = PrivateTree()
        let targets = try tree.prepare(task.places.map(\.path.description))
        for entry in tree.missing { ProcessEnvironment.complain("berth: warning: not shown to the program: \(entry)") }
        for (index, place) in task.places.enumerated() {
            try mount(place, at: targets[index], clients[index], identity)
        }
        guard chdir(directory) == 0 else {
            throw SystemFailure(
                "the working directory \(directory)", "is not there beside the volumes", .current,
                fix: "start in another directory")
        }
    }

    private func mount(
        _ place: RunTask.Place, at target: String, _ client: ServerClient, _ identity: Identity
    ) throws(SystemFailure) {
        let device = try KernelMount.openDevice()
        try KernelMount.mount(
            device, name: place.volume, at: target, flags: KernelMount.untrusted, readOnly: place.readOnly,
            userID: geteuid(), groupID: getegid())
        let session = SessionMarker.newSession()
        let attachment = Attachment(
            session: session, mountpoint: place.path.description, readOnly: place.readOnly, identity: identity,
            origin: SessionOrigin(
                runtime: .run, namespace: ProcessTable.namespace("mnt", of: "self"),
                environment: ProcessEnvironment.current(), device: MountInfo.device(at: target)),
            snapshot: try VolumeReference(place.volume).snapshot?.description)
        // The only proof that the program will not see an empty directory.
        try client.attach(attachment, device.rawValue, timeout: Self.attachTimeout).check(target)
    }

    private func offeringHostMount(_ failure: SystemFailure) -> SystemFailure {
        let name = task.places.first?.volume ?? "NAME"
        return SystemFailure(
            failure.subject, failure.cause,
            fix: "use a mount on the host instead (`mkdir DIR && berth mount \(name) DIR`), or ask for user namespaces",
            errno: failure.errno, status: failure.status)
    }
}
