import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// One person's volume on machines that number their groups otherwise: each has an `/etc/group` of its own, in a mount
/// namespace that lasts as long as a script.
private final class GroupSite {
    let site: UserSite

    init() throws {
        site = try UserSite()
        try site.shell.run("berth volume create a -o path=/berth-none >/dev/null")
    }

    /// Runs a script as the test user, in `memberships` beside their own group, where the volume is mounted at `m`.
    func run(groups: [(name: String, id: UInt32)], in memberships: [UInt32], _ script: String) throws -> String {
        let user = try TestUser.shared().name
        let lines = groups.map { "\($0.name):x:\($0.id):" }.joined(separator: "\n")
        let mounted =
            "berth mount a m >/dev/null || exit 1\n(\n\(script)\n)\nberth umount m >/dev/null; berth stop --all >/dev/null"
        try Shell.root.run(
            "cat > '\(site.directory)/script' <<'END'\n\(mounted)\nEND\nchmod 755 '\(site.directory)/script'")
        var shell = Shell(environment: site.shell.environment)
        shell.directory = site.directory
        shell.wrapper = ["unshare", "-m", "--propagation", "private"]
        return try shell.run(
            """
            { cat /etc/group; echo '\(lines)'; } > group; mount --bind group /etc/group
            exec setpriv --reuid \(user) --regid $(id -g \(user)) --groups \(memberships.map { "\($0)" }.joined(separator: ",")) \
                -- bash '\(site.directory)/script' 2>&1
            """)
    }
}

/// What only real ids show: the kernel's own checks, and programs that set groups and lists.
@Suite("groups of a project on a real mount", .enabled(if: geteuid() == 0, "needs root: it chooses a process's groups"))
struct GroupTests {
    private static let here: [(name: String, id: UInt32)] = [
        ("berth-project", 64_110), ("berth-second", 64_111), ("berth-foreign", 64_112),
    ]
    private static let mine: [UInt32] = [64_110, 64_111]

    @Test("chgrp, install -g, cp -a, cp -p, mv, setfacl and rsync's calls do what they do on a local disk")
    func programs() throws {
        let place = try GroupSite()
        let work = """
            ls_all() { find . -mindepth 1 | sort | while read f; do stat -c '%n %A %g' $f; getfacl -cnp $f; done; }
            work() { (
                cd $1; umask 022
                echo x > f; chgrp berth-project f; echo y > g; chgrp berth-second g
                chgrp berth-foreign f 2>&1 | grep -o 'Operation not permitted'
                install -m 640 -g berth-second f i
                mkdir d; chgrp berth-project d; chmod 2770 d; setfacl -m g:berth-second:rwx,g:berth-foreign:r-x,u:nobody:r-x d
                echo z > d/new; mkdir d/sub; chmod 2771 d
                cp -a $2/tree tree; cp -p $2/listed p; mv $2/moved$3 moved
                python3 -c 'import os
            n=os.open(".r", os.O_CREAT|os.O_RDWR, 0o600); os.write(n, b"r"); os.lchown(".r", -1, 64110)
            os.chmod(".r", 0o2660); os.utime(".r", (1, 1)); os.rename(".r", "r")'
                chmod g+s f; setfacl -m u:nobody:r f; ls_all
            ); }
            mkdir src local; mkdir -p src/tree/in; echo 1 > src/tree/in/f; chgrp -R berth-project src/tree
            chmod 2770 src/tree src/tree/in; setfacl -d -m g:berth-second:rwx src/tree/in
            for f in listed moved1 moved2; do echo $f > src/$f; chgrp berth-second src/$f; setfacl -m u:nobody:rw,g:berth-foreign:r src/$f; done
            work local $PWD/src 1 > local.txt; work m $PWD/src 2 > mount.txt
            diff local.txt mount.txt && grep -c . mount.txt
            """
        // The directory's own file system is the oracle: as many lines as it has.
        let lines = try place.run(groups: Self.here, in: Self.mine, work)
        #expect((Int(lines) ?? 0) > 60, "\(lines)")
        // Without those groups the same list takes set-group-id, and of a file that the group may not execute chgrp, too.
        let left = try place.run(
            groups: Self.here, in: [64_111],
            """
            for p in local m; do ( cd $p; chmod 2751 d tree; echo > w
                for f in d tree/in r; do setfacl -m u:nobody:rx $f; stat -c '%n %A %g' $f; done
                chgrp berth-second r; stat -c '%n %A %g' r ) > $p.txt; done
            diff local.txt m.txt && grep -ci 's' m.txt; grep -c . m.txt
            """)
        #expect(left == "0\n4", "\(left)")
    }

