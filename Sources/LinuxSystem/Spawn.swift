import CLinux
import FileModel
import Glibc

/// Starts and awaits processes with posix_spawn: safe in a process with threads, as fork is not.
public enum Spawn {
    /// Starts a program with every signal at its default and unblocked.
    public static func start(_ command: Command) throws(SystemFailure) -> pid_t {
        var parked: [Int32] = []
        defer { for number in parked { close(number) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for remap in command.descriptors {
            // Parked high first, so that one remap's target cannot overwrite another's source.
            let number = berth_duplicate_from(remap.from, 200)
            guard number >= 0 else { throw cannotStart(command, .current) }
            parked.append(number)
            posix_spawn_file_actions_adddup2(&actions, number, remap.to)
        }
        // What the caller's own starter left open must not live on in a server.
        posix_spawn_file_actions_addclosefrom_np(&actions, 1 + max(2, command.descriptors.map(\.to).max() ?? 2))
        if let directory = command.directory { posix_spawn_file_actions_addchdir_np(&actions, directory) }

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        setFlags(&attributes, newSession: command.newSession)

        var argv = ([command.executable] + command.arguments).map { strdup($0) } + [nil]
        var environment = command.environment.map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in argv + environment { free(text) } }
        var child = pid_t()
        let result = posix_spawn(&child, command.executable, &actions, &attributes, &argv, &environment)
        guard result == 0 else { throw cannotStart(command, Errno(result)) }
        return child
    }

    /// Waits for a child of ours to end; nil when `timeout` passed first.
    public static func wait(for child: pid_t, timeout: Duration? = nil) -> ChildEnd? {
        if timeout != nil {
            let number = berth_pidfd_open(child)
            if number >= 0 {
                let descriptor = FileDescriptor(owning: number)
                guard (try? descriptor.waitReadable(until: Deadline(after: timeout))) == true else { return nil }
            }
        }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 {
            // Somebody else reaped it: it ended, and nobody can say how.
            guard errno == EINTR else { return .exited(-1) }
        }
        return berth_exited(status) != 0
            ? .exited(berth_exit_code(status)) : .killed(signal: berth_signal(status))
    }

    /// Runs a program to its end and keeps what it wrote, at most `limit` bytes of each stream (more is
    /// read and dropped). It is killed when `timeout` passes.
    public static func run(
        _ command: Command, timeout: Duration, limit: Int = 1 << 20
    ) throws(SystemFailure) -> Outcome {
        var command = command
        let deadline = Deadline(after: timeout)
        var streams = CapturedStreams(limit: limit)
        let child: pid_t
        do {
            let null = try FileDescriptor.open("/dev/null", O_RDONLY)
            let output = try FileDescriptor.pipe()
            let errors = try FileDescriptor.pipe()
            command.descriptors += [
                .init(from: null.rawValue, to: 0), .init(from: output.second.rawValue, to: 1),
                .init(from: errors.second.rawValue, to: 2),
            ]
            child = try start(command)
            // Our copies of the write ends go: else the streams would never end.
            streams.output = output.takeFirst()
            streams.errors = errors.takeFirst()
        } catch let error as Errno {
            throw cannotStart(command, error)
        } catch let error as SystemFailure {
            throw error
        } catch {
            throw SystemFailure(command.executable, "\(error)", status: .software)
        }
        streams.collect(until: deadline)
        let left = Duration.milliseconds(Int64(deadline.remainingMilliseconds))
        guard let end = wait(for: child, timeout: left) else {
            kill(child, SIGKILL)
            _ = wait(for: child)
            throw SystemFailure(
                command.executable, "did not end within \(timeout)", errno: Errno(ETIMEDOUT), status: .temporaryFailure)
        }
        return Outcome(
            end: end, output: String(decoding: streams.outputBytes, as: UTF8.self),
            errors: String(decoding: streams.errorBytes, as: UTF8.self))
    }

    /// Where a program is: first in the directories of `path` (as $PATH), then in the usual ones.
    public static func find(_ program: String, path: String?) -> String? {
        let usual = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin"]
        let places = (path ?? "").words(at: ":").map(String.init).filter { $0.startsWithBytes(of: "/") } + usual
        return places.lazy.map { "\($0)/\(program)" }.first { access($0, X_OK) == 0 }
    }

    private static func setFlags(_ attributes: inout posix_spawnattr_t, newSession: Bool) {
        var none = sigset_t()
        sigemptyset(&none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        var flags = Int32(POSIX_SPAWN_SETSIGDEF) | Int32(POSIX_SPAWN_SETSIGMASK)
        if newSession { flags |= Int32(BERTH_POSIX_SPAWN_SETSID) }
        posix_spawnattr_setflags(&attributes, Int16(truncatingIfNeeded: flags))
    }

    private static func cannotStart(_ command: Command, _ errno: Errno) -> SystemFailure {
        SystemFailure(command.executable, "cannot be started", errno, status: .unavailable)
    }
}

/// The two output streams of a child, read as they come.
private struct CapturedStreams: ~Copyable {
    let limit: Int
    var output: FileDescriptor?
    var errors: FileDescriptor?
    var outputBytes: [UInt8] = []
    var errorBytes: [UInt8] = []

    init(limit: Int) {
        self.limit = limit
    }

    /// Reads both until both are closed or time is up.
    mutating func collect(until deadline: Deadline) {
        var outputOpen = true
        var errorsOpen = true
        var buffer = [UInt8](repeating: 0, count: 16384)
        while outputOpen || errorsOpen {
            let first = output?.rawValue ?? -1
            let second = errors?.rawValue ?? -1
            // poll skips negative descriptors.
            var entries = [
                pollfd(fd: outputOpen ? first : -1, events: Int16(POLLIN), revents: 0),
                pollfd(fd: errorsOpen ? second : -1, events: Int16(POLLIN), revents: 0),
            ]
            let count = poll(&entries, 2, deadline.remainingMilliseconds)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            if entries[0].revents != 0 { outputOpen = Self.read(first, &buffer, into: &outputBytes, limit) }
            if entries[1].revents != 0 { errorsOpen = Self.read(second, &buffer, into: &errorBytes, limit) }
        }
    }

    private static func read(_ number: Int32, _ buffer: inout [UInt8], into bytes: inout [UInt8], _ limit: Int) -> Bool
    {
        let count = Glibc.read(number, &buffer, buffer.count)
        guard count > 0 else { return count < 0 && errno == EINTR }
        bytes.append(contentsOf: buffer[..<min(count, max(0, limit - bytes.count))])
        return true
    }
}
