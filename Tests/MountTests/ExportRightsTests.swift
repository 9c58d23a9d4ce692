import Glibc
import LinuxSystem
import TestSupport
import Testing

/// What an export leaves on a machine with other users: files that give away no rights, and that are the caller's own.
@Suite("exports on a shared machine", .serialized)
struct ExportRightsTests {
    private let site: UserSite

    init() throws {
        site = try UserSite()
        try site.shell.run("umask 022; berth volume create v >/dev/null; berth mount v m >/dev/null")
    }

    private func end() throws { try site.shell.run("berth umount m; berth stop --all --force >/dev/null") }

    @Test("an export has no set-id bits and keeps to the caller's umask, unless --keep-modes asks for them")
    func setIDs() throws {
        let text = try site.shell.run(
            """
            umask 027; cp /bin/true m/tool; chmod 4755 m/tool; cp m/tool m/group; chmod 2775 m/group; cp m/tool m/both; chmod 6777 m/both
            mkdir m/d m/t; chmod 2777 m/d; chmod 1777 m/t; echo x > m/loose; chmod 1666 m/loose; ln m/tool m/d/hard
            names="tool group both d t loose d/hard"; show() { (cd $1; stat -c '%a' $names | xargs); }
            (cd m; stat -c %a $names | xargs)
            berth export v out >log; show out
            chmod 4755 out/tool; berth export v out >log; show out
            berth export v kept --keep-modes >log; show kept
            berth export v a.tar >log; mkdir a; tar -xpf a.tar -C a; show a; stat -c %a a.tar
            berth export v b.tar --keep-modes >log; tar -tvf b.tar | grep -c '^[-d]..s'
            """)
        #expect(
            text == """
                4755 2775 6777 2777 1777 1666 4755
                750 750 750 750 1750 640 750
                750 750 750 750 1750 640 750
                4755 2775 6777 2777 1777 1666 4755
                755 775 777 777 1777 666 755
                640
                2
                """, "\(text)")
        try end()
    }

    @Test("an access control list does not come out as the group's bits, and attributes that give rights stay inside")
    func lists() throws {
        // The one id that a host mount knows beside the owner's.
        let other = try TestUser.shared().name
        let text = try site.shell.run(
            """
            umask 022; echo secret > m/f; chmod 600 m/f; setfacl -m u:\(other):rw m/f; mkdir m/d; chmod 700 m/d; setfacl -m u:\(other):rwx m/d
            setfattr -n user.x -v y m/f; stat -c %a m/f m/d | xargs
            berth export v out >log; stat -c %a out/f out/d | xargs; getfattr -d -m - out/f 2>/dev/null | grep -v '^#' | xargs
            berth export v a.tar >log; tar -tvf a.tar | cut -c1-10 | xargs; tar --xattrs --xattrs-include='*' -tvvf a.tar | grep -c acl || true
            """)
        #expect(text == "660 770\n600 700\nuser.x=y\ndrwx------ -rw-------\n0", "\(text)")
        try end()
    }

    @Test("a planted X.tar.part is neither followed nor taken, and the archive is the caller's own")
    func plantedPart() throws {
        let other = try SecondUser()
        for mode in ["1777", "0777"] {
            let place = "\(other.directory)/shared\(mode)"
            try other.shell.run("mkdir \(place); chmod \(mode) \(place)")
            try site.shell.run("echo file > m/f; echo precious > mine; chmod 644 mine")
            try other.shell.run(
                """
                ln -s \(site.directory)/mine \(place)/a.tar.part; : > \(place)/b.tar.part; chmod 666 \(place)/b.tar.part
                ln -s \(site.directory)/mine \(place)/c.tar; ln -s \(site.directory)/new \(place)/d.tar.part
                """)
            for name in ["a", "b", "d"] {
                try site.shell.run("umask 022; berth export v \(place)/\(name).tar >log")
                let text = try site.shell.run(
                    "stat -c '%U %a %F' \(place)/\(name).tar; tar -tf \(place)/\(name).tar; cat mine; ls new 2>/dev/null; true"
                )
                #expect(text == "\(try TestUser.shared().name) 644 regular file\nf\nprecious", "\(name): \(text)")
            }
            // A link that is there by the archive's own name: replaced where the directory lets us, never followed.
            _ = try site.shell.attempt("berth export v \(place)/c.tar")
            #expect(try site.shell.run("cat mine") == "precious")
            #expect(try site.shell.run("ls -A \(place) | grep -c '^[.]berth' || true") == "0", "nothing is left behind")
        }
        try end()
    }

    @Test("a name in a sticky directory that is another's is refused, and nothing is left behind")
    func takenName() throws {
        let other = try SecondUser()
        let place = "\(other.directory)/shared"
        try other.shell.run("mkdir \(place); chmod 1777 \(place); echo theirs > \(place)/x.tar")
        let refused = try site.shell.attempt("echo file > m/f; berth export v \(place)/x.tar")
        #expect(refused.end != .exited(0) && refused.errors.contains("another user's"), "\(refused)")
        #expect(try other.shell.run("cat \(place)/x.tar; ls -A \(place)") == "theirs\nx.tar")
        try end()
    }

    @Test("an export goes neither through another's link nor into another's directory in a place for everybody")
    func plantedDirectory() throws {
        let other = try SecondUser()
        let place = "\(other.directory)/shared"
        try site.shell.run("mkdir -m 755 keys; echo file > m/authorized_keys")
        try other.shell.run(
            """
            mkdir \(place) \(place)/theirs; chmod 1777 \(place); chmod 777 \(place)/theirs
            ln -s \(site.directory)/keys \(place)/out; ln -s \(site.directory) \(place)/up
            """)
        for target in ["out", "theirs", "up/keys", "up/keys/x.tar"] {
            let refused = try site.shell.attempt("berth export v \(place)/\(target)")
            #expect(refused.end != .exited(0), "\(target): \(refused)")
        }
        #expect(try site.shell.run("ls -A keys \(place)/theirs | grep -v :$ | grep . || echo empty") == "empty")
        // One's own link is one's own.
        #expect(
            try site.shell.run(
                "ln -s keys link; berth export v link >log; berth export v link/x.tar >log; ls keys | xargs")
                == "authorized_keys x.tar")
        try end()
    }

    @Test("what another user put into the target is not taken for what an earlier export left there")
    func plantedFiles() throws {
        let other = try SecondUser()
        let place = "\(other.directory)/shared"
        try site.shell.run(
            "echo mine-mine > m/f; ln -s f m/l; touch -h -d '2001-02-03 04:05:06' m/f m/l; berth export v sample >log")
        try other.shell.run(
            "mkdir \(place); chmod 777 \(place); cd \(place); echo your-your > f; ln -s /etc/passwd l; touch -h -d '2001-02-03 04:05:06' f l"
        )
        let text = try site.shell.run(
            "berth export v \(place) >log; cd \(place); stat -c %U f l | sort -u; cat f; readlink l; berth export v \(place) | grep -o '\"made\":[0-9]*'"
        )
        #expect(text == "\(try TestUser.shared().name)\nmine-mine\nf\n\"made\":0", "\(text)")
        try end()
    }

    @Test("a dump goes on with a file of one's own only")
    func resumedDump() throws {
        let other = try SecondUser()
        let place = "\(other.directory)/shared"
        try site.shell.run("echo precious > mine; chmod 666 mine")
        try other.shell.run(
            "mkdir \(place); chmod 777 \(place); ln -s \(site.directory)/mine \(place)/link; : > \(place)/file; chmod 666 \(place)/file"
        )
        for name in ["link", "file"] {
            let refused = try site.shell.attempt("berth volume dump v --resume -o \(place)/\(name)")
            #expect(refused.end != .exited(0), "\(name): \(refused)")
        }
        #expect(try site.shell.run("cat mine; stat -c %s \(place)/file") == "precious\n0")
        #expect(
            try site.shell.run(
                "berth volume dump v -o own >log; head -c 100 own > part; chmod 600 part; berth volume dump v -o part --resume >log && cmp own part && echo same"
            ) == "same")
        try end()
    }
}
