import LinuxSystem
import TestSupport
import Testing

/// Metadata that somebody else wrote name files of the user who brings them back.
@Suite("sources of volumes from elsewhere", .serialized)
struct SourceTrustTests {
    private let site: UserSite
    private let other: SecondUser

    init() throws {
        site = try UserSite()
        other = try SecondUser()
        // As a home with a key in it: everybody can look at its attributes, and nobody read it.
        try site.shell.run(
            "mkdir -m 755 keys; umask 077; echo my-secret > keys/id; touch -d '2001-02-03 04:05:06.789' keys/id")
    }

    private func end() throws {
        try site.shell.run("berth umount m 2>/dev/null; berth stop --all --force >/dev/null; true")
    }

    private var source: String { "file://\(site.directory)/keys" }

    /// A dump, made by the other user, of a volume that seems to have imported the first user's key.
    private func forge() throws -> String {
        try other.shell.run(
            """
            set -e; umask 022; mkdir -p h mine s; export HOME=$PWD/h; echo not-there > mine/id
            touch -r \(site.directory)/keys/id mine/id; berth volume create a >/dev/null; berth import a mine >/dev/null
            berth volume dump a > dump; berth stop --all --force >/dev/null
            python3 \(try copied()) file://$PWD/mine \(source) $(stat -c %i mine/id) $(stat -c %i \(site.directory)/keys/id) < dump > forged
            """)
        return "\(other.directory)/forged"
    }

    /// The checkout may lie where ordinary users cannot look.
    private func copied() throws -> String {
        let path = "\(other.directory)/forge-dump.py"
        try Shell.root.run("cp '\(Programs.script("forge-dump.py"))' \(path); chmod 644 \(path)")
        return path
    }

