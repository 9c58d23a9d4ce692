import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// A server that dies or is replaced while programs use its mounts.
@Suite("a server is replaced under load", .serialized)
struct HandoverTests {
    /// What ends a server: it is killed, or it is asked.
    private enum End: String {
        case killed = "kill -9"
        case restarted = "berth restart"
    }

    private static let load =
        "/" + #filePath.split(separator: "/").dropLast(2).joined(separator: "/") + "/Servers/steady-load.py"

    /// Ends the server `rounds` times in the given ways while the programs of `steady-load.py` run on the mounts. Every
    /// answer they got must have been right, and the volume whole in the end.
    private func run(_ ways: [End], rounds: Int, mounts: [String] = ["m"]) throws {
        let site = try UserSite()
        try Shell.root.run("install -m 0644 '\(Self.load)' '\(site.directory)/load.py'")
        try site.shell.run("berth volume create v -o size=4g; mkdir -p \(mounts.joined(separator: " "))")
        for mount in mounts { try site.shell.run("berth mount v \(mount); mkdir \(mount)/own-\(mount) out-\(mount)") }
        let seed = UInt64.random(in: .min ... .max)
        var generator = SeededGenerator(seed: seed)
        let loads = mounts.map { "python3 load.py $PWD/\($0)/own-\($0) $PWD/out-\($0) $PWD/stop > said-\($0) 2>&1 &" }
        var script = loads.joined(separator: "\n") + "\nsleep 1\n"
        for round in 0..<rounds {
            let pause = Double(Int.random(in: 1100..<1900, using: &generator)) / 1000
            switch ways[round % ways.count] {
            case .killed: script += "kill -9 $(\(Self.server)) || echo 'no server'\n"
            case .restarted: script += "berth restart v > restarted 2>&1 || cat restarted\n"
            }
            script += "sleep \(pause)\n"
        }
        script += "touch stop; wait; cat said-*; \(Self.server) | wc -w"
        let text = try site.shell.run(script, timeout: .seconds(1800))
        let lines = text.split(separator: "\n").map(String.init)
        print("seed \(seed)\n\(text)")
        #expect(lines.last == "1" && !text.contains("FAILED"), "seed \(seed)\n\(text)")
        #expect(lines.count { $0.contains(" ok ") } == 11 * mounts.count, "seed \(seed)\n\(text)")
        let log = try site.shell.run("cat h/.local/share/berth/logs/v.log")
        #expect(!log.contains("critical") && !log.contains("fault"), "seed \(seed)\n\(log)")
        // What was fsynced is there, without any of the processes that served it.
        let processes = try site.wholeServer(of: "v")
        try site.shell.run(
            "kill -9 \(processes); for p in \(processes); do while kill -0 $p 2>/dev/null; do sleep 0.02; done; done")
        for mount in mounts { try site.shell.run("berth umount --lazy \(mount)") }
        #expect(try site.shell.run("berth volume check v --data").contains("v: whole"), "seed \(seed)")
        try site.shell.run("berth mount v m")
        for mount in mounts {
            let short = try site.shell.run(
                "for s in out-\(mount)/synced-*; do n=$((10#$(cat $s) * 100)); f=m/own-\(mount)/append-${s##*-}; [ $(stat -c %s $f) -ge $n ] || echo $f $n; done"
            )
            #expect(short == "", "seed \(seed)")
        }
        try site.shell.run("berth umount m")
    }

