import Glibc
import LinuxSystem
import TestSupport

/// A machine as podman may find it: an OCI runtime, and `/` private or shared.
struct Machine: Sendable, CustomStringConvertible {
    var runtime: String
    var propagation: String

    var description: String { "\(runtime), / \(propagation)" }

    static let all = ["crun", "runc"].flatMap { runtime in
        ["private", "shared"].map { Machine(runtime: runtime, propagation: $0) }
    }
    /// Both OCI runtimes, where propagation makes no difference.
    static let runtimes = ["crun", "runc"].map { Machine(runtime: $0, propagation: "private") }
    static let usual = Machine(runtime: "runc", propagation: "private")
}

/// One ordinary user with an empty podman, the plugin registered and running, and the image made.
///
/// Every script runs in a mount namespace of its own, so mounts on "the host" last as long as the script does.
final class PodmanHost: Sendable {
    let site: UserSite
    let machine: Machine
    private let shell: Shell

    /// `prepare` is run by root in the namespace of each script, to take something away from the machine. `settings`
    /// is what the user has in berth.conf.
    init(_ machine: Machine = .usual, prepare: String = ":", settings: String = "") throws {
        self.machine = machine
        site = try UserSite()
        var shell = site.shell
        shell.environment["XDG_RUNTIME_DIR"] = "\(site.directory)/x"
        // Podman looks for it where a login would have put it; what the tests start must use the same.
        shell.environment["BERTH_RUNTIME_DIR"] = nil
        shell.environment["IMAGE"] = "localhost/berth-bb"
        shell.environment["RUN"] = "podman --log-level=error run --rm --runtime \(machine.runtime) --network none"
        var wrapper = ["unshare", "--mount", "--propagation", machine.propagation]
        if machine.runtime == "crun" {
            // crun refuses cgroups of both versions at once; a machine with version 2 alone is what it expects.
            wrapper += [
                "bash", "-c",
                "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"", "bash",
            ]
        }
        shell.wrapper = wrapper
        if prepare != ":" { shell.environment["SETUP_MAY_FAIL"] = "1" }
        if prepare != ":" { wrapper += ["bash", "-c", "\(prepare)\nexec \"$@\"", "bash"] }
        shell.wrapper = wrapper
        self.shell = shell
        if !settings.isEmpty {
            try site.shell.run(
                "install -d -m 0700 \"$HOME/.config\" \"$HOME/.config/berth\"; cat > \"$HOME/.config/berth/berth.conf\" <<'END'\n\(settings)\nEND"
            )
        }
        try site.shell.run("mkdir -m 0700 '\(site.directory)/x'; install -d '\(site.directory)/p'")
        try Shell.root.run("install -m 0755 '\(Programs.packaging("make-image.sh"))' '\(site.directory)/make-image'")
    }

    deinit {
        // The pause process belongs to this test alone: its pid file lies in our directory.
        _ = try? Shell.root.attempt(
            "cd '\(site.directory)/x' && for f in libpod/tmp/pause.pid libpod/pause.pid; do [ -f $f ] && kill -9 $(cat $f); done; "
                + "for p in $(pgrep -f '^([^ ]*/)?berth(fs)? serve' ); do grep -qs 'XDG_RUNTIME_DIR=\(site.directory)/x' /proc/$p/environ && kill -9 $p; done; true"
        )
    }

    /// Setup, plugin and image, in front of every script.
    private let preamble = """
        set -u
        { berth setup >/dev/null || [ -n "${SETUP_MAY_FAIL:-}" ]; } && berth serve --detach >/dev/null && ./make-image $IMAGE || exit 99
        trap 'podman rm -fa -t 0 >/dev/null 2>&1; berth stop >/dev/null 2>&1; true' EXIT

        """

    func attempt(_ script: String, timeout: Duration = .seconds(600)) throws -> Outcome {
        try shell.attempt(preamble + script, timeout: timeout)
    }

    func run(_ script: String, timeout: Duration = .seconds(600)) throws -> String {
        try shell.run(preamble + "set -e\n" + script, timeout: timeout)
    }
}
