import CLinux
import FileModel
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import LinuxSystem
@testable import ObjectStorage

/// A directory that is imported while whoever writes it swaps its parts for links to elsewhere.
@Suite("directories that are swapped for links")
struct SwappedDirectoryTests {
    private let directory = TemporaryDirectory()
    private var root: String { "\(directory.path)/root" }
    private var outside: String { "\(directory.path)/outside" }

    init() throws {
        try Shell.root.run(
            """
            cd '\(directory.path)'; mkdir -p root/d/e outside/e; for i in 1 2 3; do echo public > root/d/$i; echo public > root/d/e/$i; done
            for i in 1 2 3; do echo secret > outside/e/$i; echo secret > outside/secret$i; done; echo secret > outside/1; ln -s '\(outside)' root/link
            find . -type f -exec touch -d 2001-02-03 {} +
            """)
    }

    /// Swaps `d` and `link` for as long as `body` runs.
    private func swapping(_ body: () throws -> Void) rethrows {
        let swaps = Swaps(root: root)
        let thread = WorkerThread(name: "swap") { swaps.run() }
        defer {
            swaps.isOver.store(true, ordering: .relaxed)
            thread.join()
        }
        try body()
    }

    private final class Swaps: Sendable {
        let isOver = Atomic<Bool>(false)
        private let root: String

        init(root: String) { self.root = root }

        func run() {
            while !isOver.load(ordering: .relaxed) {
                _ = berth_renameat2(
                    AT_FDCWD, root + "/d", AT_FDCWD, root + "/link", UInt32(BERTH_RENAME_EXCHANGE))
            }
        }
    }

    @Test("5000 listings and 5000 reads of a tree whose directory is swapped all the while show nothing from outside")
    func swapped() throws {
        let store = ForeignDirectory(root: root)
        var seen: Set<String> = []
        let inodes = try Set(["d/1", "d/2", "d/3", "d/e/1", "d/e/2", "d/e/3"].map { try inode("\(root)/\($0)") })
        let key = Array("d/1".utf8)
        guard case .object(let size, let tag)? = try store.find(key)?.content else { throw TestFailure("no object") }
        let object = ForeignObject(
            source: 1, key: key, size: size, tag: tag, modified: try #require(try store.find(key)).modified)
        // As a record has it that fits the file outside: the way there is what must be shut.
        var forged = object
        forged.tag = "\(try inode("\(outside)/1")):0"
        var read = (own: 0, forged: 0)
        swapping {
            for _ in 0..<5000 {
                try? store.list(below: []) { page in
                    for entry in page {
                        seen.insert(String(decoding: entry.key, as: UTF8.self))
                        if case .object(_, let tag) = entry.content {
                            let number = UInt64(tag.prefix { $0 != ":" }) ?? 0
                            if !inodes.contains(number) { seen.insert("outside: \(tag)") }
                        }
                    }
                    return true
                }
                var bytes = [UInt8](repeating: 0, count: 7)
                if (try? bytes.withUnsafeMutableBytes { try store.read(object, at: 0, into: $0) }) != nil {
                    #expect(bytes == Array("public\n".utf8))
                    read.own += 1
                }
                if (try? bytes.withUnsafeMutableBytes { try store.read(forged, at: 0, into: $0) }) != nil {
                    read.forged += 1
                }
                if let found = try? store.find(key), case .object(_, let tag) = found.content {
                    #expect(tag == object.tag)
                }
            }
        }
        #expect(read.own > 0 && read.forged == 0, "\(read)")
        #expect(seen.contains("d/e/1"))
        #expect(!seen.contains { $0.contains("secret") || $0.contains("outside") }, "\(seen)")
    }

    @Test("a walk by descriptors, for kernels without openat2, is as closed")
    func walked() throws {
        let top = try FileDescriptor.open(root, O_RDONLY | O_DIRECTORY)
        var count = 0
        try swapping {
            for _ in 0..<20_000 {
                guard let file = try? GuardedOpen.walk(top.rawValue, Array("d/e/1".utf8), O_RDONLY) else { continue }
                let bytes = try file.readAll(limit: 100)
                #expect(bytes == Array("public\n".utf8))
                count += 1
            }
        }
        #expect(count > 0)
    }

    @Test("keys that lead out of the directory are refused")
    func keys() throws {
        let store = ForeignDirectory(root: root)
        for key in ["../outside/1", "d/../../outside/1", "d/../d/1", "link/1", "d//1", "./d/1"] {
            let object = ForeignObject(
                source: 1, key: Array(key.utf8), size: 7, tag: "\(try inode("\(outside)/1"))",
                modified: Timestamp(seconds: 981_158_400, nanoseconds: 0))
            var bytes = [UInt8](repeating: 0, count: 7)
            #expect(throws: ObjectStoreError.self, "\(key)") {
                try bytes.withUnsafeMutableBytes { try store.read(object, at: 0, into: $0) }
            }
            #expect((try? store.find(Array(key.utf8))) ?? nil == nil, "\(key)")
        }
    }

