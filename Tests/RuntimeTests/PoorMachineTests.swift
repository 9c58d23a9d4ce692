import LinuxSystem
import TestSupport
import Testing

/// Machines that lack something: each says in one line what, and leaves nothing half mounted.
@Suite("poor machines", .serialized)
struct PoorMachineTests {
    /// Runs as the user on a machine that `damage`, done as root in a mount namespace of its own, made poor.
    private func attempt(_ site: UserSite, _ damage: String, _ script: String) throws -> Outcome {
        var shell = site.shell
        shell.wrapper = ["unshare", "-m", "bash", "-c", "\(damage) && exec \"$@\"", "bash"]
        return try shell.attempt(script)
    }

    private func volume() throws -> UserSite {
        let site = try UserSite()
        try site.shell.run("berth volume create a -o path=/berth-none; touch empty")
        return site
    }

    @Test("user namespaces switched off: the switch is named and the host mount offered")
    func noUserNamespaces() throws {
        let site = try volume()
        // The limit counts for a namespace and all below it; rights are given up before berth starts.
        let outcome = try site.shell.attempt(
            """
            unshare -U --map-user=$(id -u) --map-group=$(id -g) --keep-caps bash -c '
                echo 0 > /proc/sys/user/max_user_namespaces || exit 98
                exec setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all berth run -- touch started'
            """)
        #expect(outcome.end == .exited(69), "\(outcome)")
        #expect(
            outcome.errors.contains("user.max_user_namespaces is 0") && outcome.errors.contains("berth mount a DIR"))
        #expect(outcome.errors.split(separator: "\n").count == 1)
        #expect(try site.shell.attempt("test -e started").end == .exited(1))
    }

    @Test("no /dev/fuse", arguments: ["run -- true", "env", "run -- apptainer exec x y"])
    func noDevice(command: String) throws {
        let site = try volume()
        let damage =
            "chmod 600 '\(site.directory)/empty' && chown root '\(site.directory)/empty' && mount --bind '\(site.directory)/empty' /dev/fuse"
        let outcome = try attempt(site, damage, "berth \(command)")
        #expect(outcome.end != .exited(0) && outcome.errors.contains("/dev/fuse"), "\(outcome)")
        #expect(outcome.output.isEmpty)
        #expect(try site.shell.run("ls '\(site.runtime)/host' 2>/dev/null | wc -l") == "0")
    }

    @Test("no fusermount3: host mounts say so, and a run in namespaces needs none")
    func noFusermount() throws {
        let site = try volume()
        let damage =
            "for f in /bin/fusermount3 /usr/bin/fusermount3; do mount --bind '\(site.directory)/empty' $f; done"
        let host = try attempt(site, damage, "berth env")
        #expect(host.end == .exited(69) && host.errors.contains("fuse3 package"), "\(host)")
        #expect(host.output.isEmpty)
        #expect(try site.shell.run("ls '\(site.runtime)/host' | wc -l") == "0")
        let bare = try attempt(site, damage, "berth run -- sh -c 'echo x > /berth-none/f; cat /berth-none/f'")
        #expect(bare.output == "x\n", "\(bare)")
    }

    @Test("a user without subordinate ids has everything but other owners")
    func noSubordinateIDs() throws {
        let site = try volume()
        let damage =
            "mount --bind '\(site.directory)/empty' /etc/subuid && mount --bind '\(site.directory)/empty' /etc/subgid"
        let outcome = try attempt(
            site, damage,
            "berth run -- sh -c 'echo x > /berth-none/f; stat -c %u /berth-none/f'; eval \"$(berth env)\"; stat -c %u \"${APPTAINER_BIND%%:*}/f\"; eval \"$(berth env --unset)\""
        )
        let uid = try site.shell.run("id -u")
        #expect(outcome.output == "\(uid)\n\(uid)\n", "\(outcome)")
    }
}