    @Test(
        "snapshots stay what they are under a new server, in .snapshots and in a mount of their own",
        .enabled(if: Self.canTakeOver))
    func snapshots() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            set -e; berth volume create v >/dev/null; mkdir -p m s; berth mount v m >/dev/null; top=$PWD
            mkdir m/d; echo deep > m/d/g
            for n in a b c; do echo $n > m/f; berth snapshot create v@$n >/dev/null; done; echo now > m/f
            berth snapshot rm v@a >/dev/null; berth mount v@b s >/dev/null
            # The numbers are not in the order in which the new server sees the snapshots.
            cat m/.snapshots/c/f m/.snapshots/b/f s/f; before=$(stat -c %i m/.snapshots/?/f | xargs)
            exec 3<m/.snapshots/c/d/g 4<s/d/g; cd m/.snapshots/b/d
            kill -9 $(\(Self.server))
            cat g ../f ../../c/f - <&3; cat <&4; cat $top/s/f $top/m/f; cd $top
            [ "$before" = "$(stat -c %i m/.snapshots/?/f | xargs)" ] && echo "the same numbers"
            berth snapshot create v@d >/dev/null; cat m/.snapshots/d/f; ls m/.snapshots | xargs
            exec 3<&- 4<&-; berth umount s; berth umount m
            """)
        #expect(
            text == "c\nb\nb\ndeep\nb\nc\ndeep\ndeep\nb\nnow\nthe same numbers\nnow\nb c d", "\(text)")
    }

    @Test(
        "check --repair mends a mounted volume under the files that programs hold open",
        .enabled(if: Self.canTakeOver))
    func mending() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            set -e; berth volume create v >/dev/null; berth mount v m >/dev/null
            for i in $(seq 20); do echo "file $i" > m/f$i; done; berth umount m; berth stop --all --force >/dev/null
            sqlite3 $HOME/.local/share/berth/volumes/v/meta.db "
                UPDATE inode SET nlink = 7 WHERE id = (SELECT inode FROM entry WHERE name = CAST('f7' AS BLOB));
                DELETE FROM entry WHERE name = CAST('f9' AS BLOB);"
            berth mount v m >/dev/null; exec 3<>m/f7 4<m/f8; cat <&4; stat -c %h m/f7; cd m
            berth volume check v | grep -o DAMAGED
            berth volume check v --repair | grep -o -e '^mended' -e 'v: whole'
            stat -c %h f7; echo more >&3; exec 3>&-; cat f7; cat lost+found/*; echo x > new; cat new
            berth volume check v --repair | grep -o -e '^mended' -e 'v: whole'
            cd ..; exec 4<&-; berth umount m; ls $HOME/.local/share/berth/volumes/v | grep -c mend || true
            """)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.prefix(3) == ["file 8", "7", "DAMAGED"], "\(text)")
        let mended = lines.dropFirst(3).prefix { $0 == "mended" }.count
        #expect(mended > 0, "\(text)")
        #expect(
            lines.dropFirst(3 + mended) == ["v: whole", "1", "more", "7", "file 9", "x", "v: whole", "0"], "\(text)")
    }

    @Test(
        "a database that must be made anew is left alone while the volume is mounted, and made anew when it is not",
        .enabled(if: Self.canTakeOver))
    func refusedMending() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            berth volume create v >/dev/null; berth mount v m >/dev/null
            for i in $(seq 20); do echo "file $i" > m/f$i; done; sync m/f20; berth umount m; berth stop --all --force >/dev/null; berth mount v m >/dev/null; exec 3<m/f7
            meta=$HOME/.local/share/berth/volumes/v/meta.db
            dd if=/dev/urandom of=$meta bs=4096 seek=1 count=40 conv=notrunc 2>/dev/null; md5sum $meta > sum
            berth volume check v --repair 2>&1 | sed 's|.*/v/||'; md5sum -c --quiet sum && echo untouched
            berth log v | grep -c died; exec 3<&-; berth umount m; berth volume check v --repair | grep -c 'lost+found'
            berth mount v m >/dev/null; cat m/lost+found/* | sort -V | tail -n 1; berth umount m
            """)
        #expect(
            text == """
                meta.db: must be made anew: database disk image is malformed; unmount the volume, and repair it then
                untouched
                0
                1
                file 20
                """, "\(text)")
    }

    /// Prints the pid of the server of `v`.
    private static let server = "berth volume inspect v --json | grep '\"server\"' | tr -dc '0-9\\n'"

    @Test("killed 20 times: no program sees anything but a pause", .enabled(if: Self.canTakeOver))
    func killed() throws { try run([.killed], rounds: 20) }

    @Test("restarted 20 times: no program sees anything but a pause", .enabled(if: Self.canTakeOver))
    func restarted() throws { try run([.restarted], rounds: 20) }

    @Test("two mounts, killed and restarted in turn", .enabled(if: Self.canTakeOver))
    func twoMounts() throws { try run([.killed, .restarted], rounds: 12, mounts: ["m", "m2"]) }

    /// FUSE_NOTIFY_RESEND.
    private static var canTakeOver: Bool { KernelRelease.current().map { $0 >= KernelRelease(6, 9) } ?? false }

    @Test("a server that dies at once each time is given up, and its mounts answer ENOTCONN", .enabled(if: canTakeOver))
    func givenUp() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create v; berth mount v m; echo x > m/f; sync m/f")
        guard let keeper = try site.keeper(of: "v") else { throw TestFailure("no keeper") }
        // Every server that the keeper starts, as soon as it is there.
        let text = try site.shell.run(
            """
            while kill -0 \(keeper) 2>/dev/null; do for p in $(cat /proc/\(keeper)/task/\(keeper)/children 2>/dev/null); do kill -9 $p 2>/dev/null; done; done
            cat m/f 2>&1 || true; berth log v 2>&1 | grep -c 'dies too often'
            berth umount --lazy m; berth mount v m; cat m/f; berth umount m
            """)
        #expect(text.contains("not connected\n1\n") && text.hasSuffix("\nx"), "\(text)")
    }

    @Test(
        "a request that two servers died of is answered with EIO by the third, and all else goes on",
        .enabled(if: canTakeOver))
    func poison() throws {
        let site = try UserSite()
        let volume = "$HOME/.local/share/berth/volumes/v"
        // A read that no store answers: it is in the server's hands as long as we like.
        try site.shell.run(
            """
            berth volume create v; berth mount v m; head -c 5000000 /dev/urandom > m/f; md5sum m/f > sum; berth umount m
            berth sync v --wait >/dev/null; berth stop --all --force >/dev/null
            """)
        #expect(try site.server(of: "v") == nil)
        let text = try site.shell.run(
            """
            rm -rf $HOME/.cache/berth/v; berth mount v m
            pack=$(find \(volume) -path '*store*' -type f -size +1M | head -1); mv $pack kept; mkfifo -m 600 $pack
            dd if=m/f of=/dev/null bs=64k count=1 iflag=direct 2> said & reader=$!
            for i in 1 2; do
              sleep 3; old=$(\(Self.server)); kill -SEGV $old
              for t in $(seq 600); do new=$(\(Self.server)); [ -n "$new" ] && [ "$new" != $old ] && break; sleep 0.1; done
            done
            for t in $(seq 600); do kill -0 $reader 2>/dev/null || break; sleep 0.1; done
            kill -0 $reader 2>/dev/null && echo hangs
            grep -o 'Input/output error' said; echo other > m/g; cat m/g
            rm $pack; mv kept $pack; berth restart v > /dev/null; md5sum -c sum; berth umount m
            grep -c 'requests that servers died of' $HOME/.local/share/berth/logs/v.log
            """, timeout: .seconds(600))
        #expect(text.contains("Input/output error\nother\nm/f: OK\n") && !text.contains("hangs"), "\(text)")
    }

    @Test(
        "killed while the store is away, a server is followed by one that serves what is here",
        .enabled(if: canTakeOver))
    func storeAway() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            mkdir bag; berth volume create v -o store=file://$PWD/bag; berth mount v m
            head -c 3000000 /dev/urandom > m/f; md5sum m/f > sum; sync m/f; mv bag away
            for i in 1 2; do
              kill -9 $(\(Self.server)); echo $i >> m/g; md5sum -c sum; cat m/g; sleep 1.2
            done
            mv away bag; berth umount m; berth volume check v --data
            """, timeout: .seconds(600))
        #expect(text.contains("m/f: OK\n1\nm/f: OK\n1\n2\n") && text.contains("v: whole"), "\(text)")
        #expect(
            try site.shell.run("ls -d bag away 2>/dev/null || true") == "bag", "no other directory in the store's place"
        )
    }

    @Test("a server goes on without its keeper, and then dies as servers do")
    func withoutKeeper() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create v; berth mount v m; echo x > m/f; sync m/f")
        guard let keeper = try site.keeper(of: "v"), let server = try site.server(of: "v") else {
            throw TestFailure("no keeper")
        }
        try site.shell.run("kill -9 \(keeper); sleep 0.2; cat m/f; echo y > m/g; sync m/g")
        #expect(try site.keeper(of: "v") == nil)
        #expect(
            try site.shell.run("berth status").contains("should it die, its mounts end: the process that would start"))
        try eventually("the log says so") {
            try site.shell.run("berth log v 2>&1").contains("should this server die, its mounts end")
        }
        let refused = try site.shell.attempt("berth restart v")
        #expect(refused.end == .exited(69) && refused.errors.contains("cannot hand over"), "\(refused)")
        try site.shell.run(
            "kill -9 \(server); sleep 0.2; ! cat m/f; berth umount --lazy m; berth mount v m; cat m/f m/g")
        try site.shell.run("berth umount m")
    }

    @Test("a keeper is small, ends with its server, and restart names what it cannot do")
    func small() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create v; berth volume create w")
        let idle = try site.shell.attempt("berth restart v")
        #expect(idle.end == .exited(69) && idle.errors.contains("has no server"), "\(idle)")
        #expect(try site.shell.attempt("berth restart").end == .exited(64))
        #expect(try site.shell.run("berth restart --all") == "")
        try site.shell.run("berth mount v m")
        guard let keeper = try site.keeper(of: "v") else { throw TestFailure("no keeper") }
        // As root: it is not dumpable.
        let memory = try Shell.root.run("awk '/^Pss_Dirty/ { print $2 }' /proc/\(keeper)/smaps_rollup")
        print("the keeper's own memory is \(memory) KiB")
        // Sessions that have ended leave no descriptor in either process.
        func files() throws -> [Int] {
            guard let server = try site.server(of: "v") else { throw TestFailure("no server") }
            return try Shell.root.run("ls /proc/\(keeper)/fd | wc -l; ls /proc/\(server)/fd | wc -l")
                .split(separator: "\n").compactMap { Int($0) }
        }
        // The second server keeps open what the first has made.
        try site.shell.run(
            "mkdir m2; berth mount v m2; berth umount m2; berth restart v >/dev/null; berth mount v m2; berth umount m2; sleep 3"
        )
        let allowed = try files()
        try site.shell.run(
            "for i in $(seq 20); do berth mount v m2; berth umount m2; done > /dev/null; berth restart v > /dev/null; berth mount v m2; berth umount m2"
        )
        try eventually("no descriptor is left") {
            let found = try files()
            return found.count == allowed.count && zip(found, allowed).allSatisfy { $0 <= $1 }
        }
        #expect(Int(memory).map { $0 < 6144 } == true, "\(memory) KiB")
        #expect(try site.shell.run("berth restart --all").hasPrefix("the server of v is pid "))
        // A container of another test may have copied the mount into its namespace.
        try site.shell.run("berth umount m; berth stop --all --force")
        try eventually("the keeper ends") { ProcessIdentity(of: keeper) == nil }
    }
}
