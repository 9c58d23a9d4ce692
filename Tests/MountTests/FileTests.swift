import CLinux
import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

@Suite("files on a real mount")
struct FileTests {
    @Test("O_TMPFILE makes a file without a name, which link names or close ends")
    func nameless() throws {
        let volume = try MountedVolume()
        let tmpfile: Int32 = 0o20000000 | O_DIRECTORY
        let file = try LinuxSystem.FileDescriptor.open(volume.path, tmpfile | O_RDWR, mode: 0o600)
        try file.write(Array("hidden".utf8))
        var status = stat()
        #expect(fstat(file.rawValue, &status) == 0 && status.st_nlink == 0)
        #expect(try FileTree.names(in: volume.path).isEmpty)
        #expect(linkat(AT_FDCWD, "/proc/self/fd/\(file.rawValue)", AT_FDCWD, volume.sub("named"), 0x400) == 0)
        #expect(try volume.read("named") == "hidden")
        #expect(try volume.stat("named").st_nlink == 1)
    }

    @Test("an unlinked file lives until its last close")
    func unlinked() throws {
        let volume = try MountedVolume()
        try volume.write("f", "content")
        let file = try volume.open("f", O_RDWR)
        #expect(unlink(volume.sub("f")) == 0)
        #expect(try FileTree.names(in: volume.path).isEmpty)
        #expect(try file.readAll(limit: 100) == Array("content".utf8))
        #expect(ftruncate(file.rawValue, 3) == 0)
        var status = stat()
        #expect(fstat(file.rawValue, &status) == 0 && status.st_size == 3 && status.st_nlink == 0)
    }

    @Test("O_APPEND from many writers keeps every record whole")
    func append() throws {
        let volume = try MountedVolume()
        try volume.site.shell.run(
            "cd m; for w in 1 2 3 4; do (for i in $(seq 250); do echo \"writer $w record $i\" >> log; done) & done; wait"
        )
        let lines = try volume.read("log").split(separator: "\n").map(String.init)
        #expect(lines.count == 1000 && Set(lines).count == 1000)
        #expect(lines.allSatisfy { $0.hasPrefix("writer ") })
    }

    @Test("O_APPEND through two sessions loses nothing")
    func appendTwoSessions() throws {
        let volume = try MountedVolume()
        try volume.site.shell.run(
            "mkdir m2; berth mount v m2; for m in m m2; do (for i in $(seq 300); do echo \"$m $i\" >> $m/log; done) & done; wait; sync; sleep 1.2; cat m/log > l1; cat m2/log > l2; cmp l1 l2; berth umount m2"
        )
        #expect(try volume.site.shell.run("sort -u l1 | wc -l") == "600")
    }

    @Test("a shared mapping reaches the file, a private one does not")
    func mapping() throws {
        let volume = try MountedVolume()
        try volume.write("f", String(repeating: "a", count: 8192))
        let file = try volume.open("f", O_RDWR)
        let shared = try #require(mmap(nil, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file.rawValue, 0))
        let own = try #require(mmap(nil, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.rawValue, 0))
        try #require(shared != MAP_FAILED && own != MAP_FAILED)
        shared.storeBytes(of: UInt8(ascii: "b"), toByteOffset: 5000, as: UInt8.self)
        own.storeBytes(of: UInt8(ascii: "c"), toByteOffset: 1, as: UInt8.self)
        #expect(msync(shared, 8192, MS_SYNC) == 0)
        munmap(shared, 8192)
        munmap(own, 8192)
        let text = try volume.read("f")
        #expect(text.filter { $0 == "b" }.count == 1 && !text.contains("c"))
    }

