import FileModel
import LinuxSystem
import TestSupport
import Testing

/// Volumes whose packs are in a bucket of a real S3 server, as an ordinary user has them.
@Suite("volumes in buckets", .serialized)
struct BucketTests {
    private let site: UserSite
    private let server: S3Server

    init() throws {
        site = try UserSite()
        server = try S3Server.shared()
        try giveKeys()
    }

    /// Writes the user's own file of keys.
    private func giveKeys(_ secret: String = S3Server.secretKey, mode: Int = 600) throws {
        try site.shell.run(
            """
            mkdir -p -m 700 $HOME/.config/berth; f=$HOME/.config/berth/credentials
            printf '[default]\\naws_access_key_id = \(S3Server.accessKey)\\naws_secret_access_key = \(secret)\\n' > $f
            chmod \(mode) $f
            """)
    }

    private func options(_ endpoint: String? = nil, bucket: String = S3Server.bucket) -> String {
        let place = site.directory.split(separator: "/").last ?? "x"
        return "-o store=s3://\(bucket)/\(place) -o endpoint=\(endpoint ?? server.endpoint)"
    }

    private var log: String { "$HOME/.local/share/berth/logs/v.log" }

    @Test("what was written is read back from the bucket without the cache, and goes with the volume")
    func roundTrip() throws {
        let text = try site.shell.run(
            """
            set -e
            mkdir c; berth volume create v \(options()) -o cache-dir=$PWD/c -o cache-size=64M >/dev/null
            berth mount v m >/dev/null
            head -c 50000000 /dev/urandom > m/large; for i in $(seq 500); do echo "file $i" > m/f$i; done
            md5sum m/* > sums; berth umount m; berth stop --all --force >/dev/null
            test "$(du -s c/v | cut -f1)" -gt 30000; rm -rf c/v; test ! -e $HOME/.cache/berth/v
            berth volume check v --data | grep -c 'v: whole'
            berth mount v m >/dev/null; md5sum -c --quiet sums && echo same
            rm m/large; mv m/f1 m/g; berth umount m; berth mount v m >/dev/null; ls m | wc -l; berth umount m
            berth volume inspect v | grep '^store'; test "$(du -s c/v | cut -f1)" -lt 70000
            berth stop --all --force >/dev/null; berth volume rm v; berth volume create v \(options()); berth mount v m >/dev/null; ls m | wc -l; berth umount m
            """)
        #expect(text.hasPrefix("1\nsame\n500\nstore "), "\(text)")
        #expect(text.hasSuffix("\nv\nv\n0"), "a bucket that was not cleared would refuse the new volume")
    }

    @Test("keys are in no record, log, command line or answer, and come from the environment where no file has them")
    func secrets() throws {
        try site.shell.run("berth volume create v \(options()); rm $HOME/.config/berth/credentials")
        #expect(try site.shell.attempt("berth mount v m").errors.contains("there are none for profile \"default\""))
        let keys = "AWS_ACCESS_KEY_ID=\(S3Server.accessKey) AWS_SECRET_ACCESS_KEY=\(S3Server.secretKey)"
        try site.shell.run(
            "\(keys) berth mount v m; head -c 20000000 /dev/urandom > m/f; berth umount m; berth mount v m; cat m/f | md5sum"
        )
        // The server and its keeper.
        let processes = try site.wholeServer(of: "v")
        let found = try site.shell.attempt(
            """
            grep -rl '\(S3Server.secretKey)' $HOME '\(site.runtime)'; for p in \(processes); do tr '\\0' ' ' < /proc/$p/cmdline; done | grep KEY
            { berth volume inspect v; berth volume inspect v --json; berth status --json; berth log; } | grep -e '\(S3Server.secretKey)' -e '\(S3Server.accessKey)'
            """)
        #expect(found.output == "")
        #expect(try site.shell.run("for p in \(processes); do stat -c %a /proc/$p/environ; done") == "400\n400")
        // A server of a volume in a directory is given none.
        try site.shell.run("berth umount m; berth volume create d; \(keys) berth mount d m")
        guard let other = try site.server(of: "d") else { throw TestFailure("no server") }
        #expect(try Shell.root.attempt("grep -c AWS_ /proc/\(other)/environ").output == "0\n")
        try site.shell.run("berth umount m; berth stop --all --force >/dev/null; \(keys) berth volume rm v d")
    }

