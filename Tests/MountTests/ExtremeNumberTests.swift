import CLinux
import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// The ends of every number's range, from a program to a living server.
@Suite("extreme numbers on a real mount", .serialized)
struct ExtremeNumberTests {
    private static let seconds: [Int] = [
        .min, .min + 1, -11_644_473_600, -9_223_372_037, -9_223_372_036, -1, 0, 9_223_372_036, 9_223_372_037, .max - 1,
        .max,
    ]
    private static let offsets: [off_t] = [.min, -1, 0, 1, 1 << 31, 1 << 47, 1 << 62, .max - 1, .max]

    @Test("a program that asks with them gets answers, the server stays, and so do listings after a restart")
    func program() throws {
        let volume = try MountedVolume(options: "-o size=1000000T")
        let server = try #require(try volume.site.server(of: "v"))
        try volume.write("f", "content")
        try volume.write("g", "other")
        try times(volume)
        try devices(volume)
        try ranges(volume)
        try attributes(volume)
        #expect(try volume.site.server(of: "v") == server)
        let script = "cd m; ls -la --time-style=full-iso | sort; stat -c '%n %s %t:%T %Y' *"
        let before = try volume.site.shell.run(script)
        #expect(before.contains("1677-09-21 00:12:44") && before.contains("2262-04-11 23:47:16"), "\(before)")
        try volume.site.shell.run(
            "berth umount m; berth stop --all --force >/dev/null; berth volume check v; berth mount v m")
        #expect(try volume.site.shell.run(script) == before)
    }

    private func times(_ volume: MountedVolume) throws {
        for (number, seconds) in Self.seconds.enumerated() {
            for nanoseconds in [0, 999_999_999] {
                let name = "t\(number)-\(nanoseconds)"
                try volume.write(name, "x")
                let time = timespec(tv_sec: seconds, tv_nsec: nanoseconds)
                #expect(utimensat(AT_FDCWD, volume.sub(name), [time, time], 0) == 0, "\(seconds)")
                let shown = try volume.stat(name)
                let wanted = Timestamp(seconds: Int64(seconds), nanoseconds: Int64(nanoseconds))
                #expect(Int64(shown.st_mtim.tv_sec) == wanted.seconds, "\(seconds)")
                #expect(Int64(shown.st_mtim.tv_nsec) == wanted.nanosecondsOfSecond, "\(seconds)")
            }
        }
        // Directories and links, too.
        #expect(mkdir(volume.sub("d"), 0o755) == 0 && symlink("f", volume.sub("l")) == 0)
        let zero = timespec(tv_sec: -11_644_473_600, tv_nsec: 0)
        for name in ["d", "l"] {
            #expect(utimensat(AT_FDCWD, volume.sub(name), [zero, zero], AT_SYMLINK_NOFOLLOW) == 0)
        }
        try volume.write("d/inner", "x")
    }

    private func devices(_ volume: MountedVolume) throws {
        guard geteuid() == 0 else { return }
        for (number, device) in [dev_t(0), 1, 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF, .max].enumerated() {
            _ = mknod(volume.sub("c\(number)"), S_IFCHR | 0o7777, device)
            _ = mknod(volume.sub("b\(number)"), S_IFBLK, device)
            _ = chown(volume.sub("c\(number)"), uid_t.max - 1, gid_t.max - 1)
        }
    }

    private func ranges(_ volume: MountedVolume) throws {
        let one = try volume.open("f", O_RDWR)
        let other = try volume.open("g", O_RDWR)
        var byte: UInt8 = 7
        let modes = [
            0, BERTH_FALLOC_FL_KEEP_SIZE, BERTH_FALLOC_FL_PUNCH_HOLE | BERTH_FALLOC_FL_KEEP_SIZE,
            BERTH_FALLOC_FL_ZERO_RANGE,
        ]
        for start in Self.offsets {
            for length in Self.offsets {
                for mode in modes { _ = fallocate(one.rawValue, Int32(mode), start, length) }
                var (from, to) = (start, length)
                _ = copy_file_range(one.rawValue, &from, other.rawValue, &to, Int.max, 0)
            }
            _ = pread(one.rawValue, &byte, 1, start)
            _ = pwrite(one.rawValue, &byte, 1, start)
            for whence in [SEEK_SET, SEEK_CUR, SEEK_END, Int32(BERTH_SEEK_DATA), Int32(BERTH_SEEK_HOLE)] {
                _ = lseek(one.rawValue, start, whence)
            }
            _ = ftruncate(other.rawValue, start)
            _ = truncate(volume.sub("f"), start)
            _ = posix_fadvise(one.rawValue, start, start, POSIX_FADV_WILLNEED)
            if let directory = opendir(volume.path) {
                seekdir(directory, start)
                _ = readdir(directory)
                closedir(directory)
            }
        }
        #expect(ftruncate(other.rawValue, .max) == 0)
        #expect(try volume.stat("g").st_size == .max)
    }

    private func attributes(_ volume: MountedVolume) throws {
        let value = [UInt8](repeating: 0xFF, count: 70_000)
        for count in [0, 1, 65_535, 65_536, 65_537] {
            for flags in [0, 1, 2, 3, -1, Int32.max] {
                _ = setxattr(volume.sub("f"), "user.n\(count)", value, count, flags)
            }
            var buffer = value
            for room in [0, 1, 65_536] {
                _ = getxattr(volume.sub("f"), "user.n\(count)", &buffer, room)
                _ = listxattr(volume.sub("f"), nil, 0)
            }
        }
        // An access control list of any bytes.
        for count in 0..<60 { _ = setxattr(volume.sub("f"), "system.posix_acl_access", value, count, 0) }
    }
}
