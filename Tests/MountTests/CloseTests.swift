import FileModel
import LinuxSystem
import TestSupport
import Testing

/// What is promised of a volume in a bucket for when it is closed: each way to end it, and what another machine finds then.
@Suite("the end of a volume in a bucket", .serialized)
struct CloseTests {
    private let site: UserSite
    private let proxy: FaultyProxy
    private let place: String

    init() throws {
        site = try UserSite()
        proxy = try FaultyProxy(before: try S3Server.shared())
        place = String(site.directory.split(separator: "/").last ?? "x")
    }

    private var options: String { "-o endpoint=\(proxy.endpoint)" }
    private func url(_ volume: String) -> String { "s3://\(S3Server.bucket)/\(place)/\(volume)" }

    /// Keys, a second machine of this user, and words of the tests.
    private var prelude: String {
        """
        export AWS_ACCESS_KEY_ID=\(S3Server.accessKey) AWS_SECRET_ACCESS_KEY=\(S3Server.secretKey)
        mkdir -p -m 700 h2 h3; other() { env HOME=$PWD/h2 BERTH_RUNTIME_DIR=$PWD/r2 "$@"; }; third() { env HOME=$PWD/h3 BERTH_RUNTIME_DIR=$PWD/r3 "$@"; }
        pids() { berth volume inspect $1 --json | grep -E '"(keeper|server)"' | tr -dc '0-9\\n'; }
        ended() { for t in $(seq 600); do kill -0 $* 2>/dev/null || return 0; sleep 0.1; done; echo "$* did not end"; }
        tree() { (cd $1 && find . -printf '%p %y %m %n %T@ %l\\n' | sort && find . -type f -exec md5sum {} + | sort); }
        fill() { mkdir -p $1/a/b; for i in 1 2 3 4 5; do echo "file $i of $1" > $1/a/f$i; done; head -c 3000000 /dev/urandom > $1/a/b/large
          ln $1/a/f1 $1/hard; ln -s a/f2 $1/soft; chmod 640 $1/a/f3; touch -d 2001-02-03 $1/a/f4; rm $1/a/f5; mv $1/a/f4 $1/a/b/moved; }

        """
    }

    private func run(_ script: String) throws -> String {
        try site.shell.run(prelude + script, timeout: .seconds(600))
    }

    @Test("however it is ended, long before metadata-copy, another machine has the same tree from the bucket alone")
    func everyEnd() throws {
        // After umount the server ends by itself; `stop`, a logout's signals to either process or both, what a job's end runs, and a
        // machine that is lost right after `sync`.
        let text = try run(
            """
            mkdir -p $HOME/.config/berth; echo 'server-idle = 1s' > $HOME/.config/berth/berth.conf
            all="umount stop server keeper logout job sync restarted"
            for v in $all; do
              berth volume create $v -o store=s3://\(S3Server.bucket)/\(place) \(options) >/dev/null; mkdir m-$v; berth mount $v m-$v >/dev/null
              fill m-$v; tree m-$v > $v.before; pids $v > $v.pids
            done
            berth restart restarted >/dev/null; pids restarted > restarted.pids
            (berth umount m-umount; ended $(cat umount.pids)) &
            (kill -TERM $(tail -1 server.pids); ended $(cat server.pids)) &
            (kill -HUP $(head -1 keeper.pids); ended $(cat keeper.pids)) &
            (kill -TERM $(cat logout.pids); ended $(cat logout.pids)) &
            (berth umount m-job --timeout 20; kill -9 $(cat job.pids)) &
            (berth sync sync --wait --timeout 20; kill -9 $(cat sync.pids); fusermount3 -uz m-sync) &
            (berth umount m-restarted; ended $(cat restarted.pids)) &
            wait
            berth umount m-stop; berth stop --all | grep -v plugin; ended $(cat stop.pids)
            for v in $all; do fusermount3 -uz m-$v 2>/dev/null; done
            look() {
              other berth volume recover s3://\(S3Server.bucket)/\(place)/$1 \(options) > $1.recovered || { cat $1.recovered; return; }
              tail -1 $1.recovered | grep -v '^nothing that the copy names is missing'
              mkdir n-$1; other berth mount $1 n-$1 >/dev/null; tree n-$1 > $1.after; other berth umount n-$1
              cmp $1.before $1.after && echo "$1: same"
            }
            for v in $all; do look $v & done; wait
            other berth stop --all --force >/dev/null
            """)
        let lines = text.split(separator: "\n").map(String.init)
        let wanted = [
            "all of job is in the store, with a copy of its metadata",
            "all of sync is in the store, with a copy of its metadata", "ended the server of stop",
        ]
        for line in wanted { #expect(lines.contains(line), "\(line): \(text)") }
        let same = lines.filter { $0.hasSuffix(": same") }.map { String($0.prefix { $0 != ":" }) }
        #expect(
            same.sorted() == ["job", "keeper", "logout", "restarted", "server", "stop", "sync", "umount"], "\(text)")
        #expect(lines.count == wanted.count + same.count, "\(text)")
    }

