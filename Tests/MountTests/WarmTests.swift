import FileModel
import LinuxSystem
import TestSupport
import Testing

/// Data brought near before it is needed, from a real S3 server.
@Suite("warm-up", .serialized)
struct WarmTests {
    private let site: UserSite
    private let proxy: FaultyProxy

    init() throws {
        site = try UserSite()
        proxy = try FaultyProxy(before: try S3Server.shared())
        let place = site.directory.split(separator: "/").last ?? "x"
        try site.shell.run(
            """
            mkdir -p -m 700 $HOME/.config/berth; f=$HOME/.config/berth/credentials; umask 077
            printf '[default]\\naws_access_key_id=\(S3Server.accessKey)\\naws_secret_access_key=\(S3Server.secretKey)\\n' > $f
            berth volume create v -o store=s3://berth/\(place) -o endpoint=\(proxy.endpoint); berth mount v m
            """)
    }

    private func end() throws {
        // On a busy machine the session may end a little after the mount.
        try site.shell.run("berth umount m; berth stop --all --force >/dev/null; berth volume rm v")
    }

    @Test("sync --wait puts all into the store, warm brings it back, and then nothing is asked of the store")
    func gate() throws {
        let text = try site.shell.run(
            """
            for d in a b; do mkdir m/$d; for i in $(seq 300); do head -c 9000 /dev/urandom > m/$d/$i; done; done
            head -c 40000000 /dev/urandom > m/large; (cd m; md5sum large a/* b/*) > sums
            berth sync v | grep -c 'on their way'; berth sync v --wait
            find $HOME/.local/share/berth/volumes/v/staging -name '*.raw' | wc -l
            berth warm v --check > check && echo local
            berth evict v | grep -c dropped; berth warm v --check > check; echo "status $?"
            berth warm v --threads 4 | tail -1 | grep -o '"isOver":true'; berth warm v --check > check && echo local
            """)
        #expect(
            text
                == "1\nall of v is in the store, with a copy of its metadata\n0\nlocal\n1\nstatus 75\n\"isOver\":true\nlocal",
            "\(text)")
        #expect(try proxy.requests().filter { $0.hasPrefix("PUT") && $0.contains("packs") }.count <= 6)
        try proxy.set("")
        #expect(try site.shell.run("cd m; md5sum -c --quiet ../sums && echo same") == "same")
        #expect(try proxy.requests() == [])
        // Also in another process, with nobody mounted.
        try site.shell.run("berth umount m; berth stop --all --force; berth warm v --check; berth mount v m")
        #expect(try site.shell.run("cd m; md5sum -c --quiet ../sums && echo same") == "same")
        #expect(try proxy.requests().filter { $0.contains("packs") } == [])
        try end()
    }

    @Test("a path, several, or a list brings its packs alone; what is not there is named")
    func paths() throws {
        try site.shell.run(
            "for f in x y z; do mkdir m/$f; head -c 20000000 /dev/urandom > m/$f/f; done; berth sync v --wait; berth evict v"
        )
        func packs(_ words: String) throws -> Int {
            try proxy.set("")
            try site.shell.run("berth warm \(words) > out; berth evict v >> out")
            return Set(try proxy.requests().filter { $0.contains("/packs/") }.map { $0.split(separator: " ")[1] }).count
        }
        #expect(try packs("v:/x") == 3, "one shared by all, two of its own")
        #expect(try packs("v:/x/ v:/y/f") == 5)
        try site.shell.run("printf '/z/f\\nx\\n' > list")
        #expect(try packs("v --from-file list") == 5)
        #expect(try packs("v --from-file - < list") == 5)
        #expect(try packs("v:/y --check || true") == 0)
        let missing = try site.shell.attempt("berth warm v:/none")
        #expect(missing.end == .exited(66) && missing.errors.contains("v:/none: cannot be found"), "\(missing)")
        #expect(try site.shell.attempt("berth warm v:/../x").end == .exited(64))
        try end()
    }

    @Test("what cannot be had, or has no room, is no success")
    func incomplete() throws {
        try site.shell.run("head -c 30000000 /dev/urandom > m/f; berth sync v --wait; berth evict v")
        try proxy.set("GET close 1000")
        let away = try site.shell.attempt("berth warm v", timeout: .seconds(600))
        #expect(away.end == .exited(75) && away.errors.contains("packs are not here"), "\(away)")
        try proxy.set("")
        try site.shell.run("berth warm v && md5sum m/f")
        try end()
    }
}
