import LinuxSystem
import TestSupport
import Testing

/// Where the volume cannot be had, podman makes no container, the person reads why, and nothing is left.
@Suite("a hook that fails", .serialized)
struct HookRefusalTests {
    private static let cases: [(annotation: String, says: String)] = [
        ("none", "volume \"none\": does not exist; make it with `berth volume create none`"),
        ("data", "volume \"data\": has no path of its own; say where it belongs: berth.volume=data:/PATH"),
        ("data:rel", "path \"rel\": is not absolute"), ("data:/", "is the root directory"),
        ("data:/a/../b", "holds \"..\""), ("data:/a:b", "a ':' too many"), ("..", "is not allowed"),
        (":/x", "names no volume"), ("data:/x\u{0600}/../etc", "holds \"..\""),
        ("data:/proc/x", "which is the kernel's"), ("data:/etc/hostname", "has another mount"),
    ]

    @Test("each wrong annotation: the reason on standard error, the way to the log in podman's words, nothing left")
    func annotations() throws {
        let host = try PodmanHost(settings: HookTests.impatient)
        var script = HookTests.helpers + "set +e; berth volume create data >/dev/null\n"
        for (annotation, _) in Self.cases {
            script +=
                "$RUN --annotation 'berth.volume=\(annotation)' $IMAGE echo STARTED; echo \"status $?\"; echo === >&2\n"
        }
        // Podman's command line ends an annotation at a newline; its API does not.
        script += """
            podman unshare berth-hook precreate <<'END'
            {"ociVersion":"1","annotations":{"berth.volume":"data:/a\\nb"}}
            END
            nothing_left; berth log -n 100 hook | grep -c error; berth log --json -n 1 hook | grep -o '"level" : "error"'
            """
        let outcome = try host.attempt(script)
        let parts = outcome.errors.split(separator: "===\n", omittingEmptySubsequences: false)
        for (index, expected) in Self.cases.enumerated() where index < parts.count {
            #expect(parts[index].contains("berth: ") && parts[index].contains(expected.says), "\(parts[index])")
            #expect(parts[index].contains("(for the reason run: berth log)]: exit status"), "\(parts[index])")
        }
        #expect(parts.last?.contains("control character") == true, "\(outcome.errors)")
        let statuses = outcome.output.split(separator: "\n")
        #expect(statuses.dropLast(2).allSatisfy { $0 == "status 126" }, "\(outcome.output)")
        #expect(statuses.suffix(2) == ["\(Self.cases.count + 1)", "\"level\" : \"error\""], "\(outcome.output)")
    }

    /// Breaks something, and expects that the next container is refused with these words.
    private func expectRefusal(
        _ damage: String, says: String, prepare: String = ":", sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let host = try PodmanHost(prepare: prepare, settings: HookTests.impatient)
        let outcome = try host.attempt(
            HookTests.helpers + """
                berth volume create data -o path=/data >/dev/null; volume=$HOME/.local/share/berth/volumes/data
                \(damage)
                $RUN --annotation berth.volume=data $IMAGE sh -c 'echo STARTED; ls /data'; status=$?
                berth stop --all --force >/dev/null; rm -rf $R/hook/data; nothing_left; exit $status
                """)
        #expect(outcome.end == .exited(126), "\(outcome)", sourceLocation: sourceLocation)
        #expect(outcome.output == "", "\(outcome)", sourceLocation: sourceLocation)
        #expect(outcome.errors.contains("berth: "), "\(outcome.errors)", sourceLocation: sourceLocation)
        #expect(outcome.errors.contains(says), "\(outcome.errors)", sourceLocation: sourceLocation)
        #expect(outcome.errors.contains("berth log"), "\(outcome.errors)", sourceLocation: sourceLocation)
    }

    @Test("berth serve does not run")
    func noSupervisor() throws {
        try expectRefusal("berth stop >/dev/null", says: "start it with: berth serve --detach")
    }

    @Test("the database is damaged")
    func damagedDatabase() throws {
        try expectRefusal("head -c 50000 /dev/urandom > $volume/meta.db", says: "not a database")
    }

    @Test("something lies at the mount point")
    func fullMountpoint() throws {
        try expectRefusal("mkdir $R/hook/data; touch $R/hook/data/x", says: "is not empty")
    }

    @Test("/dev/fuse cannot be opened")
    func noDevice() throws {
        try expectRefusal(
            ":", says: "/dev/fuse: cannot be opened",
            prepare: "f=$(mktemp); chmod 000 $f; mount --bind $f /dev/fuse; rm -f $f")
    }

    @Test("without subordinate ids a container of root alone works, or podman itself says what is missing")
    func noSubordinateIDs() throws {
        let host = try PodmanHost(
            prepare: "f=$(mktemp); chmod 644 $f; mount --bind $f /etc/subuid; mount --bind $f /etc/subgid",
            settings: HookTests.impatient)
        let text = try host.run(
            HookTests.helpers + """
                berth volume create data -o path=/data >/dev/null
                $RUN --annotation berth.volume=data $IMAGE sh -c 'echo x > /data/f; stat -c "%u %n" /data/f'
                nothing_left
                """)
        #expect(text == "0 /data/f")
    }

    @Test("without fusermount3 a container has its volume, and a host mount says what is missing")
    func noFusermount() throws {
        let host = try PodmanHost(
            prepare: "f=$(mktemp); chmod 644 $f; mount --bind $f /usr/bin/fusermount3", settings: HookTests.impatient)
        let outcome = try host.attempt(
            HookTests.helpers + """
                berth volume create data -o path=/data >/dev/null
                $RUN --annotation berth.volume=data $IMAGE sh -c 'echo x > /data/f; cat /data/f'
                berth mount data m; echo "status $?"; mountpoint -q m || echo "not mounted"
                nothing_left
                """)
        #expect(outcome.output == "x\nstatus 69\nnot mounted\n", "\(outcome)")
        #expect(outcome.errors.contains("fusermount3: is not installed; ask the administrator"), "\(outcome.errors)")
    }

    @Test("run outside podman, on what is no JSON, or on what is huge, the hook says so in one line")
    func byHand() throws {
        let host = try PodmanHost(settings: HookTests.impatient)
        let outcome = try host.attempt(
            """
            echo '{}' | berth-hook precreate; echo "status $?"
            berth-hook frobnicate; echo "status $?"
            echo 'no json' | podman unshare berth-hook precreate; echo "status $?"
            head -c 20000000 /dev/zero | podman unshare berth-hook precreate; echo "status $?"
            echo '[]' | podman unshare berth-hook poststop; echo "status $?"
            echo '{"ociVersion":"1","x":1e400}' | podman unshare berth-hook precreate; echo "status $?"
            """)
        #expect(
            outcome.output
                == "status 64\nstatus 64\nstatus 65\nstatus 65\nstatus 65\n{\"ociVersion\":\"1\",\"x\":1e400}\nstatus 0\n",
            "\(outcome)")
        let lines = outcome.errors.split(separator: "\n").filter { $0.hasPrefix("berth-hook: ") }
        let says = [
            "and not by hand; run `berth setup`", "not by hand", "is not a JSON object", "has more than 16777216 bytes",
            "is not the JSON of the OCI specification",
        ]
        #expect(lines.count == says.count && zip(lines, says).allSatisfy { $0.contains($1) }, "\(outcome.errors)")
    }
}
