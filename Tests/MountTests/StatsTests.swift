import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// What `berth stats` and Prometheus are told of a real mount.
@Suite("statistics", .serialized)
struct StatsTests {
    private let site: UserSite

    init() throws {
        site = try UserSite()
    }

    /// A number of `berth stats v --json`, such as `["operations"]["create"]["count"]`; 0 where there is none.
    private func count(_ path: String) throws -> UInt64 {
        let text = try site.shell.run(
            """
            berth stats v --json | /usr/bin/python3 -c '
            import json, sys
            try: print(int(json.load(sys.stdin)\(path)))
            except KeyError: print(0)'
            """)
        return UInt64(text) ?? .max
    }

    private func operation(_ name: String, _ what: String = "count") throws -> UInt64 {
        try count("[\"operations\"][\"\(name)\"][\"\(what)\"]")
    }

    @Test("so many creates, writes, bytes and failures are counted as there were")
    func counts() throws {
        try site.shell.run("berth volume create v -o inodes=1000 -o size=1G -o trash=0 && berth mount v m")
        #expect(try operation("create") == 0)
        try site.shell.run(
            "cd m; mkdir d; for i in $(seq 137); do head -c 1000 /dev/zero > d/$i; done; for i in 1 2 3; do rmdir d || true; done 2>/dev/null; rm d/1 d/2; mv d/3 d/x; ls nothing || true"
        )
        #expect(try operation("create") == 137 && operation("create", "errors") == 0)
        #expect(try operation("write") == 137 && count("[\"bytesWritten\"]") == 137_000)
        #expect(try operation("mkdir") == 1 && operation("unlink") == 2 && operation("rename") == 1)
        #expect(try operation("rmdir") == 3 && operation("rmdir", "errors") == 3)
        #expect(try operation("lookup", "errors") == 0, "that there is no such name is an answer")
        #expect(try count("[\"now\"][\"inodes\"]") == 137 && count("[\"now\"][\"inodeLimit\"]") == 1000)
        #expect(try count("[\"now\"][\"bytes\"]") == 135_000 && count("[\"now\"][\"byteLimit\"]") == 1 << 30)
        #expect(try count("[\"now\"][\"sessions\"][\"host\"]") == 1 && count("[\"ioErrors\"]") == 0)
        #expect(try count("[\"now\"][\"stagedPacks\"]") == 1 && count("[\"now\"][\"stagedBytes\"]") == 137_000)
        // Past the kernel's page cache: what another mount reads is asked for, and is here.
        try site.shell.run("berth sync v --wait; mkdir m2; berth mount v m2; cat m2/d/* | wc -c")
        #expect(try count("[\"bytesRead\"]") == 135_000 && count("[\"packs\"][\"missedFrames\"]") == 0)
        #expect(try count("[\"packs\"][\"hitFrames\"]") >= 3 && count("[\"packs\"][\"sealedPacks\"]") == 1)
        #expect(try count("[\"packs\"][\"sealedRawBytes\"]") == 137_000)
        #expect(try count("[\"store\"][\"requests\"][\"put\"][\"count\"]") == 1)
        #expect(try count("[\"commits\"][\"count\"]") > 0 && count("[\"now\"][\"residentBytes\"]") > 1 << 20)
        try site.shell.run("berth umount m; berth umount m2")
    }

    @Test("bytes up and down are those that the S3 server saw, and each try is a request of its own")
    func traffic() throws {
        let proxy = try FaultyProxy(before: try S3Server.shared())
        let place = site.directory.split(separator: "/").last ?? "x"
        try site.shell.run(
            """
            mkdir -p -m 700 $HOME/.config/berth; f=$HOME/.config/berth/credentials; umask 077
            printf '[default]\\naws_access_key_id=\(S3Server.accessKey)\\naws_secret_access_key=\(S3Server.secretKey)\\n' > $f
            berth volume create v -o store=s3://berth/\(place) -o endpoint=\(proxy.endpoint)
            """)
        try proxy.set("PUT throttle 2")
        try site.shell.run(
            "berth mount v m; head -c 40000000 /dev/urandom > m/f; berth sync v --wait; berth evict v; berth umount m; mkdir m2; berth mount v m2; md5sum m2/f"
        )
        func store(_ path: String) throws -> UInt64 { try count("[\"store\"]\(path)") }
        // What was begun in the background comes to its end.
        try eventually("both count the same") {
            let seen = try proxy.traffic()
            return try store("[\"bytesSent\"]") == seen.sent && store("[\"bytesReceived\"]") == seen.received
        }
        let bytes = try proxy.traffic()
        #expect(bytes.sent > 40_000_000 && bytes.received >= 40_000_000, "\(bytes)")
        let requests = try proxy.requests()
        func seen(_ verb: String) -> Int {
            requests.count { line in
                line.contains("list-type=") ? verb == "list" : line.hasPrefix(verb.uppercased() + " ")
            }
        }
        for verb in ["put", "head", "get", "list"] {
            #expect(try store("[\"requests\"][\"\(verb)\"][\"count\"]") == seen(verb), "\(verb): \(requests)")
        }
        #expect(try store("[\"requests\"][\"put\"][\"errors\"]") == 2 && store("[\"retries\"]") == 2)
        #expect(try count("[\"packs\"][\"missedFrames\"]") > 0)
        #expect(try count("[\"packs\"][\"fetchedBytes\"]") >= 40_000_000)
        try site.shell.run("berth umount m2; berth stop --all --force >/dev/null; berth volume rm v")
    }

