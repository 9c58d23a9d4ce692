import LinuxSystem
import TestSupport
import Testing

/// A volume that comes back: from its store, from a dump, after damage.
@Suite("recovery", .serialized)
struct RecoveryTests {
    private let site: UserSite

    init() throws { site = try UserSite() }

    /// What another machine knows of this user: nothing.
    private static let loseMachine =
        "berth stop --all --force >/dev/null; rm -rf $HOME/.local/share/berth $HOME/.cache/berth; berth setup >/dev/null 2>&1; true"

    @Test("a volume comes back from its store alone, as it was when it was last closed, and can be used and lost again")
    func recoverFromDirectory() throws {
        let text = try site.shell.run(
            """
            set -e; mkdir s; berth volume create v -o store=file://$PWD/s -o path=/data -o size=1G >/dev/null
            berth mount v m >/dev/null; for i in $(seq 300); do echo "file $i" > m/f$i; done; mkdir m/d; ln m/f1 m/d/hard
            head -c 3000000 /dev/urandom > m/d/large; md5sum m/f* m/d/* > sums; berth umount m; \(Self.loseMachine)
            berth volume recover file://$PWD/s/v
            berth volume inspect v | grep -E '^option (path|size)' | xargs
            berth mount v m >/dev/null; md5sum -c --quiet sums && echo same; echo more > m/more; berth umount m
            berth stop --all --force >/dev/null; berth volume check v --data | grep -o 'v: whole'; \(Self.loseMachine)
            berth volume recover file://$PWD/s/v | tail -1; berth mount v m >/dev/null; cat m/more; berth umount m
            """)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.first?.hasPrefix("v: recovered as it was at 20") == true, "\(text)")
        #expect(
            Array(lines.dropFirst()) == [
                "nothing that the copy names is missing", "option path /data option size 1073741824", "same",
                "v: whole",
                "nothing that the copy names is missing", "more",
            ], "\(text)")
    }

    @Test(
        "a volume in a bucket comes back on another machine, with what was copied at the interval, and says what it lost"
    )
    func recoverFromBucket() throws {
        let server = try S3Server.shared()
        let place = site.directory.split(separator: "/").last ?? "x"
        let keys =
            "export AWS_ACCESS_KEY_ID=\(S3Server.accessKey) AWS_SECRET_ACCESS_KEY=\(S3Server.secretKey) AWS_ENDPOINT_URL=\(server.endpoint)"
        let text = try site.shell.run(
            """
            set -e; \(keys)
            berth volume create v -o store=s3://\(S3Server.bucket)/\(place) -o metadata-copy=6s >/dev/null
            berth mount v m >/dev/null; for i in $(seq 100); do echo "file $i" > m/f$i; done; md5sum m/* > sums
             # Between the first copy and the second.
             sleep 9; echo late > m/late; sync m/late
             kill -9 $(berth status --json | grep -E '"(keeper|server)"' | tr -dc '0-9\\n'); fusermount3 -uz m
            rm -rf $HOME/.local/share/berth $HOME/.cache/berth
            berth volume recover s3://\(S3Server.bucket)/\(place)/v | head -1 | grep -c recovered
            berth mount v m >/dev/null; md5sum -c --quiet sums && echo same; ls m | grep -c ^f
            test -e m/late && echo there || echo "after the copy"; berth umount m; berth stop --all --force >/dev/null
            berth volume check v --data | grep -o 'v: whole'; berth volume rm v
            """)
        #expect(text == "1\nsame\n100\nafter the copy\nv: whole\nv", "\(text)")
    }

    @Test("snapshots are not in the copies: they are dropped with a line, and what only they held leaves the store")
    func snapshotsAreDropped() throws {
        let text = try site.shell.run(
            """
            set -e; mkdir s; berth volume create v -o store=file://$PWD/s -o compression=none -o trash=0 -o metadata-copy=2s >/dev/null
            berth mount v m >/dev/null; head -c 20000000 /dev/urandom > m/old; echo keep > m/keep; berth sync v --wait >/dev/null 2>&1
            berth snapshot create v@monday >/dev/null; berth snapshot create v@tuesday >/dev/null; rm m/old; berth umount m; \(Self.loseMachine)
            berth volume recover file://$PWD/s/v | tail -n +2
            berth volume check v --data | grep -o 'v: whole'; berth snapshot ls v; berth mount v m >/dev/null; cat m/keep
            for i in $(seq 40); do
              test $(du -s --apparent-size -B1 s/v/packs | cut -f1) -lt 1000000 && { echo "given back"; break; }; sleep 0.5; berth gc v >/dev/null
            done; berth umount m
            """)
        #expect(
            text.contains("lost: the snapshots monday, tuesday; what only they held leaves the store\nv: whole"),
            "\(text)")
        #expect(text.contains("no snapshots") && text.hasSuffix("keep\ngiven back"), "\(text)")
    }

    @Test("a URL without a volume, a volume that is here, and two recoveries at once are refused in one line")
    func refusals() throws {
        try site.shell.run(
            "mkdir s; berth volume create v -o store=file://$PWD/s >/dev/null; berth mount v m >/dev/null; echo x > m/f; berth umount m; berth stop --all --force"
        )
        let here = try site.shell.attempt("berth volume recover file://$PWD/s/v")
        #expect(here.end == .exited(73) && here.errors.contains("exists here"), "\(here.errors)")
        let none = try site.shell.attempt("berth volume recover file://$PWD/s/nothing")
        #expect(none.errors.contains("the last part of it is the volume's name"), "\(none.errors)")
        #expect(try site.shell.attempt("ls s/nothing").end != .exited(0))
        #expect(try site.shell.attempt("berth volume recover v").errors.contains("names no volume in a store"))
        // The place of a volume that is not here: the way to it is named, and works.
        let taken = try site.shell.attempt(
            "\(Self.loseMachine); berth volume create v -o store=file://$PWD/s -o path=/data")
        #expect(taken.end == .exited(73), "\(taken.errors)")
        #expect(
            taken.errors.contains("bring it back with `berth volume recover file://\(site.directory)/s/v`"),
            "\(taken.errors)")
        let both = try site.shell.run(
            """
            \(Self.loseMachine)
            for n in 1 2; do HOME=$PWD/h$n XDG_DATA_HOME=$PWD/h$n/d XDG_CACHE_HOME=$PWD/h$n/c berth volume recover file://$PWD/s/v > out$n 2>&1 & done
            wait; grep -l recovered out1 out2 | wc -l; cat out1 out2 | grep -c -e recovered -e 'being recovered by another machine'
            """)
        #expect(both == "1\n2" || both == "2\n2", "\(both)")
    }

    @Test("a mounted volume is dumped and checked, and the dump makes the same volume again")
    func dump() throws {
        let text = try site.shell.run(
            """
            set -e; mkdir s; berth volume create v -o store=file://$PWD/s >/dev/null; berth mount v m >/dev/null
            for i in $(seq 200); do echo "file $i" > m/f$i; done; printf x > "m/odd	$(printf '\\n')name%"; sync m/f1
            berth volume check v --data | grep -o 'v: whole'; berth volume dump v -o one
            berth volume dump v -o one 2>&1 | grep -o 'go on with it'; head -c 5000 one > two; head -1 one
            berth volume dump v -o two --resume >/dev/null 2>&1 || echo "another copy"
            ls $HOME/.local/share/berth/volumes/v | grep -c -e dump -e check || true
            md5sum m/* > sums; berth umount m; berth stop --all --force >/dev/null; berth volume dump v > three
            head -c 5000 three > four; berth volume dump v -o four --resume >/dev/null; cmp three four && echo resumed
            rm -rf $HOME/.local/share/berth/volumes/v/meta.db*
            berth volume load v - < three; berth volume check v --data | grep -o 'v: whole'
            berth mount v m >/dev/null; md5sum -c --quiet sums && echo same; berth umount m; berth stop --all --force >/dev/null
            berth volume load v three 2>&1 | grep -o 'has metadata already'
            """)
        #expect(
            text.contains("v: whole\nv: ") && text.contains("go on with it\nberth-dump\t1\t")
                && text.contains(
                    "resumed\nv: loaded; prove it with: berth volume check v\nv: whole\nsame\nhas metadata already"),
            "\(text)")
    }

    @Test(
        "a database that is gone or no database any more is no new volume, and comes back with check --repair, from the copy or the packs"
    )
    func repair() throws {
        let text = try site.shell.run(
            """
            set -e; mkdir s; d=$HOME/.local/share/berth/volumes
            for v in a b; do
              test $v = a && o="-o store=file://$PWD/s" || o=""
              berth volume create $v $o >/dev/null; berth mount $v m >/dev/null
              for i in $(seq 50); do echo "file $i" > m/f$i; done; berth umount m; berth stop --all --force >/dev/null
            done
            rm $d/a/meta.db*; head -c 100000 /dev/urandom > $d/b/meta.db
            for n in gone emptied; do
              berth mount a m 2>&1 | grep -o 'its metadata is gone'; berth volume check a | grep -o DAMAGED; : > $d/a/meta.db
            done
            berth volume check b 2>&1 | grep -o 'check --repair'
            berth mount b m 2>&1 | grep -o 'check --repair'
            berth volume check a --repair | grep -e copy -e whole; berth volume check b --repair | grep -e lost+found -e whole
            for v in a b; do berth mount $v m >/dev/null; cat m/f7 m/lost+found/inode-8 2>/dev/null || true; ls m m/lost+found 2>/dev/null | wc -l; berth umount m; done
            ls $d/b | grep -c damaged
            """)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(
            Array(lines.prefix(4)) == Array(repeating: ["its metadata is gone", "DAMAGED"], count: 2).flatMap { $0 })
        #expect(lines.dropFirst(4).first == "check --repair", "\(text)")
        #expect(text.contains("from the store's copy"), "\(text)")
        #expect(text.contains("50 files of 1 packs that no metadata named"), "\(text)")
        #expect(text.contains("file 7"), "\(text)")
        #expect(lines.last == "1", "\(text)")
    }
}
