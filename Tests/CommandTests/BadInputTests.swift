import LinuxSystem
import TestSupport
import Testing

/// Each wrong input gets one line that names the thing and what to do, an exit status of sysexits, and leaves
/// nothing behind.
@Suite("bad input")
struct BadInputTests {
    @Test(
        "volume names that could leave their directory are refused",
        arguments: ["..", ".", "a/b", "../x", "-a", ".a", "a b", "", "ü", String(repeating: "n", count: 65)])
    func names(name: String) throws {
        let site = try UserSite()
        let outcome = try site.shell.attempt("berth volume create -- '\(name)'")
        #expect(outcome.end == .exited(64))
        #expect(outcome.errors.contains("is not allowed"))
        #expect(try site.shell.run("find '\(site.home)' -mindepth 1") == "")
    }

    @Test(
        "options that mean nothing are refused",
        arguments: [
            ("colour=blue", "the options are store="), ("size=many", "is not a size"), ("size=-1", "is not a size"),
            ("size=99999999999T", "too large"), ("inodes=x", "is not a number"), ("compression=lz4", "zstd, none"),
            ("path=data", "absolute path"), ("path=/a/../b", "absolute path"), ("store=/x", "file:///"),
            ("store=file://x", "file:///"), ("size", "the options are store="),
            ("store=file:///no/such/dir", "make the store's directory first"),
        ])
    func options(option: String, says: String) throws {
        let site = try UserSite()
        let outcome = try site.shell.attempt("berth volume create a -o '\(option)'")
        #expect(outcome.end == .exited(64) || outcome.end == .exited(73), "\(outcome.errors)")
        #expect(outcome.errors.contains(says), "\(outcome.errors)")
        #expect(outcome.errors.split(separator: "\n").count == 1)
        #expect(try site.shell.run("berth volume ls --json") == "[\n\n]")
    }

