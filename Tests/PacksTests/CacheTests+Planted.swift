import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

@testable import Packs

/// What another user of the machine can do to a cache.
extension CacheTests {
    private var place: String { "\(directory.path)/c" }

    @Test("what somebody planted in the place of a copy is dropped with one line, never read, and never written to")
    func planted() throws {
        fill(7)
        _ = try open()
        let victim = "\(directory.path)/victim"
        // A whole and valid copy as its content: only who made it tells it from ours.
        let forged = try forgery(of: 1)
        try AtomicFile.replace(victim, forged)
        let kinds: [(UInt32, String, (String) -> Void)] = [
            (1, "is a symbolic link", { symlink(victim, $0) }),
            (2, "has 2 names", { link(victim, $0) }),
            (3, "is no regular file", { mkfifo($0, 0o600) }),
            (4, "is a directory", { mkdir($0, 0o700) }),
            (5, "is open to others (mode 666)", { _ = try? AtomicFile.replace($0, forged, mode: 0o666) }),
        ]
        for (number, _, plant) in kinds { plant("\(place)/\(id(number))") }
        if geteuid() == 0 {
            try AtomicFile.replace("\(place)/\(id(6))", forged)
            chown("\(place)/\(id(6))", 12345, 12345)
        }
        let cache = try open()
        for (number, words, _) in kinds {
            _ = said.take()
            try read(cache, number, 3 << 20, 4096)
            try read(cache, number, 0, 100_000)
            #expect(said.take() == ["pack \(id(number)): its copy \(words); it is dropped, and fetched again"])
        }
        if geteuid() == 0 {
            try read(cache, 6, 0, 100)
            #expect(said.take().first?.contains("its copy belongs to uid 12345") == true)
        }
        #expect(try AtomicFile.read(victim, limit: forged.count) == forged, "nothing was written through it")
        // A pipe in the place of a pack that is not known yet, and of the list of pins, is not waited for either.
        mkfifo("\(place)/\(id(7))", 0o600)
        mkfifo("\(place)/pins", 0o600)
        try read(try open(), 7, 0, 100)
    }

    /// A copy of a pack with other bytes and tables that fit them.
    private func forgery(of number: UInt32) throws -> [UInt8] {
        let other = TemporaryDirectory()
        let cache = try PackCache(
            directory: other.path, limits: CacheLimits(bytes: 1 << 30, free: 0), store: store, report: { _ in })
        let bytes = [UInt8](repeating: 0x66, count: Self.rawLength)
        let object = bytes.withUnsafeBytes { PackEncoder(compression: .none).encode(id(number), $0, runs: []) }
        let raw = "\(other.path)/raw"
        try AtomicFile.replace(raw, bytes)
        cache.adopt(id(number), rawPath: raw, tail: try object.withUnsafeBytes { try PackIndex.tail(of: $0) })
        return try AtomicFile.read("\(other.path)/\(id(number))", limit: 64 << 20) ?? []
    }

    @Test("a cache below a directory that another user can change is not opened", .enabled(if: geteuid() == 0))
    func ancestors() throws {
        for (owner, group, mode) in [(12345, 0, 0o755), (0, 0, 0o777), (0, 54321, 0o770)] as [(uid_t, gid_t, mode_t)] {
            FileTree.remove(place)
            let middle = "\(directory.path)/m"
            FileTree.remove(middle)
            mkdir(middle, 0o700)
            mkdir("\(middle)/c", 0o700)
            symlink("\(middle)/c", place)
            chown(middle, owner, group)
            chmod(middle, mode)
            #expect(throws: Errno.accessDenied, "\(owner) \(group) \(mode)") { try open() }
            unlink(place)
        }
    }

    @Test("a directory that is put in the place of the cache's gets no copy and gives none")
    func swapped() throws {
        fill(3)
        let cache = try open()
        try read(cache, 1, 0, Self.rawLength)
        let theirs = "\(directory.path)/theirs"
        mkdir(theirs, 0o777)
        try AtomicFile.replace("\(theirs)/\(id(2))", try forgery(of: 2))
        let before = try FileTree.names(in: theirs)
        rename(place, "\(directory.path)/moved")
        symlink(theirs, place)
        if geteuid() == 0 { lchown(place, 12345, 12345) }
        try read(cache, 2, 0, Self.rawLength)
        try read(cache, 3, 0, 100)
        if geteuid() == 0 {
            #expect(!cache.isGone, "a name that others can turn says nothing of the directory that is open")
            #expect(throws: (any Error).self, "a link of somebody else's is not followed") { try open() }
            try read(cache, 3, 1 << 20, 100)
            #expect(try FileTree.names(in: "\(directory.path)/moved").contains(id(3).description))
        }
        #expect(try FileTree.names(in: theirs) == before)
    }

    @Test("tables behind a copy that this volume did not seal are not believed: the store is asked")
    func sealed() throws {
        fill(2)
        let (own, other) = (CopySeal.random(), CopySeal.random())
        func open(_ seal: CopySeal) throws -> PackCache {
            try PackCache(
                directory: place, limits: CacheLimits(bytes: 1 << 30, free: 0), store: store, seal: seal,
                report: { _ in })
        }
        _ = try open(own).complete(id(1))
        _ = store.take()
        try read(try open(own), 1, 0, Self.rawLength)
        #expect(store.take() == 0, "what is sealed needs no store")
        // Somebody who could write there made a whole copy of other bytes.
        for (number, text) in [(1, try forgery(of: 1)), (2, try forgery(of: 2))] {
            try AtomicFile.replace("\(place)/\(id(UInt32(number)))", text)
            let cache = try open(own)
            #expect(!cache.isComplete(id(UInt32(number))))
            try read(cache, UInt32(number), 0, Self.rawLength)
        }
        #expect(store.take() > 0)
        // Another volume's copy in the place of ours: the same.
        try read(try open(other), 1, 0, 100)
        #expect(store.take() > 0)
    }

    @Test("a seal is SipHash-2-4 of the bytes under the key, and the key survives being written down")
    func sipHash() throws {
        // The vectors of the paper: key 00 01 … 0f, input 00 01 … of that length.
        let seal = try #require(CopySeal(bytes: Array(0..<16)))
        let vectors: [(Int, UInt64)] = [
            (0, 0x726F_DB47_DD0E_0E31), (1, 0x74F8_39C5_93DC_67FD), (8, 0x93F5_F579_9A93_2462),
            (15, 0xA129_CA61_49BE_45E5),
        ]
        for (length, expected) in vectors {
            #expect((0..<UInt8(length)).map { $0 }.withUnsafeBytes { seal.tag($0) } == expected, "\(length) bytes")
        }
        #expect(CopySeal(bytes: seal.bytes) == seal && CopySeal(bytes: [1]) == nil && CopySeal.random() != seal)
    }
}
