import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// Snapshots, clones and collections as an ordinary user has them, through real mounts.
@Suite("snapshots and clones", .serialized)
struct SnapshotMountTests {
    private let site: UserSite

    init() throws { site = try UserSite() }

    private func refusal(_ command: String) throws -> String {
        let outcome = try site.shell.attempt(command)
        return outcome.succeeded ? "it was not refused" : outcome.errors
    }

    @Test("a snapshot is shown read-only beside its volume, brings back a path, and goes")
    func roundTrip() throws {
        try site.shell.run(
            """
            set -e
            berth volume create v; berth mount v m; mkdir m/d s
            for i in $(seq 50); do echo "file $i" > m/d/$i; done; ln m/d/1 m/d/link; ln -s d m/l; setfattr -n user.a -v b m/d/2
            chmod 640 m/d/3; touch -d '2001-02-03 04:05:06' m/d/4; head -c 3000000 /dev/urandom > m/large
            (cd m; find . -printf '%p %m %T@ %s %n %l\\n' | sort; md5sum d/* large) > before
            berth snapshot create v@monday
            rm -r m/d; echo changed > m/large; echo new > m/new
            berth mount v@monday s
            """)
        #expect(
            try site.shell.run(
                "(cd s; find . -printf '%p %m %T@ %s %n %l\\n' | sort; md5sum d/* large) | diff before - && echo same")
                == "same")
        #expect(try refusal("touch s/x").contains("Read-only"))
        #expect(try refusal("berth snapshot create v@monday").contains("exists; use another name, or remove it first"))
        #expect(try refusal("berth snapshot rm v@monday").contains("is mounted at"))
        #expect(try refusal("berth snapshot rm v@tuesday").contains("does not exist; see `berth snapshot ls v`"))
        #expect(try refusal("berth snapshot create v@../x").contains("is not allowed"))
        #expect(try refusal("berth snapshot rm v").contains("names no snapshot"))
        #expect(try refusal("berth snapshot restore v@monday").contains("make a snapshot of it first"))
        #expect(try refusal("berth snapshot restore v@monday --force").contains("is mounted at"))
        #expect(try refusal("berth snapshot restore v@monday:/large").contains("exists; restore beside it with --to"))
        #expect(try refusal("berth snapshot restore v@monday:/nothing").contains("is not in the snapshot"))
        #expect(try site.shell.run("berth run --volume v@monday:/data -- cat /data/d/7") == "file 7")
        try site.shell.run(
            """
            set -e
            berth snapshot restore v@monday:/d; berth snapshot restore v@monday:/large --to /d/large
            berth snapshot restore v@monday:/large --force; rm m/d/large m/new
            (cd m/d; find . -mindepth 1 -printf '%p %m %T@ %s %n\\n' | sort) > back
            (cd s/d; find . -mindepth 1 -printf '%p %m %T@ %s %n\\n' | sort) | diff - back
            md5sum s/large m/large | cut -c1-32 | uniq | wc -l | grep -qx 1; getfattr -n user.a m/d/2 | grep -q '"b"'
            ! ls -a m | grep berth-restore
            """)
        try site.shell.run(
            "berth umount s; berth umount m; berth stop --all --force >/dev/null; echo later; berth snapshot restore v@monday --force"
        )
        #expect(
            try site.shell.run(
                "berth mount v m >/dev/null; (cd m; find . -printf '%p %m %T@ %s %n %l\\n' | sort; md5sum d/* large) | diff before - && echo same; berth umount m"
            ) == "same")
        #expect(try site.shell.run("berth snapshot rm v@monday; berth snapshot ls v").contains("no snapshots"))
        #expect(try site.shell.run("berth volume check v --data").contains("v: whole"))
    }

    @Test("cp shares data instead of copying it, and so does a clone, which keeps what its original loses")
    func clone() throws {
        try site.shell.run(
            """
            set -e
            berth volume create v -o path=/v; berth mount v m; head -c 30000000 /dev/urandom > m/a; echo x > m/b
            cp m/a m/copy; berth sync v --wait; mkdir c
            """)
        let total = try site.shell.run("berth gc v --dry-run | grep 'in the store'")
        #expect(total.contains("28.6 MiB in the store for 57.2 MiB of live data"), "\(total)")
        try site.shell.run("set -e; md5sum m/a > sum; berth clone v w; berth mount w c; echo y > c/b; echo z > c/own")
        #expect(try site.shell.run("cat m/b c/b; ls c | xargs; ls m | xargs") == "x\ny\na b copy own\na b copy")
        #expect(try refusal("berth clone v w").contains("exists"))
        #expect(try refusal("berth clone v@monday x").contains("does not exist"))
        #expect(try refusal("berth volume rm v").contains("shares its packs with its clone w; remove that first"))
        #expect(try site.shell.run("berth volume inspect w | grep shares | xargs") == "shares packs with v")
        try site.shell.run(
            "set -e; rm m/*; berth gc v; berth umount m; rm -r $HOME/.cache/berth; cd c; sed s,m/a,a, ../sum | md5sum -c; md5sum a copy"
        )
        try site.shell.run(
            "set -e; berth umount c; berth stop --all --force; berth mount w c; cat c/own; berth umount c")
        #expect(try site.shell.run("berth volume check w --data").contains("w: whole"))
        #expect(try site.shell.run("berth volume check v --data").contains("v: whole"))
        try site.shell.run("berth snapshot create w@one && berth clone w@one x")
        #expect(try refusal("berth volume rm v").contains("its clones w, x"))
        #expect(try site.shell.run("berth stop --all --force >/dev/null; berth volume rm x w v | xargs") == "x w v")
        #expect(try site.shell.run("ls -A $HOME/.local/share/berth/volumes") == "")
    }

    @Test("kill -9 while snapshots are made and room is given back: each snapshot keeps what it showed")
    func killed() throws {
        let seed = UInt32.random(in: .min ... .max)
        try site.shell.run("berth volume create v; mkdir sums s")
        for round in 0..<8 {
            let wait = 0.3 + Double((seed &+ UInt32(round) &* 2_654_435_761) % 1200) / 1000
            let note: Comment = "seed \(seed), round \(round)"
            try site.shell.run("berth mount v m")
            // With its keeper, or alone: then the keeper starts another, which opens what it left.
            let keeper = try #require(try site.keeper(of: "v"))
            let alone = try #require(try site.server(of: "v"))
            let server = round % 2 == 0 ? "\(keeper) \(alone)" : "\(alone)"
            // A snapshot counts from its answer on, also where another server, started after the kill, gives it: what it
            // must show was durable before it was asked for.
            try site.shell.run(
                """
                (n=0; while :; do n=$((n + 1)); k=\(round)-$n; rm -rf m/t; mkdir m/t || exit
                  for i in $(seq 20); do head -c $((i * 3000)) /dev/urandom > m/t/$i || exit; done
                  sync m/t/20 || exit; (cd m/t && md5sum *) > sums/$k.new || exit; berth snapshot create v@$k || exit; mv sums/$k.new sums/$k
                  [ $n -gt 2 ] && { j=\(round)-$((n - 2)); mv sums/$j sums/$j.old; berth snapshot rm v@$j || exit; rm sums/$j.old; }
                done) >/dev/null 2>&1 &
                (while :; do berth gc v || exit; done) >/dev/null 2>&1 &
                sleep \(wait); kill -9 \(server); sleep 0.5; kill %1 %2; wait; berth umount --lazy m; true
                """, timeout: .seconds(600))
            #expect(try site.shell.run("berth volume check v --data").contains("v: whole"), note)
            let wrong = try site.shell.run(
                """
                for f in sums/*; do case $f in *.new|*.old|'sums/*') continue;; esac; k=${f#sums/}
                  berth mount v@$k s >/dev/null || { echo "no $k"; continue; }
                  (cd s/t && md5sum -c --quiet ../../$f 2>&1) || echo "wrong $k"; berth umount s; done; rm -f sums/*.new sums/*.old
                """)
            #expect(wrong == "", note)
        }
        #expect(try site.shell.run("ls sums | wc -l").trimmed != "0", "seed \(seed): no snapshot was made")
    }

    @Test("a clone of a volume in a bucket reads its original's packs and writes its own")
    func bucket() throws {
        let server = try S3Server.shared()
        let place = site.directory.split(separator: "/").last ?? "x"
        try site.shell.run(
            """
            set -e
            mkdir -p -m 700 $HOME/.config/berth; f=$HOME/.config/berth/credentials
            printf '[default]\\naws_access_key_id = \(S3Server.accessKey)\\naws_secret_access_key = \(S3Server.secretKey)\\n' > $f
            chmod 600 $f
            berth volume create v -o store=s3://\(S3Server.bucket)/\(place) -o endpoint=\(server.endpoint)
            berth mount v m; head -c 20000000 /dev/urandom > m/a; md5sum m/a | cut -c1-32 > sum
            berth snapshot create v@one; rm m/a; head -c 1000000 /dev/urandom > m/b
            berth clone v@one w; mkdir c; berth mount w c; rm -rf $HOME/.cache/berth/w
            md5sum c/a | cut -c1-32 | cmp sum; echo own > c/own; berth sync w --wait; berth gc w; berth gc v
            berth snapshot rm v@one; berth gc v; berth umount c; berth stop --all --force || true; rm -rf $HOME/.cache/berth/w
            berth mount w c; md5sum c/a | cut -c1-32 | cmp sum; cat c/own; berth umount c; berth umount m
            """)
        #expect(try site.shell.run("berth volume check w --data").contains("w: whole"))
        #expect(try refusal("berth volume rm v").contains("its clone w"))
        #expect(try site.shell.run("berth stop --all --force >/dev/null; berth volume rm w v | xargs") == "w v")
    }
}

extension String {
    fileprivate var trimmed: String { split(whereSeparator: \.isWhitespace).joined(separator: " ") }
}
