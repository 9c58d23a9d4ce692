import LinuxSystem
import TestSupport
import Testing

/// `install.sh` where another user of the machine has been before.
@Suite("installing beside others", .serialized)
struct PlantedTests {
    /// The script in a tarball's layout, with programs that only say that they ran.
    private func tarball(_ site: UserSite, as directory: String = "a") throws {
        let script = Programs.packaging("install.sh")
        try Shell.root.run("install -m 0755 -D '\(script)' '\(site.directory)/\(directory)/install.sh'")
        try Shell.root.run(
            """
            set -e; cd '\(site.directory)/\(directory)'; mkdir -p bin docs hooks share/man/man1 share/completions share/systemd/user share/grafana
            for p in berth berthfs berth-hook; do
                printf '#!/bin/sh\\necho 1.2.3\\n' > bin/$p; chmod 755 bin/$p
                touch share/man/man1/$p.1 share/completions/$p.bash share/completions/_$p share/completions/$p.fish
            done
            echo ExecStart=x > share/systemd/user/berth.service; touch share/systemd/user/berth.socket share/grafana/berth.json README.md
            chown -R \(try TestUser.shared().name): .
            """)
    }

    @Test("install.sh writes nothing below a directory that another user can change, and says which and what to do")
    func prefix() throws {
        let (site, other) = (try UserSite(), try SecondUser())
        try tarball(site)
        try other.shell.run("mkdir -m 0777 open; mkdir -m 1777 sticky; ln -s '\(other.directory)/open' link")
        try site.shell.run("mkdir -m 0777 loose; ln -s '\(other.directory)/open' own")
        for prefix in [
            "\(other.directory)/open/p", "\(other.directory)/link", "own/p", "loose/deep/p",
            "\(other.directory)/sticky",
        ] {
            let outcome = try site.shell.attempt("a/install.sh --prefix \(prefix)")
            #expect(outcome.end == .exited(77), "\(prefix): \(outcome.output)\(outcome.errors)")
            #expect(
                outcome.errors.contains("belongs to uid \(other.userID)")
                    || outcome.errors.contains("can be written to by others"),
                "\(outcome.errors)")
        }
        #expect(
            try site.shell.attempt("a/install.sh --prefix loose/p").errors.contains(
                "run: chmod go-w \(site.directory)/loose, or"))
        #expect(
            try Shell.root.run(
                "find '\(other.directory)/open' '\(other.directory)/sticky' '\(site.directory)/loose' -mindepth 1")
                == "")
        // With a group of theirs that the site trusts.
        #expect(try site.shell.run("a/install.sh --shared --prefix loose/p").hasPrefix("installed Berth 1.2.3 in"))
    }

    @Test("install.sh runs no program that another user planted, and follows none of their links in the prefix")
    func planted() throws {
        let (site, other) = (try UserSite(), try SecondUser())
        try tarball(site)
        let programs = ["dirname", "sed", "id", "stat", "cp", "mv", "mkdir", "berth", "find", "cat"]
        for program in programs {
            try other.shell.run(
                "printf '#!/bin/sh\\ntouch \(site.directory)/ran-\(program)\\n' > \(program); chmod 755 \(program)")
        }
        try site.shell.run(
            "cp '\(other.directory)'/* . ; mkdir -p p/bin p/share; echo mine > precious; ln -s $PWD/precious p/bin/berthfs; mkdir p/bin/berth"
        )
        try Shell.root.run(
            "cd '\(site.directory)'; install -m 0755 -o \(SecondUser.name) '\(other.directory)/berth' p/bin/berth-hook; rmdir p/bin/berth; install -m 0755 -o \(SecondUser.name) '\(other.directory)/berth' p/bin/berth"
        )
        let text = try site.shell.run("PATH=.:\(other.directory):$PATH a/install.sh --prefix p")
        #expect(text.contains("installed Berth 1.2.3 in \(site.directory)/p\n"), "no old version was asked: \(text)")
        #expect(try site.shell.run("ls | grep ran- || true") == "")
        #expect(
            try site.shell.run("cat precious; p/bin/berth; find p ! -user $(id -un); find p -name '.*'")
                == "mine\n1.2.3")
    }

    @Test(
        "install.sh installs nothing from a tarball that another user can change, and a home of one's own group will do"
    )
    func source() throws {
        let (site, other) = (try UserSite(), try SecondUser())
        try tarball(site, as: "open/a")
        try Shell.root.run("chmod 0777 '\(site.directory)/open'")
        let outcome = try site.shell.attempt("open/a/install.sh")
        #expect(
            outcome.end == .exited(77) && outcome.errors.contains("\(site.directory)/open: can be written to by others")
        )
        try Shell.root.run("cd '\(site.directory)'; chmod 0755 open; chown \(SecondUser.name) open/a/bin/berth")
        let file = try site.shell.attempt("open/a/install.sh")
        #expect(
            file.end == .exited(77) && file.errors.contains("bin/berth: is not a file of yours alone"), "\(file.errors)"
        )
        #expect(try site.shell.run("ls -A h") == "")
        try Shell.root.run(
            "cd '\(site.directory)'; chown \(try TestUser.shared().name): open open/a/bin/berth; chmod 0775 open")
        #expect(
            try site.shell.run("umask 002; mkdir -p h/.local/share; open/a/install.sh").hasPrefix("installed Berth"))
        _ = other
    }
}