    @Test("a recovered volume shows no file of the one who recovers it, until the source is trusted")
    func recovered() throws {
        let dump = try forge()
        // With its own record: what it says of hosts, keys and places is not taken over either.
        try other.shell.run(
            """
            set -e; export HOME=$PWD/h; berth volume create w -o store=file://$PWD/s -o path=/data -o size=1G >/dev/null
            berth volume load w \(dump) >/dev/null
            r=$HOME/.local/share/berth/volumes/w/volume.json
            python3 - $r <<END
            import json, sys
            r = json.load(open(sys.argv[1])); r["reachesBuckets"] = True; r["sources"] = ["\(source)"]
            r["options"]["cacheDirectory"] = "$PWD/cache"; json.dump(r, open(sys.argv[1], "w"))
            END
            mkdir -p -m 700 mnt cache; berth mount w mnt >/dev/null; echo own > mnt/own; berth umount mnt; berth stop --all --force >/dev/null
            chmod -R a+rX s
            """)
        let text = try site.shell.run(
            """
            set -e; cp -r \(other.directory)/s s; chmod -R u+w s; berth volume recover file://$PWD/s/w > out; grep -c 'closed: .*\(source).*berth volume trust w' out
            r=$HOME/.local/share/berth/volumes/w/volume.json; grep -c -e '\(other.directory)' -e '"reachesBuckets" : true' -e '\(source)' $r || true
            berth volume inspect w | grep -E '^option (path|size)' | xargs
            berth mount w m >/dev/null; cat m/own; cat m/id 2>err || grep -c -e 'Permission denied' -e 'Input/output error' err
            cat m/id 2>/dev/null || true; berth log w | grep -c "berth volume trust w '\(source)'" | head -1
            berth volume check w --data | grep -c '^closed: .*\(source)'; berth status | grep -c 'closed: .*\(source)'
            """)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(!text.contains("my-secret"))
        #expect(
            Array(lines.prefix(5)) == ["1", "0", "option path /data option size 1073741824", "own", "1"], "\(text)")
        #expect(lines.count == 8 && lines[5...] == ["1", "1", "1"], "\(text)")
        // While it is mounted, and without anything else of the volume changing.
        #expect(
            try site.shell.run(
                "berth volume trust w '\(source)' | head -1; cat m/id m/own; berth volume check w --data | grep -c closed || true"
            )
                == "trusted  \(source)\nmy-secret\nown\n0")
        #expect(
            try site.shell.run(
                """
                berth umount m; berth stop --all --force >/dev/null; berth volume rm --keep-data w >/dev/null
                berth volume recover file://$PWD/s/w --trust-source '\(source)' | grep -c closed: || true
                berth mount w m >/dev/null; cat m/id
                """) == "0\nmy-secret")
        try end()
    }

    @Test("a loaded volume shows no file of the one who loads it, until the source is trusted")
    func loaded() throws {
        let dump = try forge()
        let text = try site.shell.run(
            """
            berth volume create w >/dev/null; berth volume load w \(dump) | grep -c '^closed: .*\(source)'; berth mount w m >/dev/null
            cat m/id 2>&1 | grep -c -e my-secret -e not-there; berth umount m; berth stop --all --force >/dev/null
            berth volume create x >/dev/null; berth volume load x --trust-source '\(source)' \(dump) | grep -c '^closed'; berth mount x m >/dev/null; cat m/id
            """)
        #expect(text == "1\n0\n0\nmy-secret", "\(text)")
        try end()
    }

    @Test("clones and snapshots of a volume from elsewhere are as closed as it is")
    func clonesAndSnapshots() throws {
        let dump = try forge()
        let text = try site.shell.run(
            """
            berth volume create w >/dev/null; berth volume load w \(dump) >/dev/null; berth mount w m >/dev/null
            berth snapshot create w@s >/dev/null; berth clone w c >/dev/null
            cat m/.snapshots/s/id 2>&1 | grep -c my-secret; berth umount m; berth mount c m >/dev/null; cat m/id 2>&1 | grep -c my-secret
            berth snapshot restore w@s:/id --to /back >/dev/null; berth umount m; berth mount w m >/dev/null; cat m/back 2>&1 | grep -c my-secret || true
            """)
        #expect(text == "0\n0\n0", "\(text)")
        try end()
    }

    @Test("a server opens no source that was not named on this machine, whoever asks it")
    func asked() throws {
        let text = try site.shell.run(
            """
            berth volume create w >/dev/null; mkdir src; echo x > src/x; berth import w src >/dev/null; berth mount w m >/dev/null; cat m/x
            r=$HOME/.local/share/berth/volumes/w/volume.json; sed -i 's,file://[^"]*,file:///nowhere,' $r
            berth umount m; berth stop --all --force >/dev/null; berth mount w m >/dev/null; cat m/x 2>&1 | grep -c -e 'Permission' -e 'Input/output'
            berth import w src >/dev/null; berth umount m; berth mount w m >/dev/null; cat m/x
            """)
        #expect(text == "x\n1\nx", "\(text)")
        try end()
    }

    @Test("what a volume of an older version imported is adopted once, and stays readable")
    func adopted() throws {
        let text = try site.shell.run(
            """
            berth volume create w >/dev/null; mkdir src two; echo x > src/x; echo y > two/y; berth import w src >/dev/null; berth stop --all --force >/dev/null
            r=$HOME/.local/share/berth/volumes/w/volume.json
            python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); del r["sources"]; json.dump(r, open(sys.argv[1], "w"))' $r
            berth mount w m >/dev/null; cat m/x; grep -c "file://$PWD/src" $r; berth umount m; berth stop --all --force >/dev/null
            python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); del r["sources"]; json.dump(r, open(sys.argv[1], "w"))' $r
            berth import w two >/dev/null; berth mount w m >/dev/null; cat m/x m/y; grep -c -e "file://$PWD/src" -e "file://$PWD/two" $r
            """)
        #expect(text == "x\n1\nx\ny\n2", "\(text)")
        try end()
    }

    @Test("a server in use is replaced for a new directory, and its mounts go on")
    func replaced() throws {
        try site.shell.run(
            "berth volume create w >/dev/null; mkdir src; echo x > src/x; berth mount w m >/dev/null; echo y > m/y")
        let before = try site.server(of: "w")
        let text = try site.shell.run(
            "exec 5< m/y; berth import w src >/dev/null; cat m/x m/y <&5; cat <&5; berth import w:/again src >/dev/null; cat m/again/x"
        )
        let after = try site.server(of: "w")
        #expect(text == "x\ny\ny\nx", "\(text)")
        #expect(before != nil && after != nil && before != after)
        try site.shell.run("echo z > src/z; berth import w src >/dev/null; cat m/z")
        #expect(try site.server(of: "w") == after, "the second import needs no other server")
        try end()
    }

    @Test("a bucket that is trusted at one endpoint is not asked at another, and no signed request goes there")
    func endpoints() throws {
        let server = try S3Server.shared()
        let (own, hostile) = (try FaultyProxy(before: server), try FaultyProxy(before: server))
        let prefix = "trust/" + (site.directory.split(separator: "/").last.map(String.init) ?? "x")
        try hostile.set("")
        let text = try site.shell.run(
            """
            mkdir -p -m 700 $HOME/.config/berth; umask 077; echo object > x; cp \(try copied()) forge.py
            printf '[default]\\naws_access_key_id=\(S3Server.accessKey)\\naws_secret_access_key=\(S3Server.secretKey)\\n' > $HOME/.config/berth/credentials
            curl -sSf --aws-sigv4 aws:amz:us-east-1:s3 --user \(S3Server.accessKey):\(S3Server.secretKey) -T x \(server.endpoint)/\(S3Server.bucket)/\(prefix)/x
            berth volume create a >/dev/null; berth import a s3://\(S3Server.bucket)/\(prefix) --endpoint \(own.endpoint) >/dev/null
            berth volume dump a > dump; berth stop --all --force >/dev/null; python3 forge.py \(own.endpoint) \(hostile.endpoint) < dump > forged
            trust='s3://\(S3Server.bucket)?endpoint=\(own.endpoint)'
            berth volume create w >/dev/null; berth volume load w --trust-source "$trust" forged | grep -c '^closed: .*\(hostile.endpoint)'
            berth mount w m >/dev/null; cat m/x 2>&1 | grep -c '^object'; berth umount m; berth stop --all --force >/dev/null
            berth volume create y >/dev/null; berth volume load y --trust-source "$trust" dump | grep -c '^closed'; berth mount y m >/dev/null; cat m/x
            """)
        #expect(text == "1\n0\n0\nobject", "\(text)")
        #expect(try hostile.requests() == [])
        try end()
    }
}
