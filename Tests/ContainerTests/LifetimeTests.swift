import LinuxSystem
import TestSupport
import Testing

/// What ends a volume's use: after each, the next run works and nothing stale is left. Volumes by annotation and by
/// `-v` alike.
@Suite("lifetimes", .serialized)
struct LifetimeTests {
    enum Way: String, CaseIterable, Sendable {
        case annotation
        case plugin

        var flags: String {
            switch self {
            case .annotation: "--annotation berth.volume=data:/data"
            case .plugin: "-v data:/data"
            }
        }
    }

    /// Starts a container that uses the volume, has `damage` done, and expects the next container to find the file.
    private func expectRecovery(
        _ way: Way, _ damage: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let host = try PodmanHost(settings: HookTests.impatient)
        let text = try host.run(
            HookTests.helpers + """
                podman volume create --driver berth data >/dev/null
                V="\(way.flags)"; N="--runtime runc --network none"
                podman run -d --name one $N $V $IMAGE sh -c 'echo kept > /data/f; sync /data/f; exec sleep 1000' >/dev/null
                wait_for 'podman exec one cat /data/f 2>/dev/null | grep -q kept'
                keeper() { berth status --json | grep '"keeper"' | head -1 | tr -dc 0-9; }
                server() { berth status --json | grep '"server"' | head -1 | tr -dc 0-9; }
                plugin() { berth status --json | grep '"plugin"' | head -1 | tr -dc 0-9; }
                \(damage)
                $RUN $V $IMAGE cat /data/f
                podman rm -fa -t 0 >/dev/null 2>&1 || podman rm -fa -t 0 >/dev/null 2>&1
                nothing_left
                $RUN $V $IMAGE sh -c 'cat /data/f'; nothing_left
                """)
        #expect(text == "kept\nkept", sourceLocation: sourceLocation)
    }

    @Test("a container killed with -9", arguments: Way.allCases)
    func containerKilled(way: Way) throws {
        try expectRecovery(
            way,
            "kill -9 $(podman inspect one --format '{{.State.Pid}}'); wait_for '! podman exec one true 2>/dev/null'")
    }

    @Test("a container killed with -9 in the middle of its writes leaves a prefix of them", arguments: Way.allCases)
    func killedWriting(way: Way) throws {
        try expectRecovery(
            way,
            """
            podman exec -d one sh -c 'i=0; while :; do i=$((i + 1)); echo $i >> /data/n; done' >/dev/null
            wait_for 'podman exec one sh -c "test \\$(wc -l < /data/n) -gt 200" 2>/dev/null'
            kill -9 $(podman inspect one --format '{{.State.Pid}}'); wait_for '! podman exec one true 2>/dev/null'
            $RUN $V $IMAGE sh -c 'seq $(wc -l < /data/n) | cmp - /data/n || echo WRONG; rm /data/n'
            """)
    }

    @Test("a container and its monitor killed with -9", arguments: Way.allCases)
    func monitorKilled(way: Way) throws {
        try expectRecovery(
            way,
            "kill -9 $(podman inspect one --format '{{.State.ConmonPid}} {{.State.Pid}}'); sleep 0.5; podman ps >/dev/null 2>&1 || true"
        )
    }

    @Test("a pause process ended by podman system migrate", arguments: Way.allCases)
    func migrated(way: Way) throws {
        try expectRecovery(
            way, "podman rm -f -t 0 one >/dev/null; podman system migrate >/dev/null 2>&1")
    }

    @Test("podman system migrate while a container runs", arguments: Way.allCases)
    func migratedRunning(way: Way) throws {
        try expectRecovery(way, "podman system migrate >/dev/null 2>&1 || true")
    }

    /// A container that ran, its monitor and podman's namespaces all end at once. Podman counts the container as a user
    /// of the volume until it next looks at that container, and asks for no mount in its new namespaces.
    static let lostNamespaces = """
        kill -9 $(podman inspect one --format '{{.State.ConmonPid}} {{.State.Pid}}') $(cat $XDG_RUNTIME_DIR/libpod/tmp/pause.pid)

        """
    static let newNamespaces = "podman system migrate >/dev/null 2>&1 || true"

    @Test("podman's namespaces killed with all in them", arguments: Way.allCases)
    func namespacesKilled(way: Way) throws {
        try expectRecovery(way, Self.lostNamespaces + Self.newNamespaces)
    }

    @Test("a server killed with -9 under a running container", arguments: Way.allCases)
    func serverKilled(way: Way) throws {
        try expectRecovery(
            way,
            "kill -9 $(server); podman exec one sh -c 'echo on > /data/on && cat /data/on' | grep -qx on || echo WRONG"
        )
    }

    @Test(
        "a server killed with -9 and restarted in turn under a container that writes all the time",
        arguments: Way.allCases)
    func serverReplaced(way: Way) throws {
        try expectRecovery(
            way,
            """
            podman exec -d one sh -c 'i=0; while [ ! -e /data/stop ]; do i=$((i + 1)); echo $i >> /data/log || echo $i >> /tmp/lost; done; echo $i > /data/count; touch /data/over' >/dev/null
            wait_for 'podman exec one test -s /data/log'
            for i in 1 2 3 4 5 6; do
              for t in $(seq 600); do [ -n "$(server)" ] && break; sleep 0.1; done
              if [ $((i % 2)) = 0 ]; then berth restart data >/dev/null || echo WRONG; else kill -9 $(server); fi
              sleep 1.3
            done
            podman exec one touch /data/stop; wait_for 'podman exec one test -e /data/over'
            podman exec one sh -c 'test ! -e /tmp/lost && seq $(cat /data/count) | cmp - /data/log' || echo WRONG
            """)
    }

