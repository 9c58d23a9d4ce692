import CLinux
import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

@Suite("names and directories on a real mount")
struct NameTests {
    @Test("a name is any 255 bytes but slash and NUL, and 256 are too many")
    func bytes() throws {
        let volume = try MountedVolume()
        let any = (1...255).map { UInt8($0) }.filter { $0 != UInt8(ascii: "/") }
        let long = any + [UInt8(ascii: "x")]
        // Two spellings of one letter stay two names.
        let names: [[UInt8]] = [long, Array("e\u{301}".utf8), Array("\u{e9}".utf8), [0xFF], [0xC3, 0x28]]
        for name in names {
            let path = Array("\(volume.path)/".utf8) + name + [0]
            let number = path.withUnsafeBufferPointer { raw in
                raw.withMemoryRebound(to: CChar.self) { name in
                    name.baseAddress.map { Glibc.open($0, O_CREAT | O_EXCL | O_WRONLY, 0o644) } ?? -1
                }
            }
            #expect(number >= 0)
            close(number)
        }
        #expect(
            try volume.site.shell.run(
                "ls -U m | wc -c; berth umount m; berth mount v m; find m -type f -printf x | wc -c"
            ).hasSuffix("\n5"))
        #expect(refused(mkdir("\(volume.path)/" + String(repeating: "n", count: 256), 0o755)) == ENAMETOOLONG)
    }

    @Test("a path may have PATH_MAX bytes")
    func longPath() throws {
        let volume = try MountedVolume()
        try volume.site.shell.run(
            "cd m; for i in $(seq 100); do mkdir $(printf 'd%.0s' {1..250}); cd $(printf 'd%.0s' {1..250}); done; echo deep > f; cat f"
        )
        let depth = (4094 - volume.path.utf8.count) / 251
        let path = volume.path + String(repeating: "/" + String(repeating: "d", count: 250), count: depth)
        #expect(access(path, F_OK) == 0)
        #expect(refused(access(path + "/" + String(repeating: "d", count: 250), F_OK)) == ENAMETOOLONG)
    }

    @Test("rename replaces, keeps with NOREPLACE, and exchanges with EXCHANGE")
    func renames() throws {
        let volume = try MountedVolume()
        try volume.write("a", "a")
        try volume.write("b", "b")
        #expect(mkdir(volume.sub("d"), 0o755) == 0)
        #expect(
            refused(
                berth_renameat2(AT_FDCWD, volume.sub("a"), AT_FDCWD, volume.sub("b"), UInt32(BERTH_RENAME_NOREPLACE)))
                == EEXIST)
        #expect(
            berth_renameat2(AT_FDCWD, volume.sub("a"), AT_FDCWD, volume.sub("d"), UInt32(BERTH_RENAME_EXCHANGE)) == 0)
        #expect(try volume.read("d") == "a")
        #expect(try volume.stat("a").st_mode & S_IFMT == S_IFDIR)
        #expect(rename(volume.sub("b"), volume.sub("d")) == 0)
        #expect(try volume.read("d") == "b")
        #expect(refused(rename(volume.sub("d"), volume.sub("a"))) == EISDIR)
        #expect(refused(rename(volume.sub("a"), volume.sub("a/x"))) == EINVAL)
    }

    @Test("a listing neither repeats nor misses a name while others come and go")
    func listing() throws {
        let volume = try MountedVolume()
        try volume.site.shell.run("cd m; seq -f 'stay%05g' 20000 | xargs touch")
        let directory = try #require(opendir(volume.path))
        defer { closedir(directory) }
        var seen: [String: Int] = [:]
        var count = 0
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
                String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
            }
            seen[name, default: 0] += 1
            count += 1
            if count % 100 == 0 {
                try volume.write("come\(count)", "x")
                unlink(volume.sub("come\(count - 100)"))
            }
        }
        #expect(seen.values.allSatisfy { $0 == 1 })
        #expect(seen.keys.filter { $0.hasPrefix("stay") }.count == 20000)
    }

    @Test("fifos, sockets and devices can be made, and are what they were")
    func nodes() throws {
        let volume = try MountedVolume()
        #expect(mkfifo(volume.sub("fifo"), 0o600) == 0)
        #expect(mknod(volume.sub("socket"), S_IFSOCK | 0o600, 0) == 0)
        #expect(try volume.stat("fifo").st_mode == S_IFIFO | 0o600)
        #expect(try volume.stat("socket").st_mode == S_IFSOCK | 0o600)
        if geteuid() == 0 {
            #expect(
                try volume.site.shell.run(
                    "mknod m/null c 1 3; mknod m/block b 7 0; stat -c '%F %t:%T' m/null m/block; echo x > m/null")
                    == "character special file 1:3\nblock special file 7:0")
        }
        #expect(
            try volume.site.shell.run("cat m/fifo > out & echo through > m/fifo; wait; cat out") == "through")
    }

    @Test("a second mount sees names and data change, and its own cache is told")
    func twoSessions() throws {
        let volume = try MountedVolume()
        try volume.site.shell.run("mkdir m2; berth mount v m2")
        for round in 0..<50 {
            let text = "round \(round)"
            try volume.write("f", text)
            try eventually("the other mount shows \(text)") {
                (try? LinuxSystem.FileDescriptor.open("\(volume.site.directory)/m2/f", O_RDONLY).readAll(limit: 100))
                    == Array(text.utf8)
            }
        }
        try volume.site.shell.run(
            """
            ls m2/gone 2>/dev/null; touch m/gone; for t in $(seq 600); do test -e m2/gone && break; sleep 0.1; done
            rm m2/gone || exit 1; for t in $(seq 600); do test -e m/gone || break; sleep 0.1; done; test ! -e m/gone && berth umount m2
            """
        )
    }

    @Test("a mount that was alone learns that a second one replaced another name of a file")
    func replacedElsewhere() throws {
        let volume = try MountedVolume()
        // Alone, its kernel may keep what it saw for good.
        try volume.site.shell.run(
            "touch m/a m/b; ln m/b m/c; stat m/c >/dev/null; mkdir m2; berth mount v m2; mv m2/a m2/b")
        try eventually("one link is left") { try volume.stat("c").st_nlink == 1 }
        try volume.site.shell.run("berth umount m2")
    }
}
