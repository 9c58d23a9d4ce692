import FileModel
import Glibc
import LinuxSystem

/// Another ordinary user of the same machine, whom the first has no reason to trust. Tests of attacks need both: where the
/// tests run without root there is no way to be two users, and they fail.
public final class SecondUser: Sendable {
    public static let name = "berth-other"

    public let userID: UInt32
    /// A directory of theirs, open to all, as a hostile user leaves one.
    public let directory: String
    /// Works in `directory`, with the programs under test in PATH and nothing of the first user's environment.
    public let shell: Shell

    private static let made: Result<UInt32, any Error> = Result {
        guard geteuid() == 0 else { throw TestFailure("tests with two users must run as root") }
        try Shell.root.run("'\(Programs.packaging("test-user.sh"))' \(name)")
        guard let number = UInt32(try Shell.root.run("id -u \(name)")) else {
            throw TestFailure("the second user has no account")
        }
        return number
    }

    public init() throws {
        userID = try Self.made.get()
        directory = try Shell.root.run(
            "d=$(mktemp -d /tmp/bo.XXXXXX) && chown \(Self.name): $d && chmod 0755 $d && echo $d")
        var shell = Shell(
            user: Self.name,
            environment: [
                "PATH": "\(try Programs.shared()):/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": directory,
                "BERTH_RUNTIME_DIR": "\(directory)/r", "LANG": "C.UTF-8",
            ])
        shell.directory = directory
        self.shell = shell
    }

    deinit {
        _ = try? shell.attempt("berth stop --all --force")
        _ = try? Shell.root.attempt("rm -rf --one-file-system '\(directory)'")
    }
}
