import LinuxSystem
import TestSupport
import Testing

/// `berth run` in namespaces of its own, as an ordinary user.
@Suite("a bare shell", .serialized)
struct RunTests {
    /// Nothing of a run may be left: no mount, no session, no directory that the host lacked.
    private func expectNothingLeft(_ site: UserSite, _ volume: String = "a") throws {
        try eventually("the session ends") {
            try !site.shell.run("berth volume inspect \(volume)").contains("mounted at")
        }
        #expect(try site.shell.run("grep -c ' /berth-none\\| /opt/berth' /proc/mounts || true") == "0")
        #expect(try site.shell.attempt("ls -d /berth-none /opt/berth-none").end == .exited(2))
    }

    @Test(
        "a path shows its volume whether the host has it or not, with the right owner, and nothing is left",
        arguments: ["/berth-none", "/berth-none/deep/er", "/opt/berth-none/x", "/srv", "/usr/share/doc/berth-none"])
    func paths(path: String) throws {
        let site = try UserSite()
        let me = try site.shell.run("id -u; id -g").split(separator: "\n").joined(separator: ":")
        let beside = try site.shell.run("ls / /opt /usr/share/doc | grep -v berth-none")
        try site.shell.run("berth volume create a -o path=\(path)")
        let text = try site.shell.run(
            "berth run -- sh -c 'echo x > \(path)/f; stat -c %u:%g \(path) \(path)/f; grep -c \" \(path) fuse.berth \" /proc/mounts'"
        )
        #expect(text == "\(me)\n\(me)\n1")
        #expect(try site.shell.run("berth run -- cat \(path)/f") == "x")
        #expect(try site.shell.run("berth run -- ls / /opt /usr/share/doc | grep -v berth-none") == beside)
        try expectNothingLeft(site)
    }

