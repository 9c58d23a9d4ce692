import LinuxSystem
import TestSupport
import Testing

/// What `make dist` makes, as the one who receives it uses it.
@Suite("packages", .serialized)
struct PackageTests {
    @Test("the tarball unpacked in a home directory runs the demo from there")
    func tarball() throws {
        let host = try Installed(programs: "h/apps/berth/bin")
        try host.unpack(as: "h/apps/berth")
        let place = "\(host.site.home)/apps/berth"
        let outcome = try host.demo(programs: "\(place)/bin")
        #expect(outcome.succeeded, "\(outcome.output)\(outcome.errors)")
        #expect(outcome.output.contains("every checksum is the same on the host"))
        #expect(outcome.output.contains("read-only at another path"))
        #expect(
            try host.shell.run("grep -h path \"$HOME\"/.config/berth/hooks.d/*").contains("\(place)/bin/berth-hook"))
        let board = Programs.packaging("grafana/berth.json")
        #expect(try Shell.root.attempt("cmp '\(board)' '\(place)/share/grafana/berth.json'").succeeded)
        #expect(try host.shell.run("find '\(place)' ! -user \"$(id -un)\"") == "")
    }

    @Test("the Debian package installs, runs the demo, is what it says it is, and leaves nothing when purged")
    func package() throws {
        let host = try Installed(programs: "tree/usr/bin")
        let tree = "\(host.site.directory)/tree"
        try host.installPackage(below: tree)
        let outcome = try host.demo(programs: "\(tree)/usr/bin")
        #expect(outcome.succeeded, "\(outcome.output)\(outcome.errors)")
        #expect(outcome.output.contains("every checksum is the same on the host"))
        #expect(try Shell.root.run("dpkg --root='\(tree)' --verify berth") == "")
        #expect(try Shell.root.attempt("test -s '\(tree)/usr/share/berth/grafana/berth.json'").succeeded)
        #expect(try Shell.root.run("find '\(tree)/usr' ! -uid 0 -o ! -gid 0 -o -perm /022 ! -type l") == "")
        try Shell.root.run("dpkg --root='\(tree)' --log=/dev/null --purge berth")
        #expect(try Shell.root.run("find '\(tree)' -path '*/dpkg' -prune -o -type f -print") == "")
    }

    @Test("the Debian package names what it needs, and apt can install it")
    func dependencies() throws {
        let package = try Programs.distributed(".deb")
        let needed = try Shell.root.run("dpkg-deb -f '\(package)' Depends")
        for name in [
            "libc6 (>= ", "libcurl4", "libfuse3-3 (", "libsqlite3-0 (", "libseccomp2 (", "libzstd1 (", "fuse3",
        ] {
            #expect(needed.contains(name), "\(name): \(needed)")
        }
        #expect(try Shell.root.run("apt-get -s install '\(package)' 2>/dev/null").contains("Inst berth"))
    }

    @Test("the same sources and programs give the same packages")
    func reproducible() throws {
        let directory = TemporaryDirectory()
        try Shell.root.run(
            "sleep 1; umask 077; TZ=Asia/Tokyo '\(Programs.packaging("dist.sh"))' '\(try Programs.built())' '\(directory.path)'"
        )
        let first = try Shell.root.run("cat '\(try Programs.distributed("SHA256SUMS"))'")
        #expect(try Shell.root.run("cat '\(directory.path)/SHA256SUMS'") == first)
    }
}
