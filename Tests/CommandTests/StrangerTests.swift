import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// Another user who was there first: in `/tmp`, and where an earlier server listened.
@Suite("a stranger was there first", .serialized)
struct StrangerTests {
    /// Takes every connection at a socket and writes down what comes; everybody may connect.
    private static let listener = """
        import os, socket, sys
        os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
        s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o777); s.listen(8)
        open('ready', 'w').close()
        while True:
            c, _ = s.accept(); c.settimeout(1)
            try: data, fds, _, _ = socket.recv_fds(c, 65536, 8)
            except OSError: data, fds = b'', []
            if data:
                with open('got', 'ab') as f: f.write(data + b'descriptors: %d' % len(fds))
            c.close()
        """

    /// Listens as the second user; ends with the closure.
    private func listening(_ other: SecondUser, at socket: String, _ body: () throws -> Void) throws {
        let pid = try other.shell.run(
            "rm -f ready got; cat > l.py <<'END'\n\(Self.listener)\nEND\npython3 l.py '\(socket)' >/dev/null 2>&1 & echo $!"
        )
        defer { _ = try? other.shell.attempt("kill \(pid)") }
        try eventually("the stranger listens") { access("\(other.directory)/ready", F_OK) == 0 }
        try body()
        #expect(access("\(other.directory)/got", F_OK) != 0, "the stranger was sent something")
    }

    /// An account without a runtime directory of the system's.
    private func plainUser() throws -> UserSite {
        try Shell.root.run(
            "id berth-plain >/dev/null 2>&1 || useradd --create-home --shell /bin/bash berth-plain; rm -rf /run/user/$(id -u berth-plain)"
        )
        let site = try UserSite(as: "berth-plain")
        return site
    }

    @Test("without XDG_RUNTIME_DIR a stranger's /tmp/berth-UID with listening sockets is neither used nor in the way")
    func plantedRuntimeDirectory() throws {
        let site = try plainUser()
        let other = try SecondUser()
        let planted = "/tmp/berth-\(try Shell.root.run("id -u berth-plain"))"
        try Shell.root.run("rm -rf \(planted)")
        try other.shell.run("mkdir -m 777 \(planted) \(planted)/servers")
        defer { _ = try? Shell.root.attempt("rm -rf \(planted)") }
        try listening(other, at: "\(planted)/servers/data.sock") {
            let text = try site.shell.run(
                """
                unset BERTH_RUNTIME_DIR XDG_RUNTIME_DIR
                berth setup | grep -o 'warning: .* belongs to user [^ ]*'; berth serve --detach
                berth volume create data >/dev/null; berth mount data m >/dev/null; echo mine > m/f; cat m/f
                find $HOME/.local/state/berth/run -name 'data@*.sock' -printf '%m\\n'; stat -c %a $HOME/.local/state/berth/run/*
                berth status | grep -c '^mount'; berth sync data >/dev/null; berth umount m; berth stop --all --force >/dev/null
                """)
            #expect(text.contains("warning: \(planted) belongs to user \(SecondUser.name)"), "\(text)")
            #expect(text.contains("the volume plugin answers at \(site.home)/.local/state/berth/run/"), "\(text)")
            #expect(text.contains("mine\n600\n700"), "\(text)")
        }
        #expect(try Shell.root.run("ls \(planted)/servers") == "data.sock", "nothing was made there")
    }

    @Test("the socket that a dead server's lock file names is not believed")
    func lockOfTheDead() throws {
        let site = try UserSite()
        let other = try SecondUser()
        try site.shell.run(
            "berth volume create data >/dev/null; berth mount data m >/dev/null; echo x > m/f; berth umount m; berth stop --all --force >/dev/null"
        )
        for process in ["999999", "1"] {
            let socket = "\(other.directory)/p\(process)/s"
            try site.shell.run(
                "printf 'serving \(process)\\n\(socket)\\n' > $HOME/.local/share/berth/volumes/data/lock")
            try listening(other, at: socket) {
                let text = try site.shell.run(
                    "berth mount data m >/dev/null && cat m/f && berth umount m; berth stop --all --force >/dev/null")
                #expect(text == "x")
            }
        }
    }

    @Test("a runtime directory of a stranger's is refused, and nothing is sent there")
    func strangersRuntimeDirectory() throws {
        let site = try UserSite()
        let other = try SecondUser()
        try site.shell.run("berth volume create data >/dev/null")
        let paths = SitePaths(environment: ["HOME": site.home, "BERTH_RUNTIME_DIR": "\(other.directory)/r"])
        try listening(other, at: paths.volume("data").controlSocket) {
            try other.shell.run("chmod 777 r r/servers")
            let outcome = try site.shell.attempt("export BERTH_RUNTIME_DIR=\(other.directory)/r; berth mount data m")
            #expect(outcome.end == .exited(77), "\(outcome)")
            #expect(outcome.errors.contains("user \(SecondUser.name)"), "\(outcome)")
        }
    }

    @Test("setup moves a plugin registered in /tmp, and takes away what an earlier version left there")
    func registeredInShared() throws {
        let site = try plainUser()
        let planted = "/tmp/berth-\(try Shell.root.run("id -u berth-plain"))"
        let text = try site.shell.run(
            """
            unset BERTH_RUNTIME_DIR XDG_RUNTIME_DIR; rm -rf \(planted); install -d -m 0700 \(planted) \(planted)/servers
            install -d $HOME/.config $HOME/.config/containers
            printf '[engine.volume_plugins]\\nberth = "\(planted)/plugin.sock" # added by berth setup\\n' > $HOME/.config/containers/containers.conf
            berth setup >/dev/null; cat $HOME/.config/containers/containers.conf; [ -e \(planted) ] || echo gone
            """)
        #expect(text.contains("berth = \"\(site.home)/.local/state/berth/run/"), "\(text)")
        #expect(!text.contains("\"/tmp/berth-"), "\(text)")
        #expect(text.hasSuffix("gone"), "\(text)")
    }

    @Test("a plugin that is started elsewhere than it was registered tells podman so")
    func registrationFollows() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            berth setup >/dev/null; mkdir -m 700 other; export BERTH_RUNTIME_DIR=$PWD/other
            berth serve --detach >/dev/null; grep -rho 'berth = "[^"]*"' $HOME/.config/containers; berth stop >/dev/null
            """)
        #expect(text == "berth = \"\(site.directory)/other/plugin.sock\"")
    }
}
