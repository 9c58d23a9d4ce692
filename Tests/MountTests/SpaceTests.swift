import TestSupport
import Testing

/// The trash, quotas and usage as an ordinary user has them, through a real mount.
@Suite("trash and quotas on a real mount")
struct SpaceTests {
    private func site(_ options: String = "") throws -> UserSite {
        let site = try UserSite()
        try site.shell.run("berth volume create v \(options) && berth mount v m")
        return site
    }

    @Test("rm -rf is taken back by its user, with modes, while the mount goes on and shows it at once")
    func restored() throws {
        let site = try site()
        let text = try site.shell.run(
            """
            cd m; mkdir -m 711 d; mkdir -m 750 d/e; echo one > d/e/f; echo two > d/g; chmod 600 d/g; ln -s g d/l
            sum() { (find d -printf '%P %m %s %y\\n' | grep -v '^ '; cat d/e/f d/g) | sort; }
            sum > ../before; rm -rf d; ls -A; test -e d || echo gone
            berth trash ls v | grep -c ' /d'; berth trash ls v:/d/e | tail -n +2 | wc -l
            berth trash restore v:/d; sum | sed 's,^d.*,,' > /dev/null; find d/e/f -printf '%m\\n' > /dev/null
            sum > ../after; diff <(grep -v '^d ' ../before) <(grep -v '^d ' ../after) && echo same
            berth trash ls v | tail -n +2 | wc -l
            echo new > d/g.tmp; mv d/g.tmp d/g; berth trash restore v:/d/g --beside; cat d/g.restored d/g
            """)
        #expect(
            text
                == "gone\n5\n2\nrestored 5 things at v:/d\nsame\n0\nrestored 1 thing at v:/d/g.restored\ntwo\nnew",
            "\(text)")
        let json = try site.shell.run("rm m/d/g; berth trash ls v --json")
        #expect(json.contains("\"path\":\"/d/g\"") && json.contains("\"kind\":\"file\""))
        #expect(
            try site.shell.run("cd m; df -i . | tail -1 | wc -l; berth trash empty v").contains("discarded 1 thing"))
        #expect(try site.shell.run("berth umount m; berth volume check v").contains("whole"))
    }

    @Test("what cannot be restored says why, and changes nothing")
    func refused() throws {
        let site = try site()
        try site.shell.run("cd m; echo a > f; mkdir d; echo b > d/x; rm f; rm -r d; echo c > f; echo d > d")
        for (words, status, cause) in [
            ("v:/none", 66, "is not in the trash"), ("v:/f", 73, "something is in its place"),
            ("v:/d/x", 73, "what is in the place of its directory is none"), ("v:/f --at yesterday", 64, "is no time"),
            ("v", 64, "names no path"), ("v:/f --to /no/where", 66, "is not there"),
        ] {
            let outcome = try site.shell.attempt("berth trash restore \(words)")
            #expect(outcome.end == .exited(Int32(status)) && outcome.errors.contains(cause), "\(words): \(outcome)")
        }
        #expect(try site.shell.run("cd m; ls; cat f d") == "d\nf\nc\nd")
        #expect(try site.shell.run("berth trash restore v:/d/x --to /y; cat m/y").hasSuffix("b"))
    }

    @Test(
        "a program that holds what was deleted sees it come back, and one that stands in a removed directory its successor"
    )
    func held() throws {
        let site = try site()
        let text = try site.shell.run(
            """
            mkdir m/d; echo x > m/d/f; exec 9>> m/d/f; cd m/d; rm -r ../d; ls 2>&1 | head -1
            berth trash restore v:/d; echo y >&9; cat ../d/f; cd ../d; echo z > g; ls
            """)
        #expect(text == "restored 2 things at v:/d\nx\ny\nf\ng", "\(text)")
    }

    @Test(
        "a volume of 50 MB stays one, whatever a program writes, deletes, links and attaches; status names the option")
    func bounded() throws {
        let site = try site("-o size=50M -o compression=none")
        try site.shell.run(
            """
            head -c 40000000 /dev/urandom > big
            for i in 1 2 3 4 5 6 7 8; do cp big m/f; rm m/f; done
            test $(df -B1 --output=used m | tail -1) -le 52428800
            place=$(dirname "$(find ~/.local -path '*/volumes/v/lock')")
            # Once the space keeper came by.
            for i in $(seq 600); do test $(du -sB1 "$place" | cut -f1) -le 60000000 && exit; sleep 0.1; done
            du -aB1 "$place"; exit 1
            """)
        let text = try site.shell.run(
            """
            rm -f m/*; berth trash empty v > /dev/null
            /usr/bin/python3 - <<'END'
            import errno, os
            def full(body):
                count = 0
                try:
                    while count < 5000: body(count); count += 1
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error
                    return count
                return -1
            def attribute(n):
                open(f"m/a{n}", "w").close()
                os.setxattr(f"m/a{n}", "user.x", b"x" * 60000)
            print(full(attribute) * 60006 // 1000000)
            print(full(lambda n: os.symlink("t" * 4000, f"m/l{n}")))
            def one(n): os.setxattr("m/a0", f"user.y{n}", b"y" * 60000)
            os.removexattr("m/a1", "user.x"); os.removexattr("m/a2", "user.x"); os.removexattr("m/a3", "user.x")
            print(full(one)); full(attribute)
            for name in ("system.x", "foo.bar", "user."):
                try: os.setxattr("m/a0", name, b""); print("set", name)
                except OSError as error: print(errno.errorcode[error.errno])
            END
            berth status | grep -c 'size=BYTES'
            berth volume set v size=60M > /dev/null; ln -s x m/y && echo more
            """)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.first == "52" && lines.suffix(3) == ["EINVAL", "1", "more"], "\(text)")
        #expect(lines.dropFirst(2).prefix(3) == ["1", "ENOTSUP", "ENOTSUP"], "\(text)")
    }

    @Test("retention is an option, and changes while the volume is mounted")
    func options() throws {
        let site = try site("-o trash=0")
        try site.shell.run("cd m; echo a > f; rm f; berth trash ls v | tail -n +2 | wc -l | grep -x 0")
        #expect(try site.shell.run("berth volume set v trash=3d trash-truncate=on").contains("trash=3d"))
        try site.shell.run("cd m; echo a > f; : > f; rm f; berth trash ls v | tail -n +2 | wc -l | grep -x 1")
        try site.shell.run(
            "berth umount m; berth stop --all --force; berth trash restore v:/f; berth mount v m; grep a m/f")
        #expect(
            try site.shell.attempt("berth volume set v compression=none").errors.contains(
                "is not one that can be changed"))
        #expect(try site.shell.attempt("berth volume set v trash=soon").errors.contains("is not a time"))
        #expect(try site.shell.run("berth volume inspect v").contains("3d"))
    }

    @Test(
        "a write past a quota is short, and then EDQUOT; fallocate, mmap and fsync say so, too, and nothing is a byte over"
    )
    func short() throws {
        let site = try site()
        try site.shell.run("mkdir m/a; berth quota set v:/a --bytes 1500001")
        let text = try site.shell.run(
            """
            python3 - <<'END'
            import errno, mmap, os
            def refused(body):
                try: return body()
                except OSError as error: return errno.errorcode[error.errno]
            f = os.open("m/a/f", os.O_RDWR | os.O_CREAT)
            print(os.write(f, b"x" * 1000000), os.write(f, b"y" * 1000000), refused(lambda: os.write(f, b"z")))
            print(os.fstat(f).st_size, os.pwrite(f, b"w" * 1000, 5), refused(lambda: os.posix_fallocate(f, 0, 1500002)))
            os.ftruncate(f, 1 << 30)
            print(os.fstat(f).st_size, refused(lambda: os.pwrite(f, b"z", 1 << 29)))
            memory = mmap.mmap(f, 1 << 20, offset=1 << 28)
            memory[0] = 1
            print(refused(memory.flush) or refused(lambda: os.fsync(f)))
            os.ftruncate(f, 1000000)
            o = os.open("m/a/g", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            print(os.write(o, b"a" * 400000), os.write(o, b"a" * 400000), refused(lambda: os.write(o, b"a")))
            END
            berth du v:/a --json | tr -d ' \\n'; stat -c %s m/a/g; head -c 1500001 m/a/f | tail -c 1
            """)
        #expect(
            text == """
                1000000 500001 EDQUOT
                1500001 1000 EDQUOT
                1073741824 EDQUOT
                EDQUOT
                400000 100001 EDQUOT
                [{"bytes":1500001,"inodes":3,"place":"v:/a"}]500001
                x
                """, "\(text)")
        #expect(try site.shell.run("berth umount m; berth volume check v --data").contains("whole"))
    }

    @Test("a quota is EDQUOT at its last byte and inode, df shows it, du agrees, and below what is used it warns")
    func quota() throws {
        let site = try site()
        try site.shell.run("mkdir -p m/a/b m/c; berth quota set v:/a --bytes 1M --inodes 5")
        let full = try site.shell.attempt("head -c 1048577 /dev/zero > m/a/b/f")
        #expect(full.errors.contains("Disk quota exceeded"), "\(full)")
        try site.shell.run("head -c 1048576 /dev/zero > m/a/b/f; touch m/a/1 m/a/2")
        #expect(try site.shell.attempt("touch m/a/3").errors.contains("Disk quota exceeded"))
        #expect(try site.shell.attempt("mkdir m/a/3").errors.contains("Disk quota exceeded"))
        #expect(try site.shell.run("df --output=size,avail m/a/b | tail -1").split(separator: " ") == ["1024", "0"])
        #expect(try site.shell.run("df --output=itotal,iavail m/a/b/f | tail -1").split(separator: " ") == ["5", "0"])
        #expect(try site.shell.run("df --output=itotal m/c | tail -1").count > 3)
        try site.shell.run("echo x > m/c/f")
        #expect(try site.shell.attempt("mv -T m/c m/a/c").errors.contains("Disk quota exceeded"))
        #expect(
            try site.shell.run("berth du v:/a --json | tr -d ' \\n'; find m/a | wc -l")
                == "[{\"bytes\":1048576,\"inodes\":5,\"place\":\"v:/a\"}]5")
        #expect(
            try site.shell.run("berth quota get v:/a | tail -1").split(whereSeparator: \.isWhitespace) == [
                "/a", "1", "MiB", "1", "MiB", "5", "5",
            ])
        let low = try site.shell.attempt("berth quota set v:/a --bytes 1K; berth quota ls v")
        #expect(low.errors.contains("holds more than its quota") && low.output.contains("1 KiB"), "\(low)")
        try site.shell.run(
            "rm m/a/b/f; echo x > m/a/b/f; berth quota rm v:/a; berth quota ls v | grep 'no quotas'; mv m/c m/a/")
        // The volume's own.
        try site.shell.run("berth quota set v --inodes 10")
        #expect(try site.shell.attempt("cd m; touch 1 2 3 4 5 6 7 8 9").errors.contains("Disk quota exceeded"))
        #expect(try site.shell.attempt("berth quota set v:/none --bytes 1").errors.contains("No such file"))
        #expect(try site.shell.run("berth umount m; berth volume check v").contains("whole"))
    }
}