    @Test("lines go on as often as was asked for, a terminal gets a picture, and no server is started for it")
    func display() throws {
        try site.shell.run("berth volume create v")
        let none = try site.shell.attempt("berth stats v")
        #expect(none.end == .exited(69) && none.errors.contains("has no server"), "\(none)")
        #expect(try site.shell.run("berth stats").contains("nothing is served"))
        #expect(try site.shell.run("berth stats --json") == "[\n\n]" && site.server(of: "v") == nil)
        #expect(try site.shell.attempt("berth stats none").end == .exited(66))
        try site.shell.run("berth mount v m")
        let lines = try site.shell.run(
            "{ while [ ! -e over ]; do echo x > m/x; done; } & berth stats v --interval 1 --count 2; touch over; wait"
        ).split(separator: "\n")
        #expect(lines.count == 2 && lines.allSatisfy { $0.contains("Z v: requests ") && $0.contains("p99.9") })
        #expect(lines.last?.contains("requests 0/s") == false, "\(lines)")
        #expect(try site.shell.run("berth stats").split(separator: "\n").count == 1)
        let picture = try site.shell.run("script -qc 'berth stats v --count 1' /dev/null")
        for word in ["\u{1B}[2J", "operation", "create", "staged", "p99.9", "sessions  1 host"] {
            #expect(picture.contains(word), "\(word) in \(picture)")
        }
        #expect(try site.shell.run("script -qc 'berth stats --count 1' /dev/null").contains("requests/s"))
        for words in ["--interval 0", "--count 0", "--json --count 2", "--json --prometheus"] {
            #expect(try site.shell.attempt("berth stats \(words)").end == .exited(64), "\(words)")
        }
        try site.shell.run("berth umount m")
    }

    /// Samples as Prometheus' own parser reads them from a command's output.
    private func samples(_ command: String) throws -> Set<String> {
        let path = "\(site.directory)/text"
        try site.shell.run("\(command) > '\(path)'")
        let script = "'\(try Programs.tool("python3"))' '\(Programs.script("parse-metrics.py"))' < '\(path)'"
        return Set(try Shell.root.run(script).split(separator: "\n").map(String.init))
    }