    @Test("a server and its keeper killed with -9 under a running container", arguments: Way.allCases)
    func wholeServerKilled(way: Way) throws {
        try expectRecovery(
            way,
            "kill -9 $(keeper) $(server); podman exec one ls /data/new 2>&1 | grep -q 'not connected\\|abort' || echo WRONG; for i in $(seq 200); do $RUN $V $IMAGE true 2>/dev/null && break; sleep 0.2; done"
        )
    }

    @Test("the plugin killed with -9 and started again", arguments: Way.allCases)
    func pluginKilled(way: Way) throws {
        try expectRecovery(way, "kill -9 $(plugin); sleep 0.2; berth serve --detach >/dev/null")
    }

    /// Every process of the user is killed, and the runtime directory goes with the session.
    private static let logout = """
        # Ours are not dumpable, and are known by what they say.
        ours="$(plugin) $(keeper) $(server)"
        kill -9 $ours $(for p in /proc/[0-9]*; do [ ${p#/proc/} != $$ ] && grep -qs "$XDG_RUNTIME_DIR" $p/environ $p/cmdline && ! grep -qs 'bash' $p/comm && echo ${p#/proc/}; done) 2>/dev/null || true
        sleep 0.5; rm -rf "$XDG_RUNTIME_DIR"; mkdir -m 0700 "$XDG_RUNTIME_DIR"

        """

    @Test("a logged-out user whose processes were killed", arguments: Way.allCases)
    func loggedOut(way: Way) throws {
        try expectRecovery(
            way,
            "kill -9 $(podman inspect one --format '{{.State.Pid}}')\n" + Self.logout
                + "berth serve --detach >/dev/null; podman ps -a >/dev/null 2>&1 || true")
    }

    @Test("a logged-out user whose processes go on: the servers make their sockets again, the plugin ends")
    func loggedOutLingering() throws {
        let host = try PodmanHost(settings: HookTests.impatient)
        let text = try host.run(
            HookTests.helpers + """
                berth volume create data >/dev/null; berth mount data m >/dev/null; echo kept > m/f
                old=$(berth status --json | grep '"plugin"' | head -1 | tr -dc 0-9)
                rm -rf "$R"; wait_for '! kill -0 $old 2>/dev/null' && echo "the plugin ended"
                wait_for 'berth status | grep -q /m' && echo "the server is found"
                cat m/f; mkdir m2; berth serve --detach >/dev/null; berth mount data m2 >/dev/null && cat m2/f
                $RUN --annotation berth.volume=data:/data $IMAGE cat /data/f
                berth umount m; berth umount m2; nothing_left
                """)
        #expect(text == "the plugin ended\nthe server is found\nkept\nkept\nkept")
    }

    @Test("status shows each session with runtime, namespace, ids, open files and job; umount --all ends what is idle")
    func status() throws {
        let host = try PodmanHost()
        let uid = try host.site.shell.run("id -u")
        let text = try host.run(
            HookTests.helpers + """
                berth volume create data -o path=/data >/dev/null; berth volume create host >/dev/null
                SLURM_JOB_ID=4711 podman run -d --name one --runtime runc --network none --annotation berth.volume=data $IMAGE \\
                    sh -c 'echo x > /data/f; exec 3< /data/f 4< /data/f; exec sleep 1000' >/dev/null
                SLURM_JOB_ID=12 berth mount host m >/dev/null
                wait_for 'berth status | grep -q "1 container  2 open"'
                berth status | grep '  hook  ' | sed 's|.*/hook/data/volume|data|; s/mnt:.[0-9]*./NS/'
                berth status | grep '/m  ' | sed 's|.*/m |m |; s/mnt:.[0-9]*./NS/; s/ [0-9]*+.* 0 open/ 0 open/'
                berth status --json | grep -E '"(runtime|openFiles|containers|job)"' | tr -d ' ,"' | sort | xargs
                { berth umount --all 2>&1 || true; } | grep -v 'unmounted /tmp/[^b]' | sed "s|$PWD/||"
                podman stop -t 0 one >/dev/null
                berth umount --all | sed 's|.*/berth/||'; podman rm one >/dev/null
                find $R -mindepth 2 ! -name '*.sock'
                """)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.first?.hasPrefix("data  hook  NS  uids 0=\(uid) 1+65536=") == true, "\(text)")
        #expect(lines.first?.hasSuffix("1 container  2 open  job 4711") == true, "\(text)")
        let rest = [
            "m  host  NS  uids 0=\(uid) 0 open  job 12",
            "containers:0 containers:1 job:12 job:4711 openFiles:0 openFiles:2 runtime:hook runtime:host",
            "unmounted m", "berth: volume \"data\": is used by 1 container; end them first (podman stop)",
            "hook/data/volume",
        ]
        #expect(Array(lines.dropFirst()).sorted() == rest.sorted(), "\(text)")
    }

    @Test("an idle volume stays mounted for the time the user set, and a setting that means nothing is refused")
    func idle() throws {
        let host = try PodmanHost(settings: "session-idle = 12s # warm\nserver-idle = 0")
        let text = try host.run(
            HookTests.helpers + """
                berth volume create data -o path=/data >/dev/null
                $RUN --annotation berth.volume=data $IMAGE true
                sleep 2; ls $R/hook | grep -x data; nothing_left
                echo 'session-idle = soon' > $HOME/.config/berth/berth.conf
                berth stop >/dev/null; berth serve --detach 2>&1 | sed 's|.*/.config|.config|'
                """)
        #expect(
            text == "data\n.config/berth/berth.conf, line 1: \"soon\" is not a time of a day at most, such as 30s or 5m"
        )
    }
}