    @Test(
        "another site sees the same-named group under its own number, and what it does not know as 65534 and gives back"
    )
    func sites() throws {
        let place = try GroupSite()
        let first = try place.run(
            groups: Self.here, in: Self.mine,
            """
            cd m; for f in a b c; do echo $f > $f; done; chgrp berth-project a; chgrp berth-second b
            setfacl -m g:berth-project:r,g:berth-second:rw,g:berth-foreign:rwx,u:nobody:r c
            stat -c %G a b; getfacl -cp c | md5sum > ../list; cd ..
            berth snapshot create a@s >/dev/null; berth export a out.tar >/dev/null; tar tvf out.tar | grep -o '/berth-[a-z]*' | sort
            """)
        #expect(first == "berth-project\nberth-second\n/berth-project\n/berth-second")
        let second = try place.run(
            groups: [("berth-project", 64_200), ("berth-alien", 64_110)], in: [64_200],
            """
            cd m; stat -c %g a b .snapshots/s/a; getfacl -cnp c | grep -v '^$'
            setfacl -m o::- c; chgrp berth-project c; echo d > d; chgrp 64200 d; chgrp berth-alien d 2>&1 | grep -o 'not permitted'
            echo more >> b && rm -f none && stat -c %g d
            """)
        #expect(
            second == """
                64200
                65534
                64200
                user::rw-
                user:65534:r--
                group::r--
                group:64200:r--
                group:65534:rw-
                mask::rwx
                other::r--
                not permitted
                64200
                """, "\(second)")
        let third = try place.run(
            groups: Self.here, in: Self.mine,
            "berth restart a >/dev/null; cd m; stat -c %G a b c d; chgrp berth-second d; stat -c %G d; setfacl -m o::r c; getfacl -cp c | md5sum | cmp - ../list && echo same"
        )
        #expect(third == "berth-project\nberth-second\nberth-project\nberth-project\nberth-second\nsame", "\(third)")
        // The whole of it in words, and back.
        try place.site.shell.run("berth volume check a")
        let dumped = try place.site.shell.run("berth volume dump a -o a.dump >/dev/null; grep -c '=berth-' a.dump")
        #expect(dumped == "3")
        let loaded = try place.run(
            groups: Self.here, in: Self.mine,
            "berth volume create b >/dev/null; berth volume load b a.dump >/dev/null; mkdir m2; berth mount b m2 >/dev/null; stat -c %G m2/a m2/b; berth umount m2 >/dev/null"
        )
        #expect(loaded == "berth-project\nberth-second", "\(loaded)")
    }

    @Test(
        "the kernel's checks follow the name: who is in the group here has its rights, whatever its number elsewhere gives"
    )
    func permissions() throws {
        // Root's own mount, which others may use, of a volume that a user's mount gave the group's name.
        let site = try UserSite(ordinary: false)
        try site.shell.run(
            """
            berth volume create v >/dev/null; berth mount v m >/dev/null; chmod 755 m; cd m
            echo secret > f; chgrp 64110 f; chmod 640 f; echo list > l; chmod 600 l; setfacl -m g:64110:r l; chmod 755 .. ; cd ..
            berth umount m >/dev/null; berth stop --all >/dev/null
            sqlite3 $HOME/.local/share/berth/volumes/v/meta.db "INSERT INTO account VALUES (4026531847, 1, 'berth-project');
                UPDATE inode SET gid = 4026531847 WHERE gid = 64110;
                UPDATE xattr SET value = CAST(replace(value, x'6efa0000', x'070000f0') AS BLOB)"
            """)
        var shell = Shell(environment: site.shell.environment)
        shell.directory = site.directory
        shell.wrapper = ["unshare", "-m", "--propagation", "private"]
        let user = try TestUser.shared().name
        let text = try shell.run(
            """
            { cat /etc/group; echo berth-project:x:64200:; } > group; mount --bind group /etc/group
            berth mount v m >/dev/null
            as() { setpriv --reuid \(user) --regid $(id -g \(user)) --groups $1 -- bash -c "$2" 2>&1; }
            as 64200 'cat m/f m/l'; as 64110 'cat m/f m/l' | grep -o 'Permission denied'
            as 64200 'stat -c %G m/f; getfacl -cp m/l | grep group:berth'
            berth umount m >/dev/null; berth stop --all >/dev/null
            """)
        #expect(
            text == "secret\nlist\nPermission denied\nPermission denied\nberth-project\ngroup:berth-project:r--",
            "\(text)")
    }

    @Test("in berth run, whose namespace has no other group, files of a project's group can be written and removed")
    func run() throws {
        let place = try GroupSite()
        let text = try place.run(
            groups: Self.here, in: Self.mine,
            """
            cd m; for f in a b; do echo x > $f; chgrp berth-project $f; chmod 660 $f; setfacl -m g:berth-second:r,u:nobody:r $f; done; cd ..
            berth run -- sh -c 'cd /berth-none; stat -c %g a | grep -qx $(id -g) && echo own; echo y >> a && cat a; rm b; getfacl -cnp a | grep -c :6
                chgrp 64110 a 2>&1 | grep -o "Invalid argument"; setfacl -m o::- a && echo set'
            cat m/a; ls m; stat -c %G m/a; getfacl -cp m/a | grep -c 'berth-second:r\\|nobody:r'
            """)
        #expect(text == "own\nx\ny\n0\nInvalid argument\nset\nx\ny\na\nberth-project\n2", "\(text)")
    }

    @Test("a name service that hangs costs seconds once, what is known goes on, and nobody waits for ever")
    func hanging() throws {
        let place = try GroupSite()
        let text = try place.run(
            groups: Self.here, in: Self.mine,
            """
            cd m; echo x > f; chgrp berth-project f
            keeper=$(berth volume inspect a --json | sed -n 's/.*"keeper" : \\([0-9]*\\).*/\\1/p')
            names=$(pgrep -P $keeper -f 'berthfs names'); kill -STOP $names
            chgrp berth-second f 2>&1 | grep -o 'Invalid argument'
            stat -c %G f; time -p chgrp berth-second f 2>&1 | grep -o 'Invalid argument'; echo y >> f; cat f; kill -CONT $names
            """)
        let lines = text.split(separator: "\n")
        #expect(try place.site.shell.run("berth log a | grep -c 'name service does not answer'") == "1")
        #expect(lines.filter { $0 == "Invalid argument" }.count == 2 && lines.contains("berth-project"), "\(text)")
        #expect(lines.suffix(2) == ["x", "y"], "\(text)")
        let seconds = lines.first { $0.hasPrefix("real ") }.flatMap { Double($0.dropFirst(5)) }
        #expect((seconds ?? 99) < 2, "the second question waited, too: \(text)")
    }
}
