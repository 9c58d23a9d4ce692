import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// Disks that fail below a volume: what programs hear, what is said, and how it goes on.
@Suite("faults", .serialized)
struct FaultTests {
    /// Shell functions: `log` is the volume's log, `again FILE` waits until a file can be written, `noted WORD` until the
    /// status has it, `quiet` until it has no fault.
    static let functions = """
        log() { cat $HOME/.local/share/berth/logs/v.log $XDG_DATA_HOME/berth/logs/v.log 2>/dev/null; }
        again() { for t in $(seq 600); do { echo again > $1; } 2>/dev/null && return; sleep 0.1; done; echo "$1 never came"; }
        noted() { for t in $(seq 600); do berth status | grep -q "fault .*$1" && return; sleep 0.1; done; berth status; }
        quiet() { for t in $(seq 800); do berth status --json | tr -d '\\n ' | grep -q '"faults":\\[\\]' && return; sleep 0.1; done; berth status; }
        remount() { berth umount m && berth mount v m >/dev/null; }
        errno() { grep -oE 'Input/output error|Read-only file system|No space left on device' | head -1; }

        """

    /// A volume with its metadata and staging, or another part, on a disk that fails.
    private struct Bench {
        let site: UserSite
        let disk: FaultyDisk

        /// `options` has the disk's path for DISK.
        init(data: Bool, _ options: String = "") throws {
            site = try UserSite()
            disk = try FaultyDisk("disk", in: site)
            prefix =
                (data ? "export XDG_DATA_HOME='\(disk.path)'\n" : "") + FaultTests.functions
            let store = options.contains("store=") ? "" : "-o store=file://$PWD/s"
            try run(
                """
                mkdir -p s; berth volume create v \(store) \(options.replacing("DISK", with: disk.path)) >/dev/null
                berth mount v m >/dev/null; for i in 1 2 3; do head -c 300000 /dev/urandom > m/f$i; done; sync m/f1; md5sum m/f* > sums
                """)
        }

        private let prefix: String

        @discardableResult
        func run(_ script: String) throws -> String {
            try site.shell.run(prefix + script, timeout: .seconds(600))
        }

