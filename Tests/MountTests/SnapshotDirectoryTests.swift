import TestSupport
import Testing

/// `.snapshots` in a volume's root as an ordinary user has it, through a real mount.
@Suite("the directory of snapshots on a real mount", .serialized)
struct SnapshotDirectoryTests {
    private let site: UserSite

    init() throws {
        site = try UserSite()
        try site.shell.run("berth volume create v -o path=/v >/dev/null; berth mount v m >/dev/null")
    }

    /// A tree with all kinds of names, and a file of several packs.
    private func populate() throws {
        try site.shell.run(
            """
            set -e; cd m; mkdir -p d/e; for i in $(seq 50); do echo "file $i" > d/$i; done; chmod 600 d/1; ln d/2 d/hard
            ln -s ../3 d/e/link; setfattr -n user.a -v b d/4; head -c 40000000 /dev/urandom > large; truncate -s 1G sparse
            """)
    }

    @Test("it is in no listing and found by its name; find, diff, cp and tar go through it, and all is as it was")
    func read() throws {
        try populate()
        let text = try site.shell.run(
            """
            set -e; list() { find "$1" -mindepth 1 -printf '%P %y %m %T@ %s %n %l\\n' | sort; }
            ls m/.snapshots 2>/dev/null || echo "none yet"
            list m > before; md5sum < m/large > sum; cp -a m/d kept; berth snapshot create v@monday >/dev/null
            echo changed > m/d/5; rm m/d/6 m/large; echo new > m/new
            ls -A m | xargs; ls m/.snapshots; list m/.snapshots/monday | diff before - && echo same
            diff -r kept m/.snapshots/monday/d && md5sum < m/.snapshots/monday/large | cmp - sum && echo read
            getfattr -n user.a --only-values m/.snapshots/monday/d/4; echo; cat m/.snapshots/monday/d/e/link
            cp m/.snapshots/monday/d/6 m/d/6; cp -a m/.snapshots/monday/large m/large; md5sum < m/large | cmp - sum; cat m/d/6
            tar -cf - -C m/.snapshots/monday d | tar -xf - -C kept; diff -r kept/d m/.snapshots/monday/d && echo copied
            rm m/d/7; berth snapshot create v@tuesday >/dev/null
            for i in $(seq 600); do [ -e m/.snapshots/tuesday ] && break; sleep 0.1; done; ls m/.snapshots; ls m/.snapshots/tuesday/d/7 2>/dev/null || echo gone
            stat -c %A m/.snapshots; cd m/.snapshots/monday/d; pwd -P | grep -o 'm/.snap.*'; cd ../../..; pwd -P | grep -o 'm$'
            """)
        #expect(
            text == """
                none yet
                d new sparse
                monday
                same
                read
                b
                file 3
                file 6
                copied
                monday
                tuesday
                gone
                dr-xr-xr-x
                m/.snapshots/monday/d
                m
                """, "\(text)")
    }

    @Test("nothing in it can be changed, by whatever call")
    func readOnly() throws {
        try populate()
        try site.shell.run("berth snapshot create v@s >/dev/null; setfattr -n user.x -v y m/d/1")
        for command in [
            "touch m/.snapshots/s/new", "mkdir m/.snapshots/s/new", "rmdir m/.snapshots", "mv m/.snapshots m/x",
            "rm m/.snapshots/s/d/1",
            "rm -r m/.snapshots/s", "echo x > m/.snapshots/s/d/1", "echo x >> m/.snapshots/s/d/1",
            "mv m/.snapshots/s/d/1 m/moved", "mv m/d/1 m/.snapshots/s/", "ln m/.snapshots/s/d/1 m/linked",
            "ln -s x m/.snapshots/s/l", "chmod 777 m/.snapshots/s/d/1", "chown $(id -u) m/.snapshots/s/d/1",
            "touch m/.snapshots/s/d/1", "truncate -s 0 m/.snapshots/s/d/1",
            "setfattr -n user.b -v c m/.snapshots/s/d/1",
            "setfattr -x user.a m/.snapshots/s/d/4", "fallocate -l 1M m/.snapshots/s/d/1", "mkfifo m/.snapshots/s/p",
            "cp --reflink=auto m/d/1 m/.snapshots/s/d/1",
        ] {
            let outcome = try site.shell.attempt("LC_ALL=C; \(command)")
            #expect(
                !outcome.succeeded && outcome.errors.contains("Read-only file system"),
                "\(command): \(outcome.end) \(outcome.errors)")
        }
        #expect(
            try site.shell.run("cat m/.snapshots/s/d/1 m/d/1; ls m/.snapshots/s; ls m")
                == "file 1\nfile 1\nd\nlarge\nsparse\nd\nlarge\nsparse")
        // What was looked at counts as looked at nowhere.
        #expect(
            try site.shell.run(
                "stat -c %x m/.snapshots/s/d/9 > t; sleep 0.1; cat m/.snapshots/s/d/9; stat -c %x m/.snapshots/s/d/9 | cmp - t"
            ) == "file 9")
    }

    @Test(
        "a snapshot is removed though somebody reads it here: what is held then is stale, and the next of its name new")
    func removed() throws {
        try populate()
        let text = try site.shell.run(
            """
            top=$PWD/m; berth snapshot create v@s >/dev/null; exec 9< m/.snapshots/s/d/1; ls -lR m/.snapshots > /dev/null; cd m/.snapshots/s/d
            berth snapshot rm v@s >/dev/null && echo removed; cat <&9 2>&1 | grep -o Stale; cd $top
            echo second > d/1; sleep 1.1; ls .snapshots 2>/dev/null || echo none
            berth snapshot create v@s >/dev/null; cat .snapshots/s/d/1; berth snapshot ls v --json | grep -c '"name"'; exec 9<&-
            """)
        let lines = text.split(separator: "\n")
        #expect(lines == ["removed", "Stale", "none", "second", "1"], "\(text)")
        #expect(try site.shell.run("berth umount m; berth volume check v --data").contains("v: whole"))
    }

    @Test("a directory of the user's own with that name comes first, and snapshot-dir=off hides ours, mounted or not")
    func own() throws {
        let text = try site.shell.run(
            """
            set -e; mkdir m/.snapshots; echo mine > m/.snapshots/f; berth snapshot create v@s >/dev/null; ls -A m m/.snapshots | xargs
            rm -r m/.snapshots; ls m/.snapshots; berth volume set v snapshot-dir=off | grep snap; sleep 1.1
            ls m/.snapshots 2>/dev/null || echo hidden; mkdir m/.snapshots; rmdir m/.snapshots; berth umount m; berth stop --all --force >/dev/null
            berth mount v m >/dev/null; ls m/.snapshots 2>/dev/null || echo hidden; berth volume set v snapshot-dir= >/dev/null
            ls m/.snapshots; berth umount m; berth mount v@s m >/dev/null; ls m/.snapshots
            """)
        #expect(
            text == "m: .snapshots m/.snapshots: f\ns\nsnapshot-dir=off\nhidden\nhidden\ns\nf", "\(text)")
    }

    @Test("many snapshots at once, read by many while others are made and removed")
    func many() throws {
        let text = try site.shell.run(
            """
            set -e; for i in $(seq 40); do echo $i > m/f; berth snapshot create v@s$i >/dev/null; done
            for i in $(seq 40); do test "$(cat m/.snapshots/s$i/f)" = $i || echo "wrong $i"; done
            for n in 1 2 3; do (for i in $(seq 60); do k=$((i * 7 % 30 + 1)); test "$(cat m/.snapshots/s$k/f)" = $k || echo "wrong $k"; done) & done
            for i in $(seq 31 40); do berth snapshot rm v@s$i >/dev/null; echo new > m/f; berth snapshot create v@s$i >/dev/null; done; wait
            for i in $(seq 31 40); do cat m/.snapshots/s$i/f; done | uniq; find m/.snapshots -name f | wc -l
            """)
        #expect(text == "new\n40", "\(text)")
    }
}