    @Test("holes are holes: SEEK_HOLE, SEEK_DATA, st_blocks, fallocate's four modes")
    func sparse() throws {
        let volume = try MountedVolume()
        let file = try volume.open("f", O_RDWR | O_CREAT)
        let number = file.rawValue
        let mebibyte = 1 << 20
        let block = [UInt8](repeating: 7, count: mebibyte)
        #expect(pwrite(number, block, mebibyte, off_t(4 * mebibyte)) == mebibyte)
        #expect(lseek(number, 0, Int32(BERTH_SEEK_DATA)) == off_t(4 * mebibyte))
        #expect(lseek(number, 0, Int32(BERTH_SEEK_HOLE)) == 0)
        #expect(lseek(number, off_t(4 * mebibyte), Int32(BERTH_SEEK_HOLE)) == off_t(5 * mebibyte))
        #expect(try volume.stat("f").st_blocks == 2048)
        #expect(
            fallocate(
                number, Int32(BERTH_FALLOC_FL_PUNCH_HOLE | BERTH_FALLOC_FL_KEEP_SIZE), off_t(4 * mebibyte),
                off_t(mebibyte / 2)) == 0)
        #expect(try volume.stat("f").st_blocks == 1024)
        var byte: UInt8 = 1
        #expect(pread(number, &byte, 1, off_t(4 * mebibyte)) == 1 && byte == 0)
        #expect(fallocate(number, Int32(BERTH_FALLOC_FL_ZERO_RANGE), off_t(5 * mebibyte - 10), 20) == 0)
        #expect(try volume.stat("f").st_size == 5 * mebibyte + 10)
        #expect(fallocate(number, Int32(BERTH_FALLOC_FL_KEEP_SIZE), 0, off_t(9 * mebibyte)) == 0)
        #expect(try volume.stat("f").st_size == 5 * mebibyte + 10)
        #expect(fallocate(number, 0, 0, off_t(9 * mebibyte)) == 0)
        #expect(try volume.stat("f").st_size == 9 * mebibyte)
    }

    @Test("a sparse file goes past 4 TiB and reads back at both ends")
    func large() throws {
        let volume = try MountedVolume()
        let file = try volume.open("f", O_RDWR | O_CREAT)
        let offset = off_t(5) << 40
        #expect(pwrite(file.rawValue, "end", 3, offset) == 3)
        #expect(pwrite(file.rawValue, "start", 5, 0) == 5)
        #expect(try volume.stat("f").st_size == offset + 3)
        var bytes = [UInt8](repeating: 0, count: 3)
        #expect(pread(file.rawValue, &bytes, 3, offset) == 3 && bytes == Array("end".utf8))
        #expect(ftruncate(file.rawValue, off_t(1) << 62) == 0)
        #expect(try volume.site.shell.run("berth umount m; berth mount v m; stat -c %s m/f") == "\(Int64(1) << 62)")
    }

    @Test("copy_file_range shares data instead of copying it")
    func copyRange() throws {
        let volume = try MountedVolume(options: "-o compression=none")
        try volume.site.shell.run("head -c 20000000 /dev/urandom > m/f")
        try Self.clone(20_000_000, from: try volume.open("f", O_RDONLY), to: try volume.open("g", O_RDWR | O_CREAT))
        #expect(
            try volume.site.shell.run(
                "cmp m/f m/g && berth umount m && berth stop --all --force >/dev/null && du -sm '\(volume.site.home)/.local/share' | cut -f1"
            ).hasPrefix("2"))
        #expect(try volume.site.shell.run("berth volume check v --data").contains("whole"))
    }

    private static func clone(
        _ length: Int, from source: borrowing LinuxSystem.FileDescriptor,
        to target: borrowing LinuxSystem.FileDescriptor
    ) throws {
        var done = 0
        while done < length {
            let count = copy_file_range(source.rawValue, nil, target.rawValue, nil, length - done, 0)
            try #require(count > 0)
            done += count
        }
    }

    @Test("writes past the volume's size are ENOSPC, statfs shows it, and removing makes room")
    func quota() throws {
        let volume = try MountedVolume(options: "-o size=2M -o inodes=5")
        #expect(try volume.site.shell.run("df -k --output=size,iavail m | tail -1 | xargs") == "2048 4")
        let outcome = try volume.site.shell.attempt("head -c 3000000 /dev/zero > m/f")
        #expect(outcome.errors.contains("No space left on device"))
        #expect(try volume.site.shell.run("rm m/f; head -c 1000000 /dev/zero > m/g; stat -c %s m/g") == "1000000")
        #expect(try volume.site.shell.attempt("touch m/1 m/2 m/3 m/4 m/5").errors.contains("No space left on device"))
    }
}