    @Test("a root behind a link of one's own is followed, below it none is")
    func ownLink() throws {
        symlink("root", "\(directory.path)/own")
        let store = ForeignDirectory(root: "\(directory.path)/own")
        var names: [String] = []
        try store.list(below: []) { page in
            names += page.map { String(decoding: $0.key, as: UTF8.self) }
            return true
        }
        #expect(names.contains("d/e/1") && !names.contains { $0.hasPrefix("link/") })
        let entry = try #require(try store.find(Array("d/1".utf8)))
        guard case .object(let size, let tag) = entry.content else { throw TestFailure("no object") }
        let object = ForeignObject(source: 1, key: entry.key, size: size, tag: tag, modified: entry.modified)
        var bytes = [UInt8](repeating: 0, count: 7)
        try bytes.withUnsafeMutableBytes { try store.read(object, at: 0, into: $0) }
        #expect(bytes == Array("public\n".utf8))
    }

    @Test("another user's link on the way to what a person named is not followed")
    func foreignLink() throws {
        let other = try SecondUser()
        try other.shell.run("ln -s \(root) link; mkdir real")
        #expect(throws: Errno(ELOOP)) {
            _ = try GuardedOpen.followingOwnLinks("\(other.directory)/link/d", O_RDONLY | O_DIRECTORY)
        }
        _ = try GuardedOpen.followingOwnLinks("\(other.directory)/real/../real/.", O_RDONLY | O_DIRECTORY)
    }

    @Test(
        "a tag has the device beside the inode; a new mount of the source is the same, older tags are taken as they are"
    )
    func tags() throws {
        var status = stat()
        status.st_ino = 7
        status.st_dev = 0x803
        let own = FileTag(status, below: 0x803)
        #expect(own.description == "7:0" && FileTag("7:0") == own)
        let disk = FileTag(status, below: 0x30)
        #expect(disk.description == "7:803" && FileTag("7:803") == disk)
        status.st_dev = 0x31
        let network = FileTag(status, below: 0x30)
        func fits(_ tag: FileTag, _ inode: UInt64, _ device: UInt64, _ root: UInt64) -> Bool {
            var status = stat()
            status.st_ino = ino_t(inode)
            status.st_dev = dev_t(device)
            return tag.fits(status, below: root)
        }
        #expect(fits(own, 7, 0x803, 0x803) && fits(own, 7, 0x2F, 0x2F))
        #expect(!fits(own, 7, 0x804, 0x803) && !fits(own, 8, 0x803, 0x803))
        #expect(fits(disk, 7, 0x803, 0x2F) && !fits(disk, 7, 0x804, 0x2F) && !fits(disk, 7, 0x2F, 0x2F))
        #expect(fits(network, 7, 0x44, 0x40) && !fits(network, 7, 0x40, 0x40) && !fits(network, 7, 0x803, 0x40))
        let old = try #require(FileTag("7"))
        #expect(fits(old, 7, 1, 2) && !fits(old, 8, 1, 2))
        for text in ["", "x", "7:", "7:0:0", "-7", "7:g"] { #expect(FileTag(text) == nil, "\(text)") }
        let before = ForeignObject(
            source: 1, key: [1], size: 2, tag: "7", modified: Timestamp(seconds: 1, nanoseconds: 0))
        var now = before
        now.tag = "7:0"
        #expect(before.isSame(as: now) && !now.isSame(as: before))
        now.size = 3
        #expect(!before.isSame(as: now))
    }

    private func inode(_ path: String) throws -> UInt64 {
        var status = stat()
        guard lstat(path, &status) == 0 else { throw Errno.current }
        return UInt64(status.st_ino)
    }
}
