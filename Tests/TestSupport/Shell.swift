import FileModel
import Glibc
import LinuxSystem

/// Runs shell scripts as one user of this machine, with an environment of its own.
public struct Shell: Sendable {
    /// Nil: as the test's own user.
    public var user: String?
    public var environment: [String: String]
    /// Words before `bash`, such as `unshare -m`.
    public var wrapper: [String] = []
    public var directory: String?

    public init(user: String? = nil, environment: [String: String]) {
        self.user = user
        self.environment = environment
    }

    private static let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    /// As the user that runs the tests, with nothing of its environment but PATH.
    public static let root = Shell(environment: ["PATH": path, "HOME": "/root", "LANG": "C.UTF-8"])

    /// Runs a script to its end, whatever that is.
    public func attempt(_ script: String, timeout: Duration = .seconds(600)) throws -> Outcome {
        var words = wrapper
        if let user, geteuid() == 0 {
            words += [
                "bash", "-c", "exec setpriv --reuid $1 --regid $(id -g $1) --init-groups -- bash -c \"$2\"", "bash",
                user, script,
            ]
        } else {
            words += ["bash", "-c", script]
        }
        guard let program = Spawn.find(words[0], path: environment["PATH"] ?? Self.path) else {
            throw TestFailure("\(words[0]) is not installed")
        }
        var command = Command(program, Array(words.dropFirst()), environment: environment)
        command.directory = directory
        return try Spawn.run(command, timeout: timeout, limit: 16 << 20)
    }

    /// Runs a script that must succeed. Returns what it printed, without the last newline.
    @discardableResult
    public func run(_ script: String, timeout: Duration = .seconds(600)) throws -> String {
        let outcome = try attempt(script, timeout: timeout)
        guard outcome.succeeded else {
            throw TestFailure("\(script)\nended with \(outcome.end)\n\(outcome.output)\(outcome.errors)")
        }
        return outcome.output.hasSuffix("\n") ? String(outcome.output.dropLast()) : outcome.output
    }
}

/// Waits for something that happens soon, and says what did not.
public func eventually(_ what: String, within limit: Duration = .seconds(240), _ condition: () throws -> Bool) throws {
    let deadline = Deadline(after: limit)
    while true {
        if try condition() { return }
        guard !deadline.hasPassed else { throw TestFailure("\(what): not within \(limit)") }
        usleep(50_000)
    }
}
