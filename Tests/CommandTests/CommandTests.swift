import LinuxSystem
import TestSupport
import Testing

/// The command line as an ordinary user types it, without containers.
@Suite("commands")
struct CommandTests {
    @Test("setup is idempotent, shows with --dry-run what it would do, and is taken back by --undo")
    func setup() throws {
        let site = try UserSite()
        let before = try site.shell.run("cd '\(site.home)' && find . | sort")
        let dry = try site.shell.run("berth setup --dry-run")
        #expect(dry.contains("would make \(site.home)/.config/berth"))
        #expect(dry.contains("would register the volume plugin"))
        #expect(try site.shell.run("cd '\(site.home)' && find . | sort") == before, "a dry run changes nothing")
        let first = try site.shell.run("berth setup")
        #expect(first.contains("next: berth serve --detach"))
        #expect(try site.shell.run("berth setup").hasPrefix("nothing to change"))
        #expect(
            try site.shell.run(
                "stat -c %a '\(site.runtime)' '\(site.home)/.local/share/berth' '\(site.home)/.cache/berth'")
                == "700\n700\n700")
        try site.shell.run("berth setup --undo")
        #expect(try site.shell.run("cd '\(site.home)' && find . -name '*berth*'") == "")
    }

    @Test("setup works without XDG_RUNTIME_DIR and BERTH_RUNTIME_DIR, as in a Slurm job")
    func setupInJob() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            "unset BERTH_RUNTIME_DIR XDG_RUNTIME_DIR; berth setup && berth serve --detach && berth status && berth stop && berth setup --undo"
        )
        #expect(text.contains("the volume plugin answers at"))
    }

    @Test("serve --detach runs once, is adopted and stopped")
    func serve() throws {
        let site = try UserSite()
        #expect(try site.shell.run("berth serve --detach").contains("plugin.sock"))
        #expect(try site.shell.run("stat -c %a '\(site.runtime)/plugin.sock'") == "600")
        #expect(try site.shell.run("berth serve --detach").contains("running already"))
        let second = try site.shell.attempt("berth serve")
        #expect(second.end == .exited(75))
        #expect(second.errors.contains("is running already"))
        #expect(second.errors.contains("berth stop"))
        try site.shell.run("berth volume create a && berth mount a m && echo x > m/f")
        #expect(try site.shell.run("berth stop").contains("ended the volume plugin"))
        #expect(try site.shell.run("cat m/f") == "x", "mounts outlive the plugin")
        try site.shell.run("berth serve --detach")
        #expect(try site.shell.run("berth status --json").contains("\"mountpoint\" : \"\(site.mountpoint)\""))
        try site.shell.run("berth umount m && berth stop --all --force")
        #expect(try site.shell.run("berth status").contains("not running"))
    }

    @Test("volumes are created, listed, inspected and removed, and --json is what a script reads")
    func volumes() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create one -o size=10M -o path=/data -o compression=none -o inodes=1000")
        try site.shell.run("mkdir s && berth volume create two -o store=file://\(site.directory)/s")
        #expect(
            try site.shell.run("berth volume create one -o size=10M -o path=/data -o compression=none -o inodes=1000")
                == "one")
        #expect(try site.shell.run("berth volume ls").contains("two"))
        let json = try site.shell.run("berth volume inspect one --json")
        #expect(json.contains("\"size\" : \"10485760\""))
        #expect(json.contains("\"path\" : \"/data\""))
        #expect(try site.shell.run("berth volume ls --json").contains("\"store\" : \"file://\(site.directory)/s/two\""))
        try site.shell.run("berth mount two m && cp /etc/passwd m/ && berth umount m && berth stop --all --force")
        try site.shell.run("berth volume rm one two")
        #expect(try site.shell.run("berth volume ls --json") == "[\n\n]")
        #expect(try site.shell.run("find s '\(site.home)/.cache/berth' -type f") == "", "data goes with its volume")
    }

    @Test("a volume that is mounted is not removed")
    func removeMounted() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create a && berth mount a m && echo x > m/f")
        let refused = try site.shell.attempt("berth volume rm a")
        #expect(refused.end == .exited(75))
        #expect(refused.errors.contains("is mounted at \(site.mountpoint)"))
        #expect(try site.shell.run("cat m/f; berth umount m") == "x")
    }

    @Test("mount shows the caller as owner, and read-only mounts take no change")
    func mount() throws {
        let site = try UserSite()
        let me = try site.shell.run("id -u; id -g").split(separator: "\n").joined(separator: ":")
        try site.shell.run("berth volume create a && berth mount a m && echo x > m/f")
        #expect(try site.shell.run("stat -c %u:%g m m/f") == "\(me)\n\(me)")
        try site.shell.run("mkdir m2 && berth mount a m2 -o ro")
        #expect(try site.shell.run("cat m2/f") == "x")
        #expect(try site.shell.attempt("touch m2/g").errors.contains("Read-only file system"))
        try site.shell.run("berth umount m2 && berth umount m")
    }

    @Test("a volume can be checked while it is mounted and right after its last unmount")
    func checked() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create v; berth mount v m; cp /etc/passwd m/f")
        #expect(try site.shell.run("berth volume check v --data").contains("v: whole"))
        #expect(try site.shell.run("berth umount m; berth volume check v --data").contains("v: whole"))
    }

    @Test("berthfs NAME DIR -f serves until it is interrupted")
    func foreground() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create a")
        let text = try site.shell.run(
            "berthfs a m -f & pid=$!; for i in $(seq 600); do mountpoint -q m && break; sleep 0.1; done; echo x > m/f; cat m/f; kill $pid; wait $pid; mountpoint -q m || echo unmounted"
        )
        #expect(text == "x\nunmounted")
    }

    @Test("doctor looks at everything and answers in JSON")
    func doctor() throws {
        let site = try UserSite()
        let text = try site.shell.run("berth setup >/dev/null; berth doctor")
        for check in [
            "/dev/fuse", "fusermount3", "user namespaces", "/etc/subuid", "propagation of /", "file system of home",
            "file system of cache", "podman",
        ] {
            #expect(text.contains("pass  \(check)") || text.contains("warn  \(check)"), "\(check)")
        }
        #expect(text.contains("warn  podman's configuration: the plugin is registered but does not answer"))
        #expect(
            try site.shell.run("berth serve --detach >/dev/null; berth doctor; berth stop >/dev/null").contains(
                "pass  podman's configuration: the plugin is registered and answers"))
        #expect(
            try site.shell.run("berth setup --undo >/dev/null; berth doctor; berth setup >/dev/null").contains(
                "warn  podman's configuration: is not what setup makes it"))
        #expect(try site.shell.run("berth doctor --json").contains("\"verdict\" : \"pass\""))
        let broken = try site.shell.attempt("chmod 755 '\(site.runtime)'; berth doctor")
        #expect(broken.end == .exited(69))
        #expect(broken.output.contains("fail  runtime directory") && broken.output.contains("chmod 700"))
    }
}
