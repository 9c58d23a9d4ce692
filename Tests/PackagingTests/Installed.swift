import FileModel
import Glibc
import LinuxSystem
import TestSupport

/// An ordinary user on whose machine Berth is what `make dist` gave, and nothing else: a place to install it, and a
/// shell that finds it there only.
final class Installed: Sendable {
    let site: UserSite
    let shell: Shell

    /// Where the programs are, in the user's directory.
    init(programs: String) throws {
        site = try UserSite()
        var shell = site.shell
        shell.environment["PATH"] = "\(site.directory)/\(programs):/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.shell = shell
        try shell.run("! type berth berthfs berth-hook 2>/dev/null")
    }

    deinit {
        _ = try? shell.attempt("berth stop --all --force")
    }

    /// With the tarball unpacked in `b`.
    static func unpacked() throws -> Installed {
        let host = try Installed(programs: "b/bin")
        try host.unpack(as: "b")
        return host
    }

    /// Unpacks the tarball as the user, and calls its directory `directory`.
    func unpack(as directory: String) throws {
        let tarball = try Programs.distributed(".tar.gz")
        try Shell.root.run("install -m 0644 '\(tarball)' '\(site.directory)/berth.tar.gz'")
        try shell.run(
            "mkdir -p '\(directory)' && tar -xzf berth.tar.gz --strip-components 1 -C '\(directory)' && rm berth.tar.gz"
        )
    }

    /// Installs the Debian package with dpkg, below `tree`, with a package database of its own.
    func installPackage(below tree: String) throws {
        try Shell.root.run(
            """
            mkdir -p '\(tree)/var/lib/dpkg/info' '\(tree)/var/lib/dpkg/updates' && touch '\(tree)/var/lib/dpkg/status'
            dpkg --root='\(tree)' --log=/dev/null --force-depends -i '\(try Programs.distributed(".deb"))' 2>&1
            """)
    }

    /// Runs the demo as it is, with fewer files: setup, plugin, podman by volume and by annotation, a host mount.
    func demo(programs: String) throws -> Outcome {
        for script in ["demo.sh", "make-image.sh", "podman-runtime.sh"] {
            try Shell.root.run("install -m 0755 -D '\(Programs.packaging(script))' '\(site.directory)/demo/\(script)'")
        }
        var shell = shell
        let runtime = "\(site.directory)/x"
        shell.environment["XDG_RUNTIME_DIR"] = runtime
        shell.environment["BERTH_RUNTIME_DIR"] = nil
        shell.environment["BERTH_DEMO_FILES"] = "60"
        shell.environment["TMPDIR"] = "\(site.directory)/t"
        // Mounts on "the host" last as long as the script does.
        shell.wrapper = ["unshare", "--mount", "--propagation", "private"]
        defer { endPauseProcess(runtime) }
        return try shell.attempt(
            "mkdir -m 0700 x t; demo/demo.sh '\(programs)'; status=$?; berth stop --all --force >/dev/null; exit $status"
        )
    }

    /// The one that podman left, known by the file in our own directory.
    private func endPauseProcess(_ runtime: String) {
        _ = try? Shell.root.attempt(
            "cd '\(runtime)' && for f in libpod/tmp/pause.pid libpod/pause.pid; do [ -f $f ] && kill -9 $(cat $f); done; true"
        )
    }
}
