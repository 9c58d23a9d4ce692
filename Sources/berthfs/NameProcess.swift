import Glibc
import LinuxSystem

/// The process that answers a server's questions about users and groups. The keeper starts it and never waits for it: a
/// name service may hang. At most one runs.
struct NameProcess {
    /// One that the kernel cannot end at once is left to itself: the keeper has others to answer.
    private static let endTimeout = Duration.seconds(1)

    private let program: String
    private var child: pid_t?

    init(program: String) {
        self.program = program
    }

    /// Starts another, and answers the socket to it; nil where no process can be had.
    mutating func start() -> FileDescriptor? {
        end()
        let number: Int32 = 3
        guard let pair = try? UnixSocket.pair() else { return nil }
        var command = Command(
            program, ["names", "--socket", "\(number)"], environment: ProcessEnvironment.current())
        command.descriptors = [.init(from: pair.second.rawValue, to: number)]
        guard let started = try? Spawn.start(command) else { return nil }
        child = started
        return pair.takeFirst()
    }

    /// One that hangs in a name service is killed: what it knows is asked for again.
    mutating func end() {
        guard let child else { return }
        self.child = nil
        kill(child, SIGKILL)
        _ = Spawn.wait(for: child, timeout: Self.endTimeout)
    }
}
