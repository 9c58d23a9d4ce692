import FileModel
import LinuxSystem
import TestSupport
import Testing

/// Data that lies elsewhere already, through a real mount, as an ordinary user has it.
@Suite("import and export", .serialized)
struct ImportTests {
    private let site: UserSite

    init() throws {
        site = try UserSite()
        try site.shell.run("umask 022; mkdir src; berth volume create v")
    }

    private func end() throws {
        try site.shell.run("berth umount m 2>/dev/null; berth stop --all --force >/dev/null; berth volume rm v")
    }

    private func giveKeys() throws {
        try site.shell.run(
            """
            mkdir -p -m 700 $HOME/.config/berth; f=$HOME/.config/berth/credentials; umask 077
            printf '[default]\\naws_access_key_id=\(S3Server.accessKey)\\naws_secret_access_key=\(S3Server.secretKey)\\n' > $f
            """)
    }

    /// Uploads the files of `src` below a prefix of the bucket.
    private func upload(_ prefix: String, _ names: String = "$(find . -type f | cut -c3-)") throws {
        let curl =
            "curl -sSf --aws-sigv4 aws:amz:us-east-1:s3 --user \(S3Server.accessKey):\(S3Server.secretKey)"
        try site.shell.run(
            "cd src; for f in \(names); do \(curl) -T \"$f\" \(try S3Server.shared().endpoint)/berth/\(prefix)/$f; done"
        )
    }

    private var prefix: String { "import/" + (site.directory.split(separator: "/").last.map(String.init) ?? "x") }

