import FileModel
import LinuxSystem
import TestSupport
import Testing

/// How writes reach a bucket, and what is said of those that have not.
@Suite("uploads", .serialized)
struct UploadTests {
    private let site: UserSite
    private let proxy: FaultyProxy

    init() throws {
        site = try UserSite()
        proxy = try FaultyProxy(before: try S3Server.shared())
        try site.shell.run(
            """
            mkdir -p -m 700 $HOME/.config/berth; f=$HOME/.config/berth/credentials; umask 077
            printf '[default]\\naws_access_key_id=\(S3Server.accessKey)\\naws_secret_access_key=\(S3Server.secretKey)\\n' > $f
            """)
    }

    private func create(_ options: String = "", endpoint: String? = nil, variables: String = "") throws {
        let place = site.directory.split(separator: "/").last ?? "x"
        try site.shell.run(
            "\(variables) berth volume create v -o store=s3://berth/\(place) -o endpoint=\(endpoint ?? proxy.endpoint) \(options); \(variables) berth mount v m"
        )
    }

    private func packRequests(_ method: String) throws -> Int {
        try proxy.requests().count { $0.hasPrefix("\(method) ") && $0.contains("/packs/") }
    }

    private var staging: String { "$HOME/.local/share/berth/volumes/v/staging" }

    @Test("10,000 small files are a few requests, none of them before a put")
    func requests() throws {
        try create()
        try proxy.set("")
        try site.shell.run(
            "for i in $(seq 10000); do head -c 4096 /proc/self/exe > m/f$i; done 2>/dev/null; berth sync v --wait",
            timeout: .seconds(600))
        let all = try proxy.requests()
        #expect(try packRequests("PUT") <= 4 && packRequests("HEAD") == 0, "\(all)")
        #expect(all.count { $0.hasPrefix("PUT") } <= 10)
        try site.shell.run("berth umount m; berth stop --all --force >/dev/null; berth volume rm v")
    }

    @Test("with durability=store fsync and close return after the object is there, and a lost machine loses nothing")
    func durability() throws {
        try create("-o durability=store")
        for (number, words) in ["sync m/f", "", "sync m/f"].enumerated() {
            let faults = ["PUT delay-700 9", "PUT delay-700 9", "PUT throttle 1\nPUT lose-reply 1"][number]
            try proxy.set(faults)
            // The shell's redirection closes the file: with no `sync` that alone waits.
            try site.shell.run("head -c 30000 /dev/urandom > m/f; \(words)")
            let puts = try proxy.requests().filter { $0.hasPrefix("PUT") && $0.contains("/packs/") }
            #expect(puts.contains { $0.contains(" 200 ") }, "\(number): \(puts)")
            let process = try site.wholeServer(of: "v")
            let text = try site.shell.run(
                """
                md5sum m/f > sum; kill -9 \(process); berth umount --lazy m; rm -rf $HOME/.cache/berth/v \(staging)/*
                berth mount v m > /dev/null; md5sum -c sum
                """)
            #expect(text == "m/f: OK")
        }
        #expect(try site.shell.run("berth volume inspect v | grep -c durability") == "1")
        try proxy.set("")
        try site.shell.run("berth umount m; berth stop --all --force >/dev/null; berth volume rm v")
    }