    @Test("two volumes in one rebuilt directory, one read-only, elsewhere than at their paths")
    func several() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            berth volume create a -o path=/berth-a >/dev/null; berth volume create b >/dev/null
            berth run --volume a -- sh -c 'echo x > /berth-a/f'
            berth run --volume a:/opt/berth-none/1:ro --volume b:/opt/berth-none/2 -- sh -c '
                cat /opt/berth-none/1/f; touch /opt/berth-none/1/g 2>&1 | grep -o Read-only; touch /opt/berth-none/2/g
                ls -d /berth-a 2>/dev/null; ls /opt/berth-none'
            """)
        #expect(text == "x\nRead-only\n1\n2")
        try expectNothingLeft(site)
        try expectNothingLeft(site, "b")
    }

    @Test("a directory of the user's gets its mount point and goes on taking other files")
    func ownDirectory() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            "berth volume create a -o path=$PWD/sub/vol >/dev/null; berth run -- sh -c 'echo x > sub/vol/f; echo y > sub/other'; cat sub/other; ls -A sub/vol"
        )
        #expect(text == "y")
    }

    @Test("uid, gid, working directory, status, signals and arguments are the program's own, and no process is between")
    func transparent() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create a -o path=/berth-none; berth run -- true")
        let run = "berth run --"
        #expect(try site.shell.run("\(run) sh -c 'id -u; id -g; pwd'") == site.shell.run("id -u; id -g; pwd"))
        #expect(
            try site.shell.run("cd /usr/share; \(run) pwd; cd /usr/share; \(run) sh -c 'echo \"$PWD\"'")
                == "/usr/share\n/usr/share")
        #expect(try site.shell.attempt("\(run) sh -c 'exit 7'").end == .exited(7))
        #expect(try site.shell.run("\(run) printf '<%s>' 'a b' '' -- -x '*'") == "<a b><><--><-x><*>")
        let inherited = "sh -c 'umask; grep Sig[IBC] /proc/self/status'"
        #expect(
            try site.shell.run("umask 027; \(run) \(inherited)") == site.shell.run("umask 027; \(inherited)"))
        let signals = try site.shell.run(
            """
            berth run -- sh -c 'echo $$ > pid; exec sleep 100' & started=$!
            for i in $(seq 600); do [ -s pid ] && break; sleep 0.05; done
            [ "$(cat pid)" = $started ] && echo same; kill -TERM $started; wait $started; echo $?
            berth run -- sh -c 'kill -KILL $$'; echo $?
            berth run -- sh -c 'trap "echo caught; exit 3" USR1; kill -USR1 $PPID 2>/dev/null; kill -USR1 $$; sleep 5'; echo $?
            """.replacing("kill -USR1 $PPID 2>/dev/null; ", with: ""))
        #expect(signals == "same\n143\n137\ncaught\n3")
        #expect(try site.shell.attempt("\(run) /no/such").end == .exited(127))
        #expect(try site.shell.attempt("\(run) /etc/passwd").end == .exited(126))
        #expect(try site.shell.attempt("berth run").end == .exited(64))
        try expectNothingLeft(site)
    }

    @Test("the terminal is the program's own: it is in the foreground, and job control works")
    func terminal() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create a -o path=/berth-none")
        let text = try site.shell.run(
            """
            script -qec "berth run -- sh -c 'ps -o pgid=,tpgid= -p \\$\\$; test -t 0 && echo tty'" /dev/null </dev/null | tr -d '\\r'
            script -qec "berth run -- bash --norc -ic 'sleep 100 & jobs | grep -c Running; kill %1; wait; echo done'" /dev/null </dev/null 2>/dev/null | tr -d '\\r' | grep -v '^\\['
            """)
        let lines = text.split(separator: "\n").map(String.init)
        let groups = lines.first?.split(separator: " ") ?? []
        #expect(groups.count == 2 && groups.first == groups.last, "\(text)")
        #expect(lines.dropFirst().contains("tty") && lines.contains("1") && lines.contains("done"), "\(text)")
    }

    @Test("descriptors of the caller reach the program, and never the server")
    func descriptors() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            "berth volume create a -o path=/berth-none >/dev/null; echo nine > nine; exec 9<nine; berth run -- sh -c 'cat <&9'"
        )
        #expect(text == "nine")
        let server = try #require(try site.server(of: "a"))
        #expect(try Shell.root.run("ls -l /proc/\(server)/fd | grep -c nine || true") == "0")
    }

    @Test("what the program leaves running keeps the volume, and its end ends the session")
    func background() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            berth volume create a -o path=/berth-none >/dev/null
            berth run -- sh -c 'setsid sh -c "echo \\$\\$ > pid; sleep 1; echo late > /berth-none/f; touch written; sleep 100" >/dev/null 2>&1 &'
            for i in $(seq 600); do [ -e written ] && break; sleep 0.1; done; berth run -- cat /berth-none/f
            for i in $(seq 600); do mounts=$(berth volume inspect a | grep -c "mounted at"); [ $mounts -gt 1 ] || break; sleep 0.1; done
            echo $mounts; kill -9 -- -$(cat pid)
            """)
        #expect(text == "late\n1")
        try expectNothingLeft(site)
    }

    @Test("runs see each other's changes, a killed one leaves nothing, and a killed server is replaced")
    func together() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            berth volume create a -o path=/berth-none >/dev/null
            berth run -- sh -c 'echo one > /berth-none/f; touch ready; while [ ! -e /berth-none/g ]; do sleep 0.1; done; cat /berth-none/g' & first=$!
            while [ ! -e ready ]; do sleep 0.05; done
            berth run -- sh -c 'cat /berth-none/f; echo two > /berth-none/g; sync /berth-none/g'; wait $first
            berth run -- sleep 100 & second=$!; sleep 0.3; kill -9 $second
            berth run -- sh -c 'sleep 0.5; kill -9 '"$(berth status --json | grep -E '"(keeper|server)"' | tr -dc '0-9\\n' | xargs)"'; cat /berth-none/f 2>&1 | grep -o "not connected\\|abort"'
            berth run -- cat /berth-none/g
            """)
        #expect(text.replacing("abort", with: "not connected") == "one\ntwo\nnot connected\ntwo", "\(text)")
        try expectNothingLeft(site)
    }

    @Test("unknown volumes, volumes without a path and bad requests are refused before anything starts")
    func badInput() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create a")
        let cases = [
            ("--volume b", 66, "berth volume create b"), ("--volume a", 64, "berth path set a /PATH"),
            ("", 64, "no volume"), ("--volume a:x", 64, "not absolute"), ("--volume a:/", 64, "root directory"),
            ("--volume a:/etc/passwd", 64, "is not a directory"), ("--volume ../a:/x", 64, "is not allowed"),
            ("--volume a:/x --volume a:/x/y", 78, "inside each other"),
        ]
        for (words, status, says) in cases {
            let outcome = try site.shell.attempt("berth run \(words) -- touch started")
            #expect(outcome.end == .exited(Int32(status)), "\(words): \(outcome)")
            #expect(outcome.errors.contains(says), "\(words): \(outcome.errors)")
            #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
        }
        let podman = try site.shell.attempt("berth run --volume a:/x -- podman run x")
        #expect(podman.end == .exited(64) && podman.errors.contains("-v VOLUME:/PATH"))
        #expect(try site.shell.attempt("test -e started").end == .exited(1))
    }
}
