import FileModel
import Glibc
import TestSupport
import Testing

@testable import LinuxSystem

@Suite("Files, directories and sockets")
struct FileTests {
    let directory = TemporaryDirectory()

    private func mode(_ path: String) -> mode_t {
        var status = stat()
        return lstat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
    }

    @Test("a replaced file has the new bytes and mode, and nothing else is left behind")
    func replace() throws {
        let path = directory.path + "/file"
        try AtomicFile.replace(path, Array("one".utf8), mode: 0o644)
        try AtomicFile.replace(path, Array("two".utf8), mode: 0o600)
        #expect(try AtomicFile.read(path) == Array("two".utf8))
        #expect(mode(path) == 0o600)
        #expect(
            try Spawn.run(Command("/bin/ls", [directory.path], environment: [:]), timeout: .seconds(5)).output
                == "file\n")
    }

    @Test("replacing a symbolic link's target keeps the link")
    func replaceThroughLink() throws {
        let (path, link) = (directory.path + "/file", directory.path + "/link")
        try AtomicFile.replace(path, [1])
        symlink(path, link)
        try AtomicFile.replace(link, [2])
        #expect(try AtomicFile.read(path) == [2])
        #expect(readlinkExists(link))
    }

    private func readlinkExists(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
    }

    @Test("a missing file reads as nil and a large one is refused")
    func readLimits() throws {
        #expect(try AtomicFile.read(directory.path + "/none") == nil)
        try AtomicFile.replace(directory.path + "/large", [UInt8](repeating: 0, count: 100))
        #expect(throws: SystemFailure.self) { try AtomicFile.read(directory.path + "/large", limit: 99) }
    }

    @Test("a secure directory is made with its parents, all 0700")
    func secure() throws {
        let path = directory.path + "/a/b/c"
        try SecureDirectory.make(path)
        #expect(mode(path) == 0o700)
        #expect(mode(directory.path + "/a") == 0o700)
    }

    @Test("a directory of ours that is open to others is closed")
    func tighten() throws {
        let path = directory.path + "/open"
        mkdir(path, 0o777)
        try SecureDirectory.make(path)
        #expect(mode(path) == 0o700)
    }

    @Test("a directory and a link of another user are refused with the owner's name", .enabled(if: geteuid() == 0))
    func planted() {
        let path = directory.path + "/planted"
        mkdir(path, 0o777)
        chown(path, 1, 1)
        let failure = #expect(throws: SystemFailure.self) { try SecureDirectory.make(path) }
        #expect(failure?.message.contains("(uid 1)") == true)
        let link = directory.path + "/link"
        symlink("/tmp", link)
        lchown(link, 1, 1)
        #expect(throws: SystemFailure.self) { try SecureDirectory.make(link) }
    }

    /// A socket is 0600, tells its peer, and replaces a dead one but never a live one.
    private func expectSocket(at path: String) throws {
        do {
            let listener = try UnixSocket.listen(at: path)
            #expect(mode(path) == 0o600)
            let client = try UnixSocket.connect(to: path, timeout: .seconds(1))
            let accepted = try UnixSocket.accept(on: listener, timeout: .seconds(1))
            if accepted == nil { Issue.record("nobody connected") }
            #expect(try UnixSocket.peer(of: client).processID == getpid())
            let failure = #expect(throws: SystemFailure.self) { _ = try UnixSocket.listen(at: path) }
            #expect(failure?.errno == Errno(EADDRINUSE))
        }
        let failure = #expect(throws: SystemFailure.self) { _ = try UnixSocket.connect(to: path, timeout: .seconds(1)) }
        #expect(failure?.errno == Errno(ECONNREFUSED))
        _ = try UnixSocket.listen(at: path)
    }

    @Test("a socket is 0600, tells its peer, and replaces a dead one but never a live one")
    func sockets() throws {
        try expectSocket(at: directory.path + "/s/x.sock")
    }

    @Test("a path is as long as a file's may be; only a name of more bytes than an address has is refused")
    func longSocket() throws {
        let home = directory.path + "/" + String(repeating: "h", count: 200)
        let deep = "\(home)/\(String(repeating: "d", count: 255))"
        for path in ["\(deep)/\(String(repeating: "v", count: 64)).inner", "\(home)/s"] {
            try expectSocket(at: path)
            unlink(path)
            _ = try UnixSocket.listenAgain(at: path)
        }
        let missing = #expect(throws: SystemFailure.self) {
            _ = try UnixSocket.connect(to: "\(home)/none/s", timeout: .seconds(1))
        }
        #expect(missing?.errno == .noEntry)
        let name = "\(home)/\(String(repeating: "x", count: 120))"
        let failure = #expect(throws: SystemFailure.self) { _ = try UnixSocket.listen(at: name) }
        #expect(failure?.status == .configuration && failure?.message.contains("shorter name") == true)
    }

    @Test("a socket never replaces a file that is not one")
    func notASocket() throws {
        let path = directory.path + "/file"
        try AtomicFile.replace(path, [1])
        #expect(throws: SystemFailure.self) { _ = try UnixSocket.listen(at: path) }
        #expect(try AtomicFile.read(path) == [1])
    }
}

@Suite("what disks say of their room")
struct DiskRoomTests {
    @Test("a file system that says more than any disk has is taken for the largest")
    func extremes() {
        for unit in [UInt64(0), 1, 4096, .max] {
            for blocks in [UInt64(0), 1, 1 << 40, 1 << 52, .max] {
                let room = DiskRoom(unit: unit, blocks: blocks, available: blocks)
                #expect(room.total == room.free && room.total <= UInt64(Int64.max))
                #expect(room.total == UInt64(clamping: min(UInt128(unit) * UInt128(blocks), UInt128(Int64.max))))
            }
        }
        #expect(DiskRoom(of: "/").map { $0.total >= $0.free && $0.total > 0 } == true)
        #expect(DiskRoom(of: "/nothing/of/the/kind") == nil)
        for seconds in [0, 1e-9, 1e10, 1e18, 1e300, .infinity, .nan] {
            #expect(Deadline(afterSeconds: seconds).remainingMilliseconds >= -1)
        }
        #expect(Deadline(after: .seconds(Int64.max)).remainingMilliseconds == .max)
    }
}
