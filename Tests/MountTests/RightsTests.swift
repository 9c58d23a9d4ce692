import CLinux
import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// What only root's own mount shows: devices, set-id bits and other users. CI runs these as root.
@Suite("rights on a real mount", .enabled(if: geteuid() == 0, "needs root: other users act in it"))
struct RightsTests {
    private func asUser(_ volume: MountedVolume, _ script: String) throws -> Outcome {
        var shell = volume.site.shell
        shell.user = try TestUser.shared().name
        return try shell.attempt(script)
    }

    @Test("ACLs are enforced, inherited by default ACLs, and follow chmod")
    func accessLists() throws {
        let volume = try MountedVolume()
        let user = try TestUser.shared().name
        try volume.site.shell.run(
            "cd m; echo secret > f; chmod 600 f; mkdir d; setfacl -m u:\(user):r f; setfacl -d -m u:\(user):rwx d")
        #expect(try asUser(volume, "cat m/f").output == "secret\n")
        #expect(try asUser(volume, "echo x > m/f").errors.contains("Permission denied"))
        try volume.site.shell.run("cd m; echo in > d/g; chmod 600 f")
        #expect(try asUser(volume, "cat m/f").errors.contains("Permission denied"), "the mask went with chmod")
        #expect(try volume.site.shell.run("getfacl -cp m/d/g | grep user:\(user)").contains("rw"))
        #expect(try asUser(volume, "echo more >> m/d/g; cat m/d/g").output == "in\nmore\n")
    }

    @Test("set-id bits go when an ordinary user writes, truncates or the owner changes")
    func setID() throws {
        let volume = try MountedVolume()
        let user = try TestUser.shared().name
        try volume.site.shell.run(
            "cd m; chmod 777 .; for f in w t c k; do echo x > $f; chown \(user) $f; chmod 6777 $f; done")
        #expect(try asUser(volume, "cd m; echo y >> w; truncate -s 0 t; stat -c %a w t").output == "777\n777\n")
        #expect(
            try volume.site.shell.run("cd m; chown root c; echo z >> k; stat -c %a c k") == "777\n6777",
            "root's write keeps them")
    }

    @Test("a sticky directory protects other people's files")
    func sticky() throws {
        let volume = try MountedVolume()
        try volume.site.shell.run("cd m; mkdir -m 1777 t; echo x > t/roots; chmod 666 t/roots")
        let outcome = try asUser(volume, "cd m/t; rm -f roots; mv roots r; echo mine > mine && rm mine && echo ok")
        #expect(outcome.output == "ok\n")
        #expect(outcome.errors.contains("Operation not permitted"))
    }

    @Test("extended attributes: user, trusted and security.capability, which a write removes")
    func attributes() throws {
        let volume = try MountedVolume()
        let text = try volume.site.shell.run(
            """
            cd m; echo x > f; chmod 755 f
            setfattr -n user.a -v 1 f; setfattr -n user.b -v 2 f; setfattr -n trusted.t -v 3 f; setcap cap_net_raw+ep f
            getfattr -d -m - --absolute-names f | grep -c =
            setfattr -x user.a f; getfattr -n user.a f 2>&1 | grep -c 'No such attribute'
            echo y >> f; getcap f; getfattr -n trusted.t --only-values f
            """)
        #expect(text == "4\n1\n3")
    }

    @Test("umask and default modes are those of a local file system")
    func umasks() throws {
        let volume = try MountedVolume()
        #expect(
            try volume.site.shell.run("cd m; umask 027; touch f; mkdir d; umask 0; touch g; stat -c %a f d g")
                == "640\n750\n666")
    }

    @Test("times have nanoseconds, and reading renews the access time as relatime says")
    func times() throws {
        let volume = try MountedVolume()
        let text = try volume.site.shell.run(
            """
            cd m; echo x > f; touch -d '2001-02-03 04:05:06.123456789' f; stat -c %y f
            touch -a -d '2001-01-01' f; cat f >/dev/null; [ $(stat -c %X f) -gt 1000000000 ] && echo renewed
            touch -d '1960-01-01 00:00:00.5' f; stat -c %y f
            """)
        #expect(text == "2001-02-03 04:05:06.123456789 +0000\nrenewed\n1960-01-01 00:00:00.500000000 +0000")
    }

    @Test("flock and fcntl locks exclude each other's holders")
    func locks() throws {
        let volume = try MountedVolume()
        let text = try volume.site.shell.run(
            """
            cd m; touch f
            exec 9<>f; flock -x 9; flock -n f -c true || echo flock
            python3 -c 'import fcntl,os,sys
            f=open("f","r+"); fcntl.lockf(f, fcntl.LOCK_EX, 10, 0)
            if os.fork()==0:
                g=open("f","r+")
                try: fcntl.lockf(g, fcntl.LOCK_EX|fcntl.LOCK_NB, 5, 5); print("free", flush=True)
                except OSError: print("fcntl", flush=True)
                fcntl.lockf(g, fcntl.LOCK_EX|fcntl.LOCK_NB, 5, 10); print("beside", flush=True)
                os._exit(0)
            os.wait()'
            """)
        #expect(text == "flock\nfcntl\nbeside")
    }
}