    @Test("the same name with other options is refused and names the difference")
    func otherOptions() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create a -o size=1G")
        let outcome = try site.shell.attempt("berth volume create a -o size=2G")
        #expect(outcome.end == .exited(73))
        #expect(outcome.errors.contains("size is 1073741824, not 2147483648"))
    }

    @Test("a runtime directory longer than a socket's address serves all but podman, and doctor says so")
    func longSocketPath() throws {
        let site = try UserSite()
        let long = "\(site.directory)/" + String(repeating: "long/", count: 20)
        let name = String(repeating: "v", count: 64)
        let text = try site.shell.run(
            """
            set -e; mkdir -m 700 -p '\(long)'; chmod -R go= "${PWD}/long"; export BERTH_RUNTIME_DIR='\(long)'
            berth volume create \(name) >/dev/null; berth mount \(name) m >/dev/null; echo kept > m/f; cat m/f
            berth status | grep -c \(name); berth doctor | grep '^warn  runtime directory'; berth umount m
            berth stop --all >/dev/null
            """)
        #expect(text.hasPrefix("kept\n") && text.contains("podman cannot reach the plugin there"), "\(text)")
        #expect(text.contains("set BERTH_RUNTIME_DIR to a shorter directory"), "\(text)")
    }

    @Test("mount points that are missing, full, taken, no directory or another's are refused")
    func mountpoints() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create a; mkdir full; touch full/x file; mkdir m2; berth mount a m2")
        let cases = [
            ("missing", 66, "mkdir -p"), ("full", 73, "is not empty"), ("file", 64, "is not a directory"),
            ("m2", 73, "has a mount already"), ("/usr", 77, "belongs to uid 0"),
        ]
        for (place, status, says) in cases {
            let outcome = try site.shell.attempt("berth mount a \(place)")
            #expect(outcome.end == .exited(Int32(status)), "\(place): \(outcome.errors)")
            #expect(outcome.errors.contains(says), "\(place): \(outcome.errors)")
        }
        #expect(try site.shell.attempt("berth umount full").end == .exited(64))
        #expect(try site.shell.attempt("berth mount nothing m").errors.contains("berth volume create nothing"))
        try site.shell.run("berth umount m2; test -f full/x")
    }

    @Test("a second server for a volume is refused, also with another runtime directory")
    func secondServer() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create a && berth mount a m && echo x > m/f")
        let same = try site.shell.attempt("berthfs serve a")
        #expect(same.end == .exited(75))
        #expect(same.errors.contains("has a server already"))
        let other = try site.shell.attempt("BERTH_RUNTIME_DIR='\(site.directory)/r2' berthfs serve a")
        #expect(other.end == .exited(75))
        #expect(other.errors.contains("is in use by another process (serving"))
        let repair = try site.shell.attempt("berth volume check a --repair")
        #expect(repair.end == .exited(0) && repair.output.contains("a: whole"), "\(repair)")
        #expect(try site.shell.run("cat m/f; berth umount m") == "x")
    }

    @Test("a corrupt, a foreign and a newer database are refused and left as they are")
    func databases() throws {
        let site = try UserSite()
        let database = "'\(site.home)/.local/share/berth/volumes/a/meta.db'"
        try site.shell.run(
            "berth volume create a && berth mount a m && echo x > m/f && berth umount m && berth stop --all --force && cp \(database) good"
        )
        let cases = [
            ("head -c 100000 /dev/urandom > \(database)", "not a database"),
            ("rm -f \(database)* && sqlite3 \(database) 'CREATE TABLE t(x)'", "another program's database"),
            (
                "rm -f \(database)* && cp good \(database) && sqlite3 \(database) 'PRAGMA user_version=99'",
                "newer than this program"
            ),
        ]
        for (damage, says) in cases {
            try site.shell.run(damage)
            let before = try site.shell.run("md5sum < \(database)")
            let outcome = try site.shell.attempt("berth mount a m")
            #expect(outcome.end == .exited(65), "\(outcome.errors)")
            #expect(outcome.errors.contains(says), "\(outcome.errors)")
            #expect(try site.shell.run("md5sum < \(database)") == before)
            #expect(try site.shell.attempt("mountpoint -q m").end != .exited(0))
        }
        try site.shell.run(
            "rm -f \(database)*; cp good \(database); berth mount a m; test $(cat m/f) = x; berth umount m")
    }

    @Test("a corrupt record names the file and does not hide the other volumes")
    func record() throws {
        let site = try UserSite()
        try site.shell.run(
            "berth volume create a; berth volume create b; echo '{' > '\(site.home)/.local/share/berth/volumes/a/volume.json'"
        )
        let outcome = try site.shell.attempt("berth volume ls")
        #expect(outcome.end == .exited(65))
        #expect(outcome.output.contains("b "))
        #expect(outcome.errors.contains("volumes/a/volume.json: is not a volume's record"))
    }

    @Test("a flipped bit in a pack is EIO for the reader, a line in the log, and found by check --data")
    func flippedBit() throws {
        let site = try UserSite()
        try site.shell.run(
            "berth volume create a && berth mount a m && head -c 3000000 /dev/urandom > m/f && berth umount m && berth stop --all --force"
        )
        #expect(try site.shell.run("berth volume check a --data").contains("a: whole"))
        try site.shell.run(
            "rm -rf '\(site.home)/.cache/berth/a'; p=$(find '\(site.home)/.local/share/berth/volumes/a/store' -type f -size +1M | head -1); chmod u+w $p; dd if=/dev/zero of=$p bs=16 seek=43750 count=1 conv=notrunc 2>/dev/null"
        )
        let check = try site.shell.attempt("berth volume check a --data")
        #expect(check.end == .exited(65))
        #expect(check.output.contains("frame"))
        let outcome = try site.shell.attempt("berth mount a m && cat m/f > /dev/null")
        #expect(outcome.errors.contains("Input/output error"))
        #expect(
            try site.shell.run("cat '\(site.home)/.local/share/berth/logs/a.log'; berth umount m").contains(
                "data cannot be read"))
    }

    @Test("a foreign user is kept out by the directory, and turned away where that was opened")
    func hostileCaller() throws {
        let site = try UserSite()
        try site.shell.run("berth serve --detach")
        var stranger = Shell(user: "nobody", environment: site.shell.environment)
        stranger.directory = "/"
        let curl =
            "curl -sS --max-time 5 --unix-socket '\(site.runtime)/plugin.sock' -d '{}' http://plugin/VolumeDriver.List -w '%{http_code}'"
        #expect(try stranger.attempt(curl).end != .exited(0))
        try site.shell.run("chmod 0711 '\(site.runtime)'; chmod 0666 '\(site.runtime)/plugin.sock'")
        let answer = try stranger.run(curl)
        #expect(answer.hasSuffix("403"))
        #expect(answer.contains("\"Err\""))
    }

    @Test("the plugin answers malformed JSON and a body of 100 MB with an error, and lives on")
    func requests() throws {
        let site = try UserSite()
        try site.shell.run("berth serve --detach")
        let curl = "curl -sS --max-time 30 --unix-socket '\(site.runtime)/plugin.sock' -w ' %{http_code}' http://plugin"
        #expect(try site.shell.run("\(curl)/VolumeDriver.Create -d '{\"Name\"'").hasSuffix(" 400"))
        #expect(try site.shell.run("\(curl)/VolumeDriver.Create -d '{\"Name\": \"../x\"}'").hasSuffix(" 400"))
        let long = try site.shell.run("head -c 100000000 /dev/zero | \(curl)/VolumeDriver.Create --data-binary @-")
        #expect(long.contains("\"Err\"") && long.hasSuffix(" 413"))
        #expect(try site.shell.run("\(curl)/VolumeDriver.List -d ''").hasSuffix(" 200"))
    }

    @Test("the seccomp filter is on in every thread of a server, and a forbidden call ends the process")
    func filter() throws {
        let site = try UserSite()
        let probe = try site.shell.attempt("berthfs filter-probe")
        // bash reports a child killed by SIGSYS (31) as 128 + 31; bash -c may have replaced itself.
        #expect(probe.end == .exited(159) || probe.end == .killed(signal: 31))
        #expect(probe.errors.contains("inside the filter"))
        // A volume in a directory reaches no network; one in a bucket does, and still starts no program.
        let closed = try site.shell.attempt("berthfs filter-probe --socket")
        #expect(closed.end == .exited(159) || closed.end == .killed(signal: 31))
        let open = try site.shell.attempt("berthfs filter-probe --network --socket")
        #expect(open.end == .exited(0) && open.errors.contains("let a socket be made"))
        let program = try site.shell.attempt("berthfs filter-probe --network")
        #expect(program.end == .exited(159) || program.end == .killed(signal: 31))
        try site.shell.run("berth volume create a && berth mount a m")
        guard let server = try site.server(of: "a") else { throw TestFailure("no server") }
        #expect(try site.shell.run("grep -h ^Seccomp: /proc/\(server)/task/*/status | sort -u") == "Seccomp:\t2")
        try site.shell.run("berth umount m")
    }
}
