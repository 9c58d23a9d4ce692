import LinuxSystem
import TestSupport
import Testing

/// A program that lists while something else than its own kernel changes the tree sees all of it afterwards, with and
/// without asking for the directory's attributes.
@Suite("listings of what changes past the kernel", .serialized)
struct ListingTests {
    private let site: UserSite

    init() throws {
        site = try UserSite()
        try site.shell.run(
            """
            cat > lister.py <<'END'
            import os, sys
            # Lists everything again and again, and looks for names that are not there yet.
            while not os.path.exists("stop"):
                todo = ["m"]
                while todo:
                    place = todo.pop()
                    try: names = os.listdir(place)
                    except OSError: continue
                    for name in ["0", "late", "n7"]: os.path.exists(place + "/" + name)
                    todo += [place + "/" + n for n in names if n[0] == "d" or n[0] == "." or n == "lost+found"]
            END
            cat > count.py <<'END'
            import os, sys
            def count(place):
                names = os.listdir(place)
                return len(names) + sum(count(place + "/" + n) for n in names if os.path.isdir(place + "/" + n))
            print(count(sys.argv[1]))
            END
            mkdir -p src/d; for i in $(seq 0 999); do echo $i > src/d/n$i; done; mkdir -p src/d/d1/d2
            for i in $(seq 0 999); do echo $i > src/d/d1/d2/n$i; done
            tar -cf a.tar -C src d; berth volume create v -o trash=1d >/dev/null; berth mount v m >/dev/null; mkdir m/d0; echo 1 > m/d0/1
            """)
    }

    /// Runs a script while somebody lists, and says afterwards what two ways of listing count below a place.
    private func during(_ script: String, _ place: String) throws -> String {
        try site.shell.run(
            """
            rm -f stop; python3 lister.py & \(script) >log 2>&1 || { cat log; touch stop; exit 1; }
            touch stop; wait; python3 count.py \(place); find \(place) -mindepth 1 | wc -l
            """)
    }

    @Test("an import: of 2,000 files into directories that it makes, and into one that is there")
    func imports() throws {
        #expect(try during("berth import v a.tar", "m/d") == "2002\n2002")
        #expect(try during("berth import v:/d0 src/d", "m/d0") == "2003\n2003")
        // A second one adds to what the first has made.
        let again = "{ berth import v:/d9 src; echo late > src/d/late; berth import v:/d9 src; }"
        #expect(try during(again, "m/d9/d") == "2003\n2003")
    }

    @Test("restorations from the trash and from a snapshot, and a collection")
    func restorations() throws {
        try site.shell.run(
            "cp -r src/d m/; sync m; berth snapshot create v@s >/dev/null; sleep 2.1; rm -r m/d; ls m/d 2>/dev/null; ls m"
        )
        #expect(try during("berth trash restore v:/d", "m/d") == "2002\n2002")
        #expect(try during("berth snapshot restore v@s:/d --to /d5", "m/d5") == "2002\n2002")
        #expect(try during("{ rm -r m/d/d1; berth snapshot restore v@s:/d --force; }", "m/d") == "2002\n2002")
        #expect(try during("berth gc v", "m/d") == "2002\n2002")
    }

    @Test("what another mount makes, removes and renames, without a look at the directory's attributes")
    func otherMount() throws {
        try site.shell.run("mkdir m2; berth mount v m2 >/dev/null; ls m/d0 m2/d0 >/dev/null")
        let made =
            "for i in $(seq 500); do echo > m2/d0/n$i; done; for i in $(seq 100); do rm m2/d0/n$i; done; mkdir m2/d0/d3; mv m2/d0/n400 m2/d0/d3/n400"
        try site.shell.run("rm -f stop; python3 lister.py & \(made); touch stop; wait")
        try eventually("the other mount's names are listed", within: .seconds(10)) {
            try site.shell.run("python3 count.py m/d0") == "402"
        }
        try site.shell.run("berth umount m2")
    }

    @Test("a repair under a mount: what is found again is listed, and what is gone is not")
    func repair() throws {
        try site.shell.run(
            "cp -r src/d m/; sync m; ls m m/d m/lost+found >/dev/null 2>&1; berth umount m; berth stop --all --force >/dev/null"
        )
        try site.shell.run(
            """
            db=$HOME/.local/share/berth/volumes/v/meta.db
            sqlite3 $db "DELETE FROM entry WHERE name >= CAST('n10' AS BLOB) AND name < CAST('n19' AS BLOB)"
            berth mount v m >/dev/null; ls m/d m/d/d1/d2 >/dev/null; ls m/lost+found 2>/dev/null; true
            """)
        let lost = try site.shell.run("ls src/d | grep -c '^n1[0-8]'")
        let left = "\(2002 - 2 * (Int(lost) ?? 0))"
        let script = "berth volume check v --repair"
        #expect(try during("{ \(script) || true; }", "m/d") == "\(left)\n\(left)")
        #expect(
            try site.shell.run("ls m/lost+found | wc -l; python3 count.py m/lost+found")
                == "\(2 * (Int(lost) ?? 0))\n\(2 * (Int(lost) ?? 0))")
    }
}
