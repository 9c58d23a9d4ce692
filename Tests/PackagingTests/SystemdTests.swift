import LinuxSystem
import TestSupport
import Testing

/// The units, in a real systemd of the user where that matters.
@Suite("systemd", .serialized)
struct SystemdTests {
    /// Lets the user's systemd run on a machine that systemd did not start: cgroups of version 2 alone, of which one
    /// is the user's, and the directory by which systemd knows itself. What still runs at the end is ended.
    private static let machine = """
        umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit 1
        mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && mkdir /run/systemd/system || exit 1
        before=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)
        group=/sys/fs/cgroup/berth-test-$$
        mkdir -p $group/user && echo $$ > $group/user/cgroup.procs && chown -R "$0" $group/user || exit 1
        "$@"
        status=$?
        echo $$ > $before/cgroup.procs
        for i in $(seq 100); do
            find $group -name cgroup.procs -exec cat {} + | xargs -r kill -9 2>/dev/null
            find $group -depth -type d -exec rmdir {} + 2>/dev/null && break
            sleep 0.05
        done
        exit $status
        """

    /// The user's systemd, podman told of Berth, and an image.
    private static let preamble = """
        set -e
        mkdir -m 0700 x; b/install.sh >/dev/null; berth setup >/dev/null 2>&1 || true; ./make-image $IMAGE
        /lib/systemd/systemd --user --unit=basic.target 2>log & manager=$!
        trap 'podman rm -fa -t 0 >/dev/null 2>&1; kill $manager; wait $manager' EXIT
        for i in $(seq 600); do [ -S x/systemd/private ] && break; sleep 0.05; done
        plugin() { systemctl --user show -p MainPID --value berth.service; }
        server() { berth status --json | grep '"server"' | tr -dc 0-9; }

        """

    private func run(_ script: String) throws -> String {
        let host = try Installed(programs: "h/.local/bin")
        try host.unpack(as: "b")
        try Shell.root.run(
            "install -m 0755 '\(Programs.packaging("make-image.sh"))' '\(host.site.directory)/make-image'")
        var shell = host.shell
        shell.environment["XDG_RUNTIME_DIR"] = "\(host.site.directory)/x"
        shell.environment["BERTH_RUNTIME_DIR"] = nil
        shell.environment["IMAGE"] = "localhost/berth-bb"
        shell.wrapper = [
            "unshare", "--mount", "--propagation", "private", "bash", "-c", Self.machine, try TestUser.shared().name,
        ]
        return try shell.run(Self.preamble + script)
    }

    @Test("podman's first question starts the plugin; started again, containers and their server go on")
    func manager() throws {
        let text = try run(
            """
            systemctl --user start berth.socket; systemctl --user is-active berth.service || true
            berth volume create v -o path=/data >/dev/null
            RUN="podman --log-level=error run --runtime crun --network none"
            $RUN -d --name c --annotation berth.volume=v $IMAGE sh -c 'echo x > /data/f; sleep 1000' >/dev/null
            systemctl --user is-active berth.service
            server=$(server); plugin=$(plugin); grep -o 'berth.service' /proc/$server/cgroup
            systemctl --user restart berth.service
            [ "$(server)" = $server ] && [ "$(plugin)" != $plugin ] && berth status | head -1 | sed "s/$(plugin)/NEW/"
            podman exec c cat /data/f
            berth stop | tail -1; systemctl --user is-active berth.service || true
            podman volume create --driver berth w; $RUN --rm -v w:/data $IMAGE grep -c " /data fuse.berth " /proc/mounts; systemctl --user is-active berth.service
            """)
        #expect(
            text == """
                inactive
                active
                berth.service
                plugin   pid NEW
                x
                systemd starts it again when it is asked; end that with: systemctl --user stop berth.socket
                inactive
                w
                1
                active
                """)
    }

    @Test("systemd finds nothing wrong with the units, and they name the program and the socket podman is told of")
    func units() throws {
        let host = try Installed(programs: "p/bin")
        try host.unpack(as: "b")
        try host.shell.run("b/install.sh --prefix p")
        let units = "p/share/systemd/user"
        #expect(
            try host.shell.run("grep ^ExecStart '\(units)/berth.service'")
                == "ExecStart=\(host.site.directory)/p/bin/berth serve")
        #expect(try host.shell.run("grep ^ListenStream '\(units)/berth.socket'") == "ListenStream=%t/berth/plugin.sock")
        let outcome = try host.shell.attempt(
            "mkdir -m 0700 x; XDG_RUNTIME_DIR=$PWD/x systemd-analyze verify --user --man=no \(units)/berth.service \(units)/berth.socket 2>&1"
        )
        #expect(!outcome.output.contains("berth") && outcome.succeeded, "\(outcome.output)")
    }

    @Test("the plugin takes the socket that systemd listens on, and stop ends the plugin and nothing else")
    func activation() throws {
        let host = try Installed.unpacked()
        let text = try host.shell.run(
            """
            set -e
            mkdir -m 0700 r; umask 077
            systemd-socket-activate -E PATH -E HOME -E BERTH_RUNTIME_DIR -l "$PWD/r/plugin.sock" "$PWD/b/bin/berth" serve 2>log & pid=$!
            for i in $(seq 600); do [ -S r/plugin.sock ] && break; sleep 0.05; done
            berth status | head -1
            berth serve --detach | sed "s/pid $pid/pid PID/"
            berth status | head -1 | sed "s/pid $pid/pid PID/"
            curl -s --unix-socket r/plugin.sock -X POST http://plugin/Plugin.Activate; echo
            berth serve --detach | sed "s/pid $pid/pid PID/"
            berth stop | sed "s/pid $pid/pid PID/"
            wait $pid; [ -S r/plugin.sock ] && echo "the socket stays"
            """)
        let socket = "\(host.site.runtime)/plugin.sock"
        #expect(
            text == """
                plugin   not running; systemd starts it when it is asked
                the volume plugin answers at \(socket) (by systemd, pid PID)
                plugin   pid PID
                {"Implements":["VolumeDriver"]}
                the volume plugin is running already (pid PID)
                ended the volume plugin (pid PID)
                the socket stays
                """)
    }

    @Test("a socket at another place than podman is told of is refused with both paths")
    func wrongSocket() throws {
        let host = try Installed.unpacked()
        let text = try host.shell.run(
            """
            systemd-socket-activate -E PATH -E HOME -E BERTH_RUNTIME_DIR -l "$PWD/other.sock" "$PWD/b/bin/berth" serve 2>log & pid=$!
            for i in $(seq 600); do [ -S other.sock ] && break; sleep 0.05; done
            curl -s -m 5 --unix-socket other.sock http://plugin/ || true
            wait $pid; echo $?; grep ^berth: log
            """)
        #expect(text.hasPrefix("78\n"))
        #expect(
            text.contains("listens at \(host.site.directory)/other.sock, and podman is told of \(host.site.runtime)"))
    }
}
