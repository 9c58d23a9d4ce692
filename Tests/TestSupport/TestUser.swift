import FileModel
import Glibc
import LinuxSystem

/// The ordinary user that runs the product in tests. Where the tests themselves run without root, it is theirs.
public struct TestUser: Sendable {
    public let name: String
    public let userID: UInt32
    public let home: String

    /// Made by the project's own script, once per process.
    public static func shared() throws -> TestUser {
        switch made {
        case .success(let user): return user
        case .failure(let error): throw error
        }
    }

    private static let made: Result<TestUser, any Error> = Result {
        if geteuid() == 0 { try Shell.root.run("'\(Programs.packaging("test-user.sh"))' berth-test") }
        let id = try Shell.root.run(geteuid() == 0 ? "id -u berth-test" : "id -u")
        guard let number = UInt32(id), let account = Account.named(id: number) else {
            throw TestFailure("the test user has no account")
        }
        return TestUser(name: account.name, userID: number, home: account.home)
    }
}

/// A fresh account directory: its own HOME, cache and runtime directory, and the shell to work in it.
public final class UserSite: Sendable {
    public let directory: String
    public let home: String
    public let runtime: String
    public let shell: Shell

    /// As the ordinary test user, or as the user that runs the tests.
    public convenience init(ordinary: Bool = true) throws {
        try self.init(as: ordinary ? try TestUser.shared().name : nil)
    }

    /// As an account that is there; nil: as the user that runs the tests.
    public init(as name: String?) throws {
        let programs = try Programs.shared()
        directory = try Shell.root.run("mktemp -d /tmp/bt.XXXXXX")
        home = "\(directory)/h"
        runtime = "\(directory)/r"
        let owner =
            name.flatMap { geteuid() == 0 ? $0 : nil }.map { [directory] in "chown \($0): '\(directory)'; " } ?? ""
        try Shell.root.run("\(owner)chmod 0755 '\(directory)'")
        var shell = Shell(
            user: name,
            environment: [
                "PATH": "\(programs):/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home,
                "BERTH_RUNTIME_DIR": runtime, "LANG": "C.UTF-8",
            ])
        shell.directory = directory
        self.shell = shell
        try shell.run("mkdir -m 0700 '\(home)' '\(directory)/m'")
    }

    deinit {
        _ = try? shell.attempt(
            "berth stop --all --force; for m in '\(directory)'/m*; do fusermount3 -uz \"$m\"; done 2>/dev/null")
        // Commands that tell podman of volumes leave its pause process, which has copies of all mounts.
        _ = try? Shell.root.attempt(
            "for p in $(pgrep -x catatonit; pgrep -x podman); do tr '\\0' '\\n' </proc/$p/environ 2>/dev/null | grep -qx 'HOME=\(home)' && kill -9 $p; done; for m in '\(directory)'/m*; do umount -l \"$m\" 2>/dev/null; done; rm -rf --one-file-system '\(directory)'"
        )
    }

    /// A directory to mount at.
    public var mountpoint: String { "\(directory)/m" }

    /// The pid of a volume's server, as its own program tells it.
    public func server(of volume: String) throws -> Int32? { try process("server", of: volume) }

    /// The pid of the process that started the server, and would start it again.
    public func keeper(of volume: String) throws -> Int32? { try process("keeper", of: volume) }

    private func process(_ key: String, of volume: String) throws -> Int32? {
        let text = try shell.run("berth volume inspect '\(volume)' --json")
        guard let line = text.split(separator: "\n").first(where: { $0.contains("\"\(key)\"") }) else { return nil }
        return Int32(line.filter(\.isNumber))
    }

    /// The pids of a server and its keeper: both killed, nothing takes the server's place, as when the machine dies.
    public func wholeServer(of volume: String) throws -> String {
        guard let server = try server(of: volume), let keeper = try keeper(of: volume) else {
            throw TestFailure("volume \(volume) has no server, or one without a keeper")
        }
        return "\(keeper) \(server)"
    }
}