    @Test("a store that hangs does not hold up the end, what is missing is said, and the next server makes the copy")
    func deadlines() throws {
        for faults in ["GET hang 100000", "* hang 100000"] {
            let volume = "v\(faults.filter(\.isLetter).lowercased())"
            try proxy.set("")
            _ = try run(
                "berth volume create \(volume) -o store=s3://\(S3Server.bucket)/\(place) \(options) >/dev/null; berth mount \(volume) m >/dev/null; echo first > m/first; berth sync \(volume) --wait >/dev/null; fill m; tree m > before; sync m/hard"
            )
            try proxy.set(faults)
            let text = try run(
                "date +%s > begin; berth umount m; berth stop --all --timeout 3 | grep -v plugin; echo $(($(date +%s) - $(cat begin)))"
            )
            let lines = text.split(separator: "\n").map(String.init)
            #expect(lines.count == 3 && lines[0] == "ended the server of \(volume)", "\(faults): \(text)")
            #expect(lines[1].contains("a copy of its metadata is not (see "), "\(faults): \(text)")
            #expect(lines[1].contains("all of") == (faults == "GET hang 100000"), "\(faults): \(text)")
            #expect(Int(lines[2]).map { $0 <= 12 } == true, "\(faults): \(text)")
            // Without a deadline it is said, too, and the way that is named works in that state.
            try proxy.set("")
            let next = try run(
                """
                berth mount \(volume) m >/dev/null; tree m | cmp - before && echo same; berth umount m; berth sync \(volume) --wait; berth stop --all --force >/dev/null
                other berth volume recover \(url(volume)) \(options) | tail -1; other berth stop --all >/dev/null
                """)
            #expect(
                next
                    == "same\nall of \(volume) is in the store, with a copy of its metadata\nnothing that the copy names is missing",
                "\(faults): \(next)")
        }
    }

    @Test(
        "metadata-copy is changed under a running server, sync says what it does, and copies have the options of their day"
    )
    func interval() throws {
        try proxy.set("")
        let off = try run(
            """
            berth volume create v -o store=s3://\(S3Server.bucket)/\(place) -o metadata-copy=off \(options) >/dev/null; berth mount v m >/dev/null
            echo one > m/one; berth sync v --wait; berth volume create w >/dev/null; berth volume set w metadata-copy=1m 2>&1; berth volume set w metadata-copy=off >/dev/null
            other berth volume recover \(url("v")) \(options) 2>&1; true
            """)
        #expect(
            off.hasPrefix(
                "all of v is in the store; its metadata is not copied there (make copies with: berth volume set v metadata-copy=)\n"
            ),
            "\(off)")
        #expect(
            off.contains("if the machine that had it is there, run `berth sync v --wait` on it, and recover then"),
            "\(off)")
        #expect(off.contains("has no effect: the volume's store is on the disk of its metadata"), "\(off)")
        func copies() throws -> Int { try proxy.requests().count { $0.hasPrefix("PUT") && $0.contains(".manifest") } }
        #expect(try copies() == 0)
        _ = try run("berth volume set v metadata-copy=1s size=1G >/dev/null; echo two > m/two")
        try eventually("a copy is made at the interval") { try copies() > 0 }
        // What keeps it from being made is said as long as it lasts.
        try proxy.set("PUT error 100000")
        _ = try run("mkdir m/fault; sync m/fault")
        let words = "fault    v  store: the metadata is not copied into the store: "
        try eventually("status says that no copy can be made") { try run("berth status").contains(words) }
        try proxy.set("")
        _ = try run("rmdir m/fault")
        try eventually("status says so no more") { try !run("berth status").contains(words) }
        _ = try run("berth volume set v metadata-copy=off >/dev/null; echo three > m/three; sync m/three")
        try proxy.set("")
        let text = try run(
            """
            berth volume set v metadata-copy= size=2G >/dev/null; berth volume inspect v | grep -c metadata-copy
            berth sync v --wait --json | grep -o '"copy":"copied"' | tail -1; kill -9 $(pids v); fusermount3 -uz m
            other berth volume recover \(url("v")) \(options) | tail -1; mkdir n; other berth mount v n >/dev/null; cat n/*
            other berth volume inspect v | grep '^option size' | xargs; other berth umount n; other berth stop --all --force >/dev/null
            """)
        #expect(
            text
                == "0\n\"copy\":\"copied\"\nnothing that the copy names is missing\none\nthree\ntwo\noption size 2147483648",
            "\(text)")
    }

    @Test("a bucket without a copy gives back all that its packs tell, the volume goes on, and each advice is followed")
    func withoutCopy() throws {
        try proxy.set("")
        let text = try run(
            """
            berth volume create v -o store=s3://\(S3Server.bucket)/\(place) -o path=/data -o metadata-copy=off \(options) >/dev/null; berth mount v m >/dev/null
            mkdir m/d; for i in $(seq 40); do echo "file $i" > m/d/f$i; done; head -c 20000000 /dev/urandom > m/large; : > m/empty
            berth sync v --wait >/dev/null; find m -type f -size +0 -exec md5sum {} + | cut -c1-32 | sort > before
            pids v > old; kill -9 $(cat old); fusermount3 -uz m
            echo "--- refused"; other berth volume recover \(url("v")) \(options) 2>&1; other berth volume check --repair v 2>&1
            other berth volume create v -o store=s3://\(S3Server.bucket)/\(place) \(options) > said 2>&1; cat said
            sed -n 's/.*`\\(berth volume recover [^`]*\\)`.*/\\1/p' said > command; grep -c . command
            other sh ./command 2>&1 | grep -o 'add --from-packs'
            echo "--- recovered"; other sh -c "$(cat command) --from-packs"
            other berth volume inspect v | grep '^option path' | xargs; mkdir n; other berth mount v n >/dev/null
            find n -type f -exec md5sum {} + | cut -c1-32 | sort | cmp - before && echo same; ls n; ls n/lost+found | grep -vc '^inode-[0-9]*$'
            mv n/lost+found n/found; echo new > n/new; other berth volume set v metadata-copy= >/dev/null; tree n > after; other berth umount n; other berth sync v --wait; other berth stop --all --force >/dev/null
            other berth volume check v --data | grep -o 'v: whole'
            echo "--- again"; other berth volume recover \(url("v")) \(options) > said 2>&1; cat said
            other sh -c "$(sed -n 's/.*or remove it first with `\\([^`]*\\)`.*/\\1/p' said)"; other berth volume recover \(url("v")) \(options) | tail -1
            third berth volume recover \(url("v")) \(options) | tail -1; mkdir o; third berth mount v o >/dev/null; tree o | cmp - after && echo same; third berth umount o
            other berth stop --all --force >/dev/null; third berth stop --all --force >/dev/null
            """)
        let parts = text.split(separator: "--- ").map(String.init)
        guard parts.count == 3 else { throw TestFailure(text) }
        #expect(
            parts[0].contains(
                "the store holds no copy of the volume's metadata; if the machine that had it is there, run `berth sync v --wait`"
            ), "\(text)")
        #expect(
            parts[0].contains("files come back from ")
                && parts[0].contains("holds a volume already; bring that one back with"), "\(text)")
        #expect(
            parts[0].contains(
                "volume \"v\": does not exist; make it with `berth volume create v`, or bring it back with"), "\(text)")
        #expect(parts[0].hasSuffix("\n1\nadd --from-packs\n"), "\(text)")
        #expect(parts[1].contains(" came 41 files, ") && parts[1].contains("not known: names, directories"), "\(text)")
        #expect(
            parts[1].hasSuffix(
                "\noption path /data\nsame\nlost+found\n0\nall of v is in the store, with a copy of its metadata\nv: whole\n"
            ),
            "\(text)")
        #expect(parts[2].contains("exists here"), "\(text)")
        #expect(
            parts[2].hasSuffix("nothing that the copy names is missing\nnothing that the copy names is missing\nsame"),
            "\(text)")
    }

    @Test(
        "a volume that was never used comes back empty, one whose mark is gone with its files, and a copy that cannot be whole is passed over"
    )
    func oddStates() throws {
        try proxy.set("")
        let curl =
            "curl -sSf --aws-sigv4 aws:amz:us-east-1:s3 --user \(S3Server.accessKey):\(S3Server.secretKey) \(try S3Server.shared().endpoint)/\(S3Server.bucket)/\(place)"
        let text = try run(
            """
            for v in new marked old; do berth volume create $v -o store=s3://\(S3Server.bucket)/\(place) \(options) >/dev/null; done
            other berth volume recover \(url("new")) \(options); other berth mount new m >/dev/null; ls m | wc -l; other berth umount m
            berth mount marked m >/dev/null; echo kept > m/f; berth umount m; berth stop --all >/dev/null; \(curl)/marked/volume.json -X DELETE
            other berth volume recover \(url("marked")) \(options) | tail -1; other berth mount marked m >/dev/null; cat m/f; other berth umount m
            berth mount old m >/dev/null; echo here > m/f; berth sync old --wait >/dev/null; berth umount m; berth stop --all >/dev/null
            for o in $(\(curl.replacing("/\(place)", with: ""))'?list-type=2&prefix=\(place)%2Fold%2F' | grep -o '[^<>]*/packs/[^<]*'); do
              \(curl.replacing("/\(place)", with: ""))/$o -X DELETE; done
            other berth volume recover \(url("old")) \(options) | tail -n +2
            for o in $(\(curl.replacing("/\(place)", with: ""))'?list-type=2&prefix=\(place)%2Fold%2F' | grep -o '[^<>]*metadata/[0-9a-f]*-0'); do
              \(curl.replacing("/\(place)", with: ""))/$o -X DELETE; done
            third berth volume recover \(url("old")) \(options) 2>&1 | grep -o 'add --from-packs'
            third berth volume recover \(url("old")) \(options) --from-packs | tail -1
            other berth stop --all --force >/dev/null; third berth stop --all --force >/dev/null
            """)
        #expect(
            text.hasPrefix(
                "new: recovered as a volume without files: the store holds neither packs nor a copy of its metadata\n0\nnothing that the copy names is missing\nkept\nlost: 1 packs are not in the store; 1 files have data in them, and reading it gives an input/output error:\n  /f\nadd --from-packs\n"
            ), "\(text)")
    }
}