    @Test("a server told to end while writers wait for room ends in time; what was fsynced is stored by the next")
    func endsWhileFull() throws {
        try create()
        try proxy.set("PUT hang 1000000")
        let text = try site.shell.run(
            """
            echo kept > m/kept; head -c 3000000 /dev/urandom > m/large; sync m/kept; md5sum m/kept m/large > sums
            for t in 1 2 3 4; do (for i in $(seq 60); do head -c 1200000 /dev/zero > m/w$t-$i || exit; done) 2>/dev/null & done
            for t in $(seq 600); do sleep 0.1; n=$(ls \(staging) | grep -c raw); test $n = "$o" -a $n -gt 120 && break; test $((t % 10)) = 0 && o=$n; done
            jobs -r | wc -l | xargs test 0 -lt && echo "writers wait"
            """, timeout: .seconds(600))
        #expect(text == "writers wait")
        guard let process = try site.server(of: "v") else { throw TestFailure("no server") }
        let start = ContinuousClock.now
        let ended = try site.shell.run(
            "kill -TERM \(process); for t in $(seq 500); do sleep 0.1; test -e /proc/\(process) || { echo ended; break; }; done",
            timeout: .seconds(600))
        #expect(ended == "ended" && start.duration(to: .now) < .seconds(42), "30 s for the store, and not much more")
        try proxy.set("")
        try site.shell.run(
            "berth umount --lazy m; rm -rf $HOME/.cache/berth/v; berth mount v m; md5sum -c sums; berth sync v --wait",
            timeout: .seconds(600))
        #expect(try site.shell.run("ls \(staging) | grep -c raw || true") == "0")
        try site.shell.run(
            "berth umount m; berth stop --all --force; berth volume check v --data | grep whole; berth volume rm v")
    }

    @Test("umount and stop store what they can by their deadline, say what is left, and a later server sends it")
    func deadlines() throws {
        try create()
        try proxy.set("PUT close 100000")
        let left = try site.shell.run(
            """
            head -c 20000000 /dev/urandom > m/f; md5sum m/f > sum; date +%s%N > begin; berth umount m --timeout 2
            echo $((($(date +%s%N) - $(cat begin)) / 1000000000))
            berth stop --all --force --timeout 1 | grep -v plugin
            """)
        let lines = left.split(separator: "\n")
        #expect(
            lines.count == 4 && lines[0].contains("of v are not in the store yet; they are safe in staging"), "\(left)")
        #expect(Int(lines[1]).map { (2...12).contains($0) } == true, "\(left)")
        #expect(lines[2] == "ended the server of v" && lines[3].contains("safe in staging"), "\(left)")
        try proxy.set("")
        let text = try site.shell.run(
            """
            berth mount v m > /dev/null; md5sum -c sum; berth umount m --timeout 60; berth stop --all --force --timeout 60 | grep -v plugin
            berth mount v m > /dev/null; berth sync v --wait --json | tail -1 | cut -c1-36; berth umount m; berth stop --all --force > /dev/null; berth volume rm v
            """)
        #expect(
            text
                == "m/f: OK\nall of v is in the store, with a copy of its metadata\nended the server of v\nall of v is in the store, with a copy of its metadata\n{\"bytes\":0,\"copy\":\"copied\",\"packs\":0\nv",
            "\(text)")
    }

    @Test("a limit of the user's holds for a volume, and a proxy of the environment is used")
    func limitsAndProxy() throws {
        let server = try S3Server.shared()
        // What stands before the server is the proxy here: requests come with whole URLs.
        let variables = "http_proxy=\(proxy.endpoint)"
        try create("-o upload-limit=2M", endpoint: server.endpoint, variables: variables)
        let seconds = try site.shell.run(
            """
            head -c 8000000 /dev/urandom > m/f; sync m/f; date +%s%N > begin; berth sync v --wait > /dev/null
            echo $((($(date +%s%N) - $(cat begin)) / 1000000)); \(variables) berth umount m; \(variables) berth stop --all --force > /dev/null
            """)
        #expect(Int(seconds).map { (2_800...20_000).contains($0) } == true, "\(seconds) ms for 8 MB at 2 MiB/s")
        #expect(try proxy.requests().contains { $0.hasPrefix("PUT \(server.endpoint)/berth/") })
        let refused = try site.shell.attempt("berth volume create w -o store=s3://berth/w -o upload-limit=10")
        #expect(refused.end == .exited(64) && refused.errors.contains("upload-limit=10: is less than 64K a second"))
        try site.shell.run("\(variables) berth volume rm v")
    }
}
