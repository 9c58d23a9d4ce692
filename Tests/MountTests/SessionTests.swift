import CLinux
import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// What programs with several handles or several mounts of one volume see of each other.
@Suite("handles and sessions on a real mount")
struct SessionTests {
    @Test("what is written to a new file is at once what every other handle reads and maps")
    func newFile() throws {
        let volume = try MountedVolume()
        let writer = try volume.open("log", O_WRONLY | O_CREAT | O_APPEND)
        let reader = try volume.open("log", O_RDONLY)
        let map = try #require(mmap(nil, 1 << 20, PROT_READ, MAP_SHARED, reader.rawValue, 0))
        try #require(map != MAP_FAILED)
        defer { munmap(map, 1 << 20) }
        // Keeps fetching the page that is being written.
        let other = try Spawn.start(
            Command("/bin/sh", ["-c", "while cat '\(volume.sub("log"))' > /dev/null; do :; done"], environment: [:]))
        defer {
            kill(other, SIGKILL)
            _ = Spawn.wait(for: other)
        }
        var expected: [UInt8] = []
        for step in 0..<3000 {
            let line = Array("line \(step)\n".utf8)
            try #require(Glibc.write(writer.rawValue, line, line.count) == line.count)
            expected += line
            var tail = [UInt8](repeating: 0, count: 4096)
            let start = max(0, expected.count - 4096)
            try #require(pread(reader.rawValue, &tail, 4096, off_t(start)) == expected.count - start)
            #expect(tail.prefix(expected.count - start).elementsEqual(expected[start...]), "step \(step)")
            let mapped = UnsafeRawBufferPointer(start: map + start, count: expected.count - start)
            #expect(mapped.elementsEqual(expected[start...]), "step \(step)")
        }
    }

    @Test("open with O_CREAT through two mounts opens what the other has made meanwhile")
    func createRace() throws {
        let volume = try MountedVolume()
        try volume.site.shell.run(
            """
            mkdir m2; berth mount v m2
            for m in m m2; do (for i in $(seq 2000); do echo $m >> $m/f$i || exit 1; done) & pids="$pids $!"; done
            for p in $pids; do wait $p || exit 1; done
            sleep 1.1; cat m/f* | wc -l > count; cat m2/f* | wc -l >> count; berth umount m2
            """)
        #expect(try volume.site.shell.run("xargs < count") == "4000 4000")
    }

    @Test("two mounts that work in one directory never wait for each other's announcements")
    func noDeadlock() throws {
        let volume = try MountedVolume()
        // Each makes, renames and removes the same names, and lists: the kernel of each holds the directory's lock
        // for a request while the server tells it what the other has changed there.
        let load = """
            i=0; while [ $i -lt 400 ]; do i=$((i+1)); n=$((i % 7))
            : > $1/d/a$n; mv -f $1/d/a$n $1/d/b$n; ls $1/d; rm -f $1/d/b$n; mkdir $1/d/c$n; rmdir $1/d/c$n; done 2>/dev/null >/dev/null; true
            """
        try volume.site.shell.run(
            "mkdir m2 m/d; berth mount v m2; for m in m m2 m m2; do bash -c '\(load)' - $m & done; wait; berth umount m2",
            timeout: .seconds(600))
        #expect(
            try volume.site.shell.run("berth umount m; berth stop --all --force >/dev/null; berth volume check v")
                .contains(
                    "whole"))
    }

    @Test("a second mount sees each change within a second, and nothing older after it")
    func bound() throws {
        let volume = try MountedVolume()
        try volume.site.shell.run(
            """
            mkdir m2; echo 0 > m/f; mkdir m/d; berth mount v m2; cat m2/f > /dev/null; ls m2/d; stat m2/f m2/missing > /dev/null 2>&1
            late=0
            for i in $(seq 200); do
                echo $i > m/f; mv m/d m/e; chmod $((600 + i % 2)) m/f
                sleep 0.0$((i % 10))
                t=0; until [ "$(cat m2/f)" = $i ] && [ -d m2/e ] && [ ! -e m2/d ] && [ "$(stat -c %a m2/f)" = $((600 + i % 2)) ]; do
                    sleep 0.01; t=$((t + 1)); [ $t -gt 90 ] && { echo "change $i came late" >> late; break; }
                done
                for again in 1 2 3; do [ "$(cat m2/f)" = $i ] && [ ! -e m2/d ] || echo "change $i went back" >> late; done
                mv m2/e m2/d; until [ -d m/d ]; do sleep 0.01; done
            done
            berth umount m2
            """)
        #expect(try volume.site.shell.run("cat late 2>/dev/null || true") == "")
    }

    @Test("a server that is told to end while two mounts work in one directory ends")
    func endWhileBusy() throws {
        let volume = try MountedVolume()
        let load = "while :; do for i in 1 2 3 4 5; do : > $1/d/f$i && rm -f $1/d/f$i || exit 0; done; done 2>/dev/null"
        try volume.site.shell.run("mkdir m2 m/d; berth mount v m2")
        guard let server = try volume.site.server(of: "v") else { throw TestFailure("no server") }
        try volume.site.shell.run(
            """
            for m in m m2 m m2 m m2; do timeout -s KILL 40 bash -c '\(load)' - $m & done
            sleep 2; kill -TERM \(server)
            for t in $(seq 600); do kill -0 \(server) 2>/dev/null || break; sleep 0.1; done
            ! kill -0 \(server) 2>/dev/null; status=$?
            berth umount --lazy m; berth umount --lazy m2; wait; exit $status
            """, timeout: .seconds(600))
    }
}