        /// Everything that was fsynced is there, now and for the next server.
        func conclude() throws {
            #expect(
                try run(
                    """
                    md5sum -c --quiet sums; berth umount m; berth stop --all --force --timeout 20 >/dev/null
                    berth volume check v --data | grep -o 'v: whole'
                    berth mount v m >/dev/null; md5sum -c --quiet sums && echo kept; berth umount m
                    """) == "v: whole\nkept")
        }
    }

    private struct DiskCase: Sendable, CustomTestStringConvertible {
        var part: String
        var kinds: [FaultyDisk.Kind]
        var errno: Errno
        /// What was written and not fsynced is there after it.
        var keepsAll = false
        var testDescription: String { "\(part) \(kinds) \(errno)" }
    }

    private static let readOnlyCases = [
        DiskCase(part: "/staging/", kinds: [.write], errno: .io),
        DiskCase(part: "/staging", kinds: [.sync], errno: .io),
        DiskCase(part: "meta.db", kinds: [.write], errno: .io),
        DiskCase(part: "meta.db", kinds: [.sync], errno: .io, keepsAll: true),
        DiskCase(part: "meta.db", kinds: [.write, .names], errno: .noSpace),
        DiskCase(part: "meta.db", kinds: [.write, .names], errno: .readOnly),
        DiskCase(part: "volumes/", kinds: [.write, .names, .sync], errno: .readOnly),
    ]

    @Test(
        "a disk below staging or metadata that fails: EIO for fsync, EROFS for changes, reads go on, log and status say why, and it goes on by itself",
        arguments: FaultTests.readOnlyCases)
    private func readOnly(_ fault: DiskCase) throws {
        let bench = try Bench(data: true)
        let text = try bench.run(
            """
            \(bench.disk.begin(fault.kinds, fault.errno, fault.part))
            echo lost > m/lost; sync m/lost 2>&1 | errno; noted 'metadata: the volume is read-only'
            (echo x > m/x) 2>&1 | errno; rm m/f1 2>&1 | errno; md5sum -c --quiet sums && echo readable
            berth volume inspect v | grep -c 'fault of metadata.*read-only.*goes on by itself'
            log | grep -c 'read-only from now on: .*goes on by itself'
            sleep 6; (echo x > m/x) 2>&1 | errno
            \(bench.disk.end); again m/again; sync m/again && cat m/again; ls m | xargs; quiet
            log | grep -c 'takes changes again'; log | grep -c 'read-only from now on'; echo b > m/b; sync m/b; md5sum m/b >> sums
            """)
        #expect(
            text
                == """
                Input/output error
                Read-only file system
                Read-only file system
                readable
                1
                1
                Read-only file system
                again
                again f1 f2 f3\(fault.keepsAll ? " lost" : "")
                1
                1
                """, "\(fault.testDescription): \(text)")
        try bench.conclude()
    }

    @Test(
        "what a fault took back is never called durable: fsync of it is EIO, once for each process, and other files go on"
    )
    func neverClaimed() throws {
        let bench = try Bench(data: true)
        // One process holds both files open over the fault.
        let text = try bench.run(
            """
            cat > hold.py <<'END'
            import os, sys, time
            def sync(name, file):
                try: os.fsync(file); print(name, "durable")
                except OSError as error: print(name, os.strerror(error.errno))
            old = os.open("m/f2", os.O_WRONLY | os.O_APPEND); new = os.open("m/new", os.O_WRONLY | os.O_CREAT); other = os.open("m/f3", os.O_RDWR)
            os.close(os.open("begin", os.O_CREAT | os.O_WRONLY))
            while not os.path.exists("failing"): time.sleep(0.01)
            os.write(old, b"lost"); os.write(new, b"lost")
            os.close(os.open("written", os.O_CREAT | os.O_WRONLY))
            while not os.path.exists("over"): time.sleep(0.01)
            print(os.fstat(old).st_size); sync("old", old); sync("old", old); sync("other", other); sync("new", new)
            try: os.write(new, b"more"); print("written")
            except OSError as error: print(os.strerror(error.errno))
            END
            /usr/bin/python3 hold.py > held & while [ ! -e begin ]; do sleep 0.05; done; sync m/f1
            \(bench.disk.begin([.write], .io, "meta.db")); touch failing; while [ ! -e written ]; do sleep 0.05; done; noted read-only
            \(bench.disk.end); again m/again; touch over; wait; cat held; sync m/f2 2>&1 | errno; sync m/again && echo fine
            """)
        #expect(
            text
                == """
                300000
                old Input/output error
                old durable
                other durable
                new Input/output error
                written
                Input/output error
                fine
                """, "\(text)")
        try bench.conclude()
    }

    @Test(
        "what expires in the trash while the disk takes no writes is lost to nobody, and goes once, when there is room")
    func expiry() throws {
        let bench = try Bench(data: true, "-o trash=3s")
        let text = try bench.run(
            """
            for i in $(seq 300); do echo $i > m/g$i; done; sync m/g1; rm m/g*; sync m/f1
            \(bench.disk.begin([.write, .names], .noSpace, "meta.db")); noted 'metadata: the volume is read-only'
            \(bench.disk.end); again m/again; quiet
            for t in $(seq 600); do berth trash ls v --json | grep -q '"id"' || break; sleep 0.1; done
            log | grep -c 'takes changes again; nothing is lost'; log | grep -c 'are lost'; true
            """)
        #expect(text == "1\n0", "\(text)")
        try bench.conclude()
    }

    @Test("pages of the database that cannot be read are EIO and no end of the server, and are read again later")
    func databaseReads() throws {
        let bench = try Bench(data: true)
        let text = try bench.run(
            """
            mkdir m/d; for i in $(seq 3000); do : > m/d/a-rather-long-name-of-a-file-$i; done; sync m/d
            berth umount m; berth stop --all --force >/dev/null; berth mount v m >/dev/null
            \(bench.disk.begin([.read], .io, "meta.db")); \(bench.disk.forget)
            ls -l m/d 2>&1 >/dev/null | errno; noted 'metadata: .*Input/output error'; log | grep -c 'read-only from now on'
            \(bench.disk.end); again m/again; ls m/d | wc -l; quiet; stat -c %F m
            """)
        #expect(text == "Input/output error\n1\n3000\ndirectory", "\(text)")
        try bench.conclude()
    }

    @Test("a disk that lost commits it had taken: what is left is read, nothing is written, and a new server goes on")
    func lostCommits() throws {
        let bench = try Bench(data: true)
        let text = try bench.run(
            """
            remount; berth umount m; berth stop --all --force >/dev/null; berth mount v m >/dev/null; echo new > m/new; sync m/new
            log=\(bench.disk.path).below/berth/volumes/v/meta.db-wal; test -s $log || echo "no log"
            \(bench.disk.begin([.write], .io, "meta.db")); echo lost > m/lost; sync m/lost 2>&1 | errno; noted 'metadata: the volume is read-only'
            : > $log; \(bench.disk.forget); \(bench.disk.end); noted 'metadata: .*the disk lost commits'
            md5sum -c --quiet sums && echo readable; (echo x > m/x) 2>&1 | errno; ls m | xargs
            berth volume inspect v | grep -o "unmount it, and mount it again"; berth restart v 2>&1 | grep -o "cannot be handed over"
            berth umount m; berth mount v m >/dev/null; echo again > m/again; ls m | xargs
            """)
        #expect(
            text == """
                Input/output error
                readable
                Read-only file system
                f1 f2 f3
                unmount it, and mount it again
                cannot be handed over
                again f1 f2 f3
                """, "\(text)")
        try bench.conclude()
    }

    @Test("staging that takes no bytes for want of room is ENOSPC for who writes, and is over when there is room")
    func stagingFull() throws {
        let bench = try Bench(data: true)
        let text = try bench.run(
            """
            \(bench.disk.begin([.write], .noSpace, "/staging/"))
            head -c 3000000 /dev/zero 2>/dev/null | dd of=m/big bs=1M 2>&1 | errno; md5sum -c --quiet sums && echo readable
            \(bench.disk.end); again m/again; sync m/again && cat m/again; quiet
            """)
        #expect(text == "No space left on device\nreadable\nagain", "\(text)")
        try bench.conclude()
    }

    @Test("bytes in staging that cannot be read are EIO, said, and there again when the disk reads")
    func stagingReads() throws {
        let bench = try Bench(data: true)
        let text = try bench.run(
            """
            head -c 3000000 /dev/urandom > m/big; sync m/big; md5sum m/big >> sums; chmod 0 s
            berth umount m; berth stop --all --force --timeout 0 >/dev/null; chmod 700 s; \(bench.disk.begin([.read], .io, "/staging/")); berth mount v m > /dev/null
            \(bench.disk.forget); cat m/big 2>&1 >/dev/null | errno; noted 'store: .*Input/output error'; log | grep -c 'takes no packs.*Input/output'; noted 'staging: data cannot be read: .*each read'
            \(bench.disk.end); md5sum -c --quiet sums && berth sync v --wait --timeout 60 >/dev/null && md5sum -c --quiet sums && echo there; quiet
            """)
        #expect(text == "Input/output error\n1\nthere", "\(text)")
        try bench.conclude()
    }

    @Test(
        "a cache whose disk fails, is full or turns read-only costs time alone, is said once, and is used again later",
        arguments: [Errno.io, .noSpace, .readOnly])
    func cache(_ errno: Errno) throws {
        let bench = try Bench(data: false, "-o cache-dir=DISK/c")
        let text = try bench.run(
            """
            for i in 4 5 6; do head -c 5000000 /dev/urandom > m/f$i; done; md5sum m/f* > sums; berth sync v --wait >/dev/null; berth evict v >/dev/null; remount
            \(bench.disk.begin([.write, .names, .sync], errno)); \(errno == .io ? bench.disk.begin([.read], errno) : ":")
            md5sum -c --quiet sums && echo same; remount; noted 'cache: .*\(errno)'; md5sum -c --quiet sums && echo same
            head -c 3000000 /dev/urandom > m/more; sync m/more; md5sum m/more >> sums; berth sync v --wait > /dev/null && echo stored
            log | grep -c 'cannot be used: \(errno)'
            \(bench.disk.end); remount; sleep 11; berth warm v | tail -1 | grep -c . ; md5sum -c --quiet sums; quiet; berth warm v --check >/dev/null && echo warm
            """)
        #expect(text == "same\nsame\nstored\n1\n1\nwarm", "\(errno): \(text)")
        try bench.conclude()
    }

    @Test(
        "a store in a directory whose disk fails, is full or turns read-only: data waits in staging, cached data is read, misses are EIO, and all goes on by itself",
        arguments: [Errno.io, .noSpace, .readOnly])
    func store(_ errno: Errno) throws {
        let bench = try Bench(data: false, "-o store=file://DISK")
        let text = try bench.run(
            """
            berth sync v --wait >/dev/null; \(bench.disk.begin([.write, .names, .sync], errno)); \(errno == .io ? bench.disk.begin([.read], errno) : ":")
            head -c 3000000 /dev/urandom > m/new; sync m/new && echo durable; md5sum m/new >> sums; (berth sync v --timeout 1 --wait >/dev/null 2>&1) || echo waits
            noted 'store: the store takes no packs: .*tried again'; md5sum -c --quiet sums && echo readable; log | grep -c 'takes no packs'
            berth evict v >/dev/null; \(bench.disk.forget); remount; for i in 1 2 3; do md5sum m/f1 2>&1 >/dev/null | errno; done
            \(errno == .io ? "noted 'store: data cannot be read: inode .*Input'; log | grep -c 'data cannot be read'" : ":")
            \(bench.disk.end); for t in $(seq 40); do berth sync v --wait --timeout 2 >/dev/null 2>&1 && break; done; echo stored
            md5sum -c --quiet sums && echo same; quiet; log | grep -c 'takes packs again'
            """)
        let misses = errno == .io ? "Input/output error\nInput/output error\nInput/output error\n1\n" : ""
        #expect(text == "durable\nwaits\nreadable\n1\n\(misses)stored\nsame\n1", "\(errno): \(text)")
        try bench.conclude()
    }
}