    @Test("a directory's files are there with bytes, times, modes and links, and what is written is the volume's alone")
    func directory() throws {
        let text = try site.shell.run(
            """
            mkdir -p src/d/e; echo one > src/one; head -c 5000000 /dev/urandom > src/d/large; ln -s one src/link
            ln src/one src/d/hard; touch src/empty; chmod 4640 src/one; touch -d '2001-02-03 04:05:06.789' src/d/large src/d
            berth mount v m >/dev/null; berth import v:/in src | tail -1 | grep -o '"made":[0-9]*'
            diff -r --no-dereference src m/in && echo same
            (cd src; find . -not -type d -printf '%p %s %T@ %y %l\\n' | sort) > a
            (cd m/in; find . -not -type d -printf '%p %s %T@ %y %l\\n' | sort) > b; cmp a b && echo stat
            stat -c '%a %h' m/in/one m/in/d/hard; stat -c %y m/in/d | cut -c1-19
            berth import v:/in file://$PWD/src | tail -1 | grep -o '"made":0,"renewed":0,"same":[0-9]*'
            md5sum src/d/large > before; echo changed | dd of=m/in/d/large bs=1 seek=100 conv=notrunc status=none
            cp --reflink=always m/in/d/large m/copy 2>/dev/null || cp m/in/d/large m/copy; mv m/in/one m/moved; rm m/in/d/hard
            truncate -s 100 m/moved; md5sum -c --quiet before && echo untouched; cmp m/copy m/in/d/large && dd if=m/copy bs=1 skip=100 count=8 status=none
            berth umount m; berth stop --all --force > /dev/null; berth volume check v --data | grep -c whole
            """)
        #expect(
            text
                == """
                "made":7
                same
                stat
                640 2
                640 2
                2001-02-03 04:05:06
                "made":0,"renewed":0,"same":7
                untouched
                changed
                1
                """, "\(text)")
        try end()
    }

    @Test("what has changed or is gone is an error with its name, until it is imported again")
    func changed() throws {
        try site.shell.run(
            "echo first > src/a; echo first > src/b; berth import v src; echo second > src/a; rm src/b; berth mount v m"
        )
        let refused = try site.shell.attempt("cat m/a m/b")
        #expect(refused.output.isEmpty && refused.errors.components(of: "Input/output error") == 2, "\(refused)")
        let log = try site.shell.run("berth log v")
        #expect(log.contains("/src/a has changed since it was imported; import it again"), "\(log)")
        #expect(log.contains("/src/b is gone since it was imported"), "\(log)")
        #expect(try site.shell.run("berth import v src > out; cat m/a") == "second")
        try site.shell.run("berth umount m; berth stop --all --force > /dev/null")
        let check = try site.shell.attempt("berth volume check v --data")
        #expect(check.end == .exited(65) && check.output.contains("/src/b is gone"), "\(check)")
        #expect(try site.shell.run("berth volume check v").contains("whole"))
        try end()
    }

    @Test("a bucket's objects are there, also in a volume in a directory; what changed is an error; warm and evict")
    func bucket() throws {
        try giveKeys()
        try site.shell.run(
            "mkdir -p src/d; for i in $(seq 40); do echo \"object $i\" > src/d/$i; done; head -c 20000000 /dev/urandom > src/large; : > src/empty"
        )
        try upload(prefix)
        let server = try S3Server.shared()
        let proxy = try FaultyProxy(before: server)
        let text = try site.shell.run(
            """
            berth import v:/b s3://berth/\(prefix) --endpoint \(proxy.endpoint) | tail -1 | grep -o '"made":[0-9]*'
            berth mount v m >/dev/null; diff -r src m/b && echo same
            grep -c secret $HOME/.local/share/berth/volumes/v/volume.json $HOME/.local/share/berth/volumes/v/meta.db | cut -d: -f2
            berth import v:/b s3://berth/\(prefix)/ --endpoint \(proxy.endpoint) | tail -1 | grep -o '"made":0,"renewed":0,"same":[0-9]*'
            berth warm v > out; berth warm v --check > out && echo local
            """)
        #expect(text == "\"made\":42\nsame\n0\n0\n\"made\":0,\"renewed\":0,\"same\":42\nlocal", "\(text)")
        try proxy.set("")
        #expect(
            try site.shell.run(
                "berth umount m; berth stop --all --force >out; berth mount v m >/dev/null; diff -r src m/b && echo same"
            )
                == "same")
        #expect(try proxy.requests().filter { $0.contains("GET") } == [])
        #expect(try site.shell.attempt("berth evict v:/b/large; berth warm v --check >out").end == .exited(75))
        try proxy.set("")
        try site.shell.run("cat m/b/large | cmp - src/large")
        let asked = try proxy.requests().count
        #expect(asked <= 24, "\(asked) requests for 20 MB in order")
        // Another object under the same key, of the same size.
        try site.shell.run("berth evict v:/b/d/7; printf 'OBJECT 7\\n' > src/d/7")
        try upload(prefix, "d/7")
        // The kernel's own cache goes with the mount.
        try site.shell.run("berth umount m; berth mount v m")
        #expect(try site.shell.attempt("cat m/b/d/7").errors.contains("Input/output error"))
        #expect(try site.shell.run("berth log v").contains("s3://berth/\(prefix)/d/7 has changed"))
        #expect(
            try site.shell.run(
                "berth import v:/b s3://berth/\(prefix) --endpoint \(proxy.endpoint) | tail -1 | grep -o '\"renewed\":[0-9]*'; cat m/b/d/7"
            ) == "\"renewed\":1\nOBJECT 7")
        try end()
    }

    @Test("a key with a space and a plus is the name that it says")
    func strangeKeys() throws {
        try giveKeys()
        try site.shell.run("echo x > src/x")
        let server = try S3Server.shared()
        let curl = "curl -sSf --aws-sigv4 aws:amz:us-east-1:s3 --user \(S3Server.accessKey):\(S3Server.secretKey)"
        try site.shell.run("\(curl) -T src/x '\(server.endpoint)/berth/\(prefix)/with%20space%2Bplus'")
        try site.shell.run("berth import v s3://berth/\(prefix) --endpoint \(server.endpoint); berth mount v m")
        #expect(try site.shell.run("cat 'm/with space+plus'") == "x")
        try end()
    }

    @Test("a mounted volume in a directory gets another server for its first bucket, and its mounts go on")
    func network() throws {
        try giveKeys()
        try site.shell.run("echo x > src/x; berth mount v m >/dev/null; echo y > m/y")
        try upload(prefix)
        let command = "berth import v s3://berth/\(prefix) --endpoint \(try S3Server.shared().endpoint)"
        // Keys that the next server could not have: said before anything is changed.
        let refused = try site.shell.attempt("AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=y \(command)")
        #expect(refused.end == .exited(75) && refused.errors.contains("unmount it once"), "\(refused)")
        #expect(try site.shell.run("exec 5< m/y; \(command) >out; cat m/x; cat <&5; cat m/y") == "x\ny\ny")
        #expect(
            try site.shell.run(
                "berth umount m; berth stop --all --force > out; berth mount v m >/dev/null; cat m/x m/y")
                == "x\ny")
        let wrong = try site.shell.attempt(
            "berth import v s3://no-such-bucket --endpoint \(try S3Server.shared().endpoint)")
        #expect(wrong.end != .exited(0) && wrong.errors.contains("no-such-bucket"), "\(wrong)")
        try end()
    }

    @Test("metadata that is dumped and loaded names the same objects")
    func dumped() throws {
        let text = try site.shell.run(
            """
            mkdir -p src/d; for i in $(seq 50); do echo $i > src/d/$i; done; berth import v src > out
            berth volume dump v > dump 2>out; berth stop --all --force >out; berth volume create w >out; berth volume load w - --trust-source file://$PWD/src < dump >out 2>&1
            berth mount w m >/dev/null; diff -r src m && echo same; berth umount m; berth stop --all --force >out
            berth volume check w --data | grep -o '50 imported objects'; berth volume rm w
            """)
        #expect(text == "same\n50 imported objects\nw", "\(text)")
        try end()
    }

    @Test(
        "a tar's members are files; names that lead out are left out, absolute ones lose their slash, a cut one is refused"
    )
    func archive() throws {
        let text = try site.shell.run(
            """
            mkdir -p src/t/d; for i in $(seq 2000); do echo "member $i" > src/t/d/$i; done; head -c 3000000 /dev/urandom > src/t/large
            ln -s large src/t/link; ln src/t/large src/t/hard; tar -cf a.tar -C src t; berth mount v m >/dev/null
            berth import v a.tar | tail -1 | grep -o '"made":[0-9]*'; diff -r --no-dereference src/t m/t && echo same
            stat -c %h m/t/hard; test $(stat -c %Y m/t/d/7) = $(stat -c %Y src/t/d/7) && echo time
            berth import v a.tar | tail -1 | grep -o '"made":0,"renewed":0,"same":[0-9]*'
            echo own > m/t/d/1; head -c 10 m/t/large | cmp - <(head -c 10 src/t/large) && echo kept
            """)
        #expect(text == "\"made\":2005\nsame\n2\ntime\n\"made\":0,\"renewed\":0,\"same\":2005\nkept", "\(text)")
        let strange = try site.shell.attempt(
            """
            echo x > src/x; (cd src/t/d; tar -cPf ../../../b.tar ../../x $PWD/5 6); berth import v:/b b.tar; echo "status $?"; find m/b -type f | sort
            """)
        #expect(
            strange.output.contains("status 65\n") && strange.output.contains("/src/t/d/5\n")
                && strange.output.contains("m/b/6"), "\(strange)")
        #expect(
            strange.errors.contains("its name has \"..\"") && strange.errors.contains("leading \"/\""), "\(strange)")
        let cut = try site.shell.attempt("head -c 100000 a.tar > cut.tar; berth import v:/c cut.tar")
        #expect(cut.end == .exited(65) && cut.errors.contains("is truncated"), "\(cut)")
        #expect(try site.shell.attempt("ls m/c").end != .exited(0), "nothing of it is there")
        let packed = try site.shell.attempt("gzip -k a.tar; berth import v:/z --tar a.tar.gz")
        #expect(packed.end == .exited(65) && packed.errors.contains("is compressed"), "\(packed)")
        try site.shell.run("berth umount m; berth stop --all --force > out; berth volume check v --data | grep whole")
        try end()
    }

    @Test(
        "export brings back bytes, modes, times, links, attributes and holes, to a directory and to a tar; it goes on")
    func export() throws {
        let text = try site.shell.run(
            """
            berth mount v m >/dev/null; mkdir -p m/d/e; for i in $(seq 500); do echo "file $i" > m/d/$i; done; ln m/d/1 m/hard; ln -s d/1 m/link
            head -c 4000000 /dev/urandom > m/large; truncate -s 50M m/sparse; echo end >> m/sparse; chmod 500 m/d/e; mkfifo m/fifo
            touch -d '2001-02-03 04:05:06.789' m/large; chmod 604 m/large; setfattr -n user.x -v y m/large 2>/dev/null || true
            berth export v out | tail -1 | grep -o '"leftOut":0'
            find m -printf '%P %m %s %T@ %y %l\\n' | grep -v '^ ' | grep -v '^d/\\{0,1\\}e\\{0,1\\} ' | sort > a
            find out -printf '%P %m %s %T@ %y %l\\n' | grep -v '^ ' | grep -v '^d/\\{0,1\\}e\\{0,1\\} ' | sort > b; cmp <(grep -v ' d $' a) <(grep -v ' d $' b) && echo stat
            for f in large sparse hard d/7; do cmp m/$f out/$f || echo differs; done; stat -c %h out/hard; test $(du -k out/sparse | cut -f1) -lt 1000 && echo sparse
            rm out/d/3; echo tampered > out/d/4; berth export v out | tail -1 | grep -o '"made":[0-9]*'; cat out/d/3 out/d/4
            berth export v x.tar > log; mkdir x; tar -xf x.tar -C x; (cd m; find . -type f | sort | xargs md5sum) > a; (cd x; find . -type f | sort | xargs md5sum) > b; cmp a b && echo tar
            test $(du -k x.tar | cut -f1) -lt 9000 && stat -c %h x/hard
            berth export v:/d - 2>log | tar -tf - | wc -l; berth export v:/large one > log; cmp one/large m/large && echo one
            berth import v:/back x.tar > log 2>&1; echo $?; cmp m/back/large m/large && echo back
            """)
        #expect(
            text == """
                "leftOut":0
                stat
                2
                sparse
                "made":2
                file 3
                file 4
                tar
                2
                501
                one
                65
                back
                """, "\(text)")
        try end()
    }
}

extension String {
    /// How often another text occurs.
    fileprivate func components(of text: String) -> Int {
        var count = 0
        var rest = self[...]
        while let found = rest.firstRange(of: text) {
            count += 1
            rest = rest[found.upperBound...]
        }
        return count
    }
}