    @Test("a bucket that refuses is named when the volume is made, and nothing is left of the volume")
    func refusals() throws {
        let proxy = try FaultyProxy(before: server)
        func refused(_ options: String, _ faults: String = "") throws -> String {
            try proxy.set(faults)
            let outcome = try site.shell.attempt("berth volume create v \(options)")
            #expect(outcome.end != .exited(0))
            #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
            return outcome.errors
        }
        #expect(try refused(options(bucket: "no-such-bucket")).contains("there is no bucket \"no-such-bucket\""))
        #expect(try refused(options("http://127.0.0.1:1")).contains("Failed to connect to 127.0.0.1 port 1"))
        #expect(try refused(options(proxy.endpoint), "* html 9").contains("web page and no S3"))
        #expect(try refused(options(proxy.endpoint), "* redirect 9").contains("-o region=eu-test-1"))
        // On a busy machine the answer's hour grows on its way.
        let skewed = try refused(options(proxy.endpoint), "* skew 9")
        #expect(["60", "61"].contains { skewed.contains("clock is \($0) minutes ahead") }, "\(skewed)")
        #expect(try refused(options(proxy.endpoint), "* throttle 9").contains("SlowDown"))
        #expect(try refused("-o endpoint=http://h -o store=file:///tmp").contains("add store=s3://bucket/prefix"))
        #expect(try refused("-o store=s3://b/../x").contains("is not s3://bucket/prefix"))
        #expect(try refused(options("http://user:word@host")).contains("must name a host"))
        try giveKeys("wrong")
        #expect(try refused(options()).contains("the secret key of profile default in \(site.home)/.config/berth"))
        try giveKeys(mode: 644)
        #expect(try refused(options()).contains("run: chmod 600 \(site.home)/.config/berth/credentials"))
        try giveKeys()
        #expect(try site.shell.run("berth volume ls --json") == "[\n\n]")
        // Another account, or another machine, has the place.
        try site.shell.run(
            "berth volume create v \(options()); cp -a $HOME/.config $HOME/.local/share/berth/volumes/v .")
        try site.shell.run("rm -r $HOME/.local/share/berth/volumes/v")
        #expect(try refused(options()).contains("holds a volume already"))
    }

    @Test("TLS works inside the filter with a CA of one's own, which is asked for where it is missing")
    func tls() throws {
        let proxy = try FaultyProxy(before: server, tls: true)
        let refused = try site.shell.attempt("berth volume create v \(options(proxy.endpoint))")
        #expect(
            refused.errors.contains("is not trusted") && refused.errors.contains("-o ca-file="), "\(refused.errors)")
        let text = try site.shell.run(
            """
            berth volume create v \(options(proxy.endpoint)) -o ca-file=\(proxy.certificates); berth mount v m > /dev/null
            head -c 40000000 /dev/urandom > m/f; md5sum m/f > sums; berth umount m; berth stop --all --force > /dev/null
            rm -rf $HOME/.cache/berth/v; berth mount v m > /dev/null; md5sum -c sums; berth umount m
            berth stop --all --force >/dev/null; berth volume rm v
            """)
        #expect(text == "v\nm/f: OK\nv")
    }

    @Test("kill -9 while packs are on their way: what was fsynced is there, and everything is stored in the end")
    func killed() throws {
        let proxy = try FaultyProxy(before: server)
        try site.shell.run("berth volume create v \(options(proxy.endpoint))")
        for round in 0..<4 {
            try proxy.set("PUT delay-\(100 + 150 * round) 100\nPUT lose-reply \(round)")
            try site.shell.run(
                "berth mount v m; head -c 60000000 /dev/urandom > m/f\(round); echo x > m/s\(round); sync m/f\(round); md5sum m/f\(round) >> sums"
            )
            let process = try site.wholeServer(of: "v")
            try eventually("a pack is on its way") { try proxy.requests().contains { $0.hasPrefix("PUT") } }
            try site.shell.run("kill -9 \(process); berth umount --lazy m; rm -rf $HOME/.cache/berth/v")
            #expect(
                try site.shell.run("berth mount v m; md5sum -c --quiet sums && cat m/s*; berth umount m").contains("x"))
        }
        try proxy.set("")
        try site.shell.run("berth mount v m; berth umount m; berth stop --all --force; rm -rf $HOME/.cache/berth/v")
        #expect(try site.shell.run("berth volume check v --data").contains("v: whole"))
        #expect(
            try site.shell.run("berth mount v m; md5sum -c --quiet sums && echo same; berth umount m").contains("same"))
        try site.shell.run("berth stop --all --force; berth volume rm v")
    }

    @Test("a server that is down holds up neither readers nor writers, and all is stored once it is back")
    func outage() throws {
        let server = try S3Server()
        defer { server.stop() }
        try site.shell.run(
            "berth volume create v \(options(server.endpoint)); berth mount v m; echo old > m/old; sync m/old")
        try server.halt()
        try site.shell.run(
            "head -c 60000000 /dev/urandom > m/f; md5sum m/f > sums; sync m/f; echo more > m/more; sync m/more; cat m/old"
        )
        try eventually("the log says so", within: .seconds(60)) {
            try site.shell.attempt("grep -q 'takes no packs: pack .*Failed to connect' \(log)").succeeded
        }
        // Also a server that starts meanwhile serves what is here.
        let process = try site.wholeServer(of: "v")
        try site.shell.run("kill -9 \(process); berth umount --lazy m; berth mount v m; md5sum -c sums; cat m/more")
        #expect(try site.shell.run("grep -c 'the store cannot be reached now' \(log)") == "1")
        try server.start()
        try eventually("all is stored", within: .seconds(90)) {
            try site.shell.run("find $HOME/.local/share/berth/volumes/v/staging -name '*.raw' -size +9M") == ""
        }
        try site.shell.run(
            "berth umount m; berth stop --all --force; rm -rf $HOME/.cache/berth/v; berth mount v m; md5sum -c sums")
        try site.shell.run("berth umount m; berth stop --all --force")
        #expect(try site.shell.run("berth volume check v --data").contains("v: whole"))
    }
}