    @Test("berth serve tells Prometheus of every volume, on a socket for its user alone, and on the loopback if asked")
    func prometheus() throws {
        try site.shell.run(
            "berth volume create v; berth volume create idle; berth mount v m; for i in $(seq 30); do echo $i > m/$i; done"
        )
        let port = try Shell.root.run(
            "/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind((\"127.0.0.1\", 0)); print(s.getsockname()[1])'"
        )
        try site.shell.run("berth serve --detach --metrics-listen 127.0.0.1:\(port)")
        let socket = "\(site.runtime)/metrics.sock"
        #expect(try site.shell.run("stat -c %a '\(socket)'") == "600")
        let curl = "curl -sS --fail --max-time 20"
        for place in ["--unix-socket '\(socket)' http://berth/metrics", "http://127.0.0.1:\(port)/metrics"] {
            let found = try samples("\(curl) \(place)")
            for expected in [
                "berth_volume_up{volume=\"v\"} 1", "berth_volume_up{volume=\"idle\"} 0",
                "berth_fuse_request_duration_seconds_count{op=\"create\",volume=\"v\"} 30",
                "berth_inodes{volume=\"v\"} 31", "berth_sessions{runtime=\"host\",volume=\"v\"} 1",
            ] { #expect(found.contains(expected), "\(expected)") }
            let head = try site.shell.run("curl -sS -D - -o /dev/null \(place)")
            #expect(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "\(head)")
        }
        #expect(try samples("berth stats --prometheus").contains("berth_volume_up{volume=\"idle\"} 0"))
        func status(_ words: String, _ shell: Shell) throws -> String {
            try shell.run("curl -sS -o /dev/null -w '%{http_code}' --unix-socket '\(socket)' \(words)")
        }
        #expect(try status("http://berth/", site.shell) == "404")
        #expect(try status("-X POST http://berth/metrics", site.shell) == "405")
        // Root gets past every mode, and is a stranger all the same.
        if geteuid() == 0 { #expect(try status("http://berth/metrics", Shell.root) == "403") }
        try site.shell.run("berth stop; test ! -e '\(socket)'; berth umount m")
    }

    @Test("an address that others can reach is refused, on the command line and in the settings")
    func addresses() throws {
        for address in ["0.0.0.0:9567", "192.0.2.1:9567", "[::]:9567", "example.org:9567"] {
            let outcome = try site.shell.attempt("berth serve --metrics-listen '\(address)'")
            #expect(outcome.end == .exited(78), "\(outcome)")
            #expect(
                outcome.errors.contains("can be reached from other machines")
                    && outcome.errors.contains("127.0.0.1:9567"))
        }
        for address in ["9567", "127.0.0.1:0", "127.0.0.1:70000", "127.0.0.1:"] {
            let outcome = try site.shell.attempt("berth serve --metrics-listen '\(address)'")
            #expect(outcome.end == .exited(78) && outcome.errors.contains("is not ADDRESS:PORT"), "\(outcome)")
        }
        let taken = try site.shell.run(
            """
            mkfifo go; /usr/bin/python3 -c '
            import socket
            s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1], flush=True); open("go").read()' > port &
            while [ ! -s port ]; do sleep 0.05; done
            berth serve --metrics-listen 127.0.0.1:$(cat port) 2>&1; echo $?; ls '\(site.runtime)'/*.sock 2>/dev/null | wc -l
            echo > go; wait
            """)
        #expect(taken.contains("cannot be listened on: Address already in use") && taken.hasSuffix("69\n0"), "\(taken)")
        try site.shell.run(
            "mkdir -p $HOME/.config/berth; echo 'metrics-listen = 10.0.0.1:80' > $HOME/.config/berth/berth.conf")
        let outcome = try site.shell.attempt("berth serve")
        #expect(outcome.end == .exited(78) && outcome.errors.contains("berth.conf, line 1"), "\(outcome)")
    }

    @Test("logs as JSON name volume, session, runtime and job, and berth log reads both forms")
    func logs() throws {
        try site.shell.run("berth volume create v; berth mount v m; berth umount m; berth stop --all --force")
        try site.shell.run(
            "export BERTH_LOG_FORMAT=json SLURM_JOB_ID=4711; berth mount v m; berth umount m; berth stop --all --force")
        let log = "$HOME/.local/share/berth/logs/v.log"
        #expect(try site.shell.run("grep -c '^{' \(log)") == site.shell.run("berth log v -n 99 | grep -c job=4711"))
        let text = try site.shell.run(
            """
            grep '^{' \(log) | /usr/bin/python3 -c '
            import json, sys
            lines = [json.loads(line) for line in sys.stdin]
            assert all(line["volume"] == "v" and line["job"] == "4711" and line["program"] == "berthfs" for line in lines)
            started = [line for line in lines if line["message"] == "session started"]
            assert len(started) == 1 and len(started[0]["session"]) == 32 and started[0]["runtime"] == "host", started
            assert [line["runtime"] for line in lines if line["message"] == "serving"] == ["slurm"]
            print(sorted(set(line["message"] for line in lines)))'
            """)
        #expect(text == "['closed', 'serving', 'session ended', 'session started']", "\(text)")
        #expect(try site.shell.run("berth log v -n 99 | grep -c 'serving$'") == "2")
        #expect(try site.shell.run("berth log v -n 99 --json | grep -c '\"message\" : \"closed\"'") == "2")
        try site.shell.run(
            "echo 'log-format = json' >> $HOME/.config/berth/berth.conf; berth serve --detach; timeout 60 berth serve --log-format text; berth stop"
        )
        #expect(try site.shell.run("tail -n 1 $HOME/.local/share/berth/logs/serve.log").hasPrefix("{\"time\":\""))
    }
}
