import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import TestSupport
import Testing

@testable import Packs

/// What stays, what goes, and what is done where the disk fails.
extension CacheTests {
    private var place: String { "\(directory.path)/c" }

    private func copies() throws -> [UInt32] { try CacheDirectory.copies(in: place).map(\.id.sequence) }

    private func flip(_ number: UInt32, at offset: Int) throws {
        let file = try FileDescriptor.open("\(place)/\(id(number))", O_RDWR)
        var byte: UInt8 = 0
        guard pread(file.rawValue, &byte, 1, off_t(offset)) == 1 else { throw Errno.current }
        byte ^= 0x20
        guard pwrite(file.rawValue, &byte, 1, off_t(offset)) == 1 else { throw Errno.current }
    }

    @Test("the next process drops what the one before used least recently, and reads no data to know it")
    func orderSurvives() throws {
        fill(4)
        var cache = try open()
        for number in 1...4 as ClosedRange<UInt32> { _ = try cache.complete(id(number)) }
        // As if hours had passed: 2 was used first, then 4, 1 and 3; then 2 is used again.
        for (number, hours) in [(2, 9), (4, 8), (1, 7), (3, 6)] {
            try Shell.root.run("touch -d '-\(hours) hours' '\(place)/\(id(UInt32(number)))'")
        }
        cache = try open()
        #expect(try copies() == [2, 4, 1, 3])
        try read(cache, 2, 0, 100)
        #expect(try copies() == [4, 1, 3, 2], "a use renews the file's time")
        try Shell.root.run("touch -d '-1 hours' '\(place)/\(id(2))'")
        cache = try open(limit: 20 << 20)
        #expect(try copies() == [3, 2])
        #expect(cache.total < 20 << 20)
    }

    @Test(
        "what nobody asked for has a bound of its own; what is warmed up or pinned stays beside it, in later processes, too"
    )
    func unasked() throws {
        fill(8)
        var cache = try open()
        cache.limit(to: CacheLimits(bytes: 1 << 30, free: 0, unasked: 20 << 20))
        for number in 1...5 as ClosedRange<UInt32> { _ = try cache.complete(id(number)) }
        #expect(try copies().sorted() == [4, 5])
        cache.ask(for: [id(1), id(2), id(3)])
        try cache.pin([id(6): Self.rawLength])
        for number in [1, 2, 3, 6] as [UInt32] { _ = try cache.complete(id(number)) }
        #expect(try copies().sorted() == [1, 2, 3, 4, 5, 6])
        for number in [7, 8] as [UInt32] { _ = try cache.complete(id(number)) }
        #expect(try copies().sorted() == [1, 2, 3, 6, 7, 8])
        // A miss does not bring the rest of its pack: that would push out others.
        cache.ask(for: [])
        _ = cache.drop(id(4))
        for offset in [0, 4 << 20] { try read(cache, 4, offset, 10) }
        #expect(!cache.isComplete(id(4)))
        cache = try open()
        cache.limit(to: CacheLimits(bytes: 1 << 30, free: 0, unasked: 0))
        #expect(try copies().sorted() == [1, 2, 3, 6])
        _ = cache.unpin(nil)
        cache.limit(to: CacheLimits(bytes: 1 << 30, free: 0, unasked: 0))
        #expect(try copies().sorted() == [1, 2, 3])
        // The bound of all is about them, too.
        cache.limit(to: CacheLimits(bytes: 10 << 20, free: 0, unasked: 0))
        #expect(try copies().count == 1)
        cache.limit(to: CacheLimits(bytes: 1 << 30, free: 0))
        for number in 1...8 as ClosedRange<UInt32> { _ = try cache.complete(id(number)) }
        #expect(try copies().count == 8)
    }

    @Test("pinned packs stay, in later processes, too, and no more can be pinned than the cache holds")
    func pins() throws {
        fill(6)
        var cache = try open(limit: 40 << 20)
        try cache.pin([id(1): Self.rawLength, id(2): Self.rawLength])
        // Two copies of 8 MiB are pinned, and room for a pack of full length must be left: 40 - 16 < 4 * 8.
        #expect(throws: PinRefusal.pastLimit(needed: 32 << 20, limit: 24 << 20)) {
            try cache.pin([id(3): Self.rawLength, id(4): Self.rawLength])
        }
        for number in 1...6 as ClosedRange<UInt32> { _ = try cache.complete(id(number)) }
        #expect(try Set(copies()).isSuperset(of: [1, 2, 6]))
        cache = try open(limit: 40 << 20)
        for number in (3...6 as ClosedRange<UInt32>).reversed() { _ = try cache.complete(id(number)) }
        #expect(try Set(copies()).isSuperset(of: [1, 2, 3]))
        #expect(cache.state().pinnedPacks == 2 && cache.state().pinnedBytes >= 16 << 20)
        // Smaller than what is pinned: that stays, all else goes, and it is said.
        cache.limit(to: CacheLimits(bytes: 10 << 20, free: 0))
        #expect(try copies().sorted() == [1, 2])
        #expect(said.take().contains { $0.contains("unpin some") })
        #expect(cache.unpin([id(1)]) == 1 && cache.unpin([id(1)]) == 0)
        cache = try open(limit: 10 << 20)
        #expect(try copies() == [2])
        #expect(cache.unpin(nil) == 1)
        #expect(try CacheDirectory.pins(in: place).isEmpty)
    }

    @Test("what is to stay free of the disk goes before the cache's own bound, and what cannot come is not pinned")
    func freeSpace() throws {
        fill(3)
        let cache = try open(free: 1 << 60)
        for number in 1...3 as ClosedRange<UInt32> {
            try read(cache, number, 0, Self.rawLength)
            // Asked for after each 16 MiB, and by who tends the cache.
            cache.makeRoom(keeping: nil)
            #expect(try copies().isEmpty)
        }
        #expect(throws: PinRefusal.noRoom(needed: Self.rawLength, free: 0)) { try cache.pin([id(1): Self.rawLength]) }
        #expect(try CacheDirectory.pins(in: place).isEmpty)
    }

    @Test("a byte flipped in a copy under a running cache is never served, whatever the size of the read")
    func flippedLater() throws {
        fill()
        let cache = try open()
        _ = try cache.complete(id(1))
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        var lost = 0
        for _ in 0..<300 {
            let count = [1, 4096, 65_536, 300_000].randomElement(using: &generator) ?? 1
            let offset = Int.random(in: 0...Self.rawLength - count, using: &generator)
            // A page of the very read, or another.
            if Bool.random(using: &generator) {
                try flip(1, at: min(offset + Int.random(in: 0..<count, using: &generator), Self.rawLength - 1))
            }
            try read(cache, 1, offset, count)
            lost += said.take().filter { $0.contains("were damaged") }.count
        }
        #expect(lost > 50)
        // Where the store is away it is an error, and no wrong byte. What was flipped and not read since goes first.
        _ = cache.drop(id(1))
        _ = try cache.complete(id(1))
        try flip(1, at: 3_000_000)
        store.isAway.store(true, ordering: .relaxed)
        #expect(throws: PackReadFailure.self) { try read(cache, 1, 2_900_000, 200_000) }
        try read(cache, 1, 3_200_000, 200_000)
    }

    @Test("a copy that was adopted is proved as well, by tables in its file")
    func adoptedIsProved() throws {
        fill()
        let cache = try open()
        try AtomicFile.replace("\(directory.path)/raw", raw)
        let object = store.inner.objects.withLock { $0[ObjectName(pack: id(1))] ?? [] }
        cache.adopt(
            id(1), rawPath: "\(directory.path)/raw", tail: object.withUnsafeBytes { try? PackIndex.tail(of: $0) })
        store.isAway.store(true, ordering: .relaxed)
        try read(cache, 1, 100, 5000)
        try read(cache, 1, 0, Self.rawLength)
        try flip(1, at: 200_000)
        #expect(throws: PackReadFailure.self) { try read(cache, 1, 190_000, 20_000) }
        store.isAway.store(false, ordering: .relaxed)
        try read(cache, 1, 190_000, 20_000)
    }

    @Test("verify proves what is here, counts what is not, and drops a damaged copy")
    func verify() throws {
        fill(2)
        var cache = try open()
        _ = try cache.complete(id(1))
        try read(cache, 2, 100_000, 100_000)
        for _ in 0..<2 {
            let whole = try cache.verify(id(1))
            #expect(whole.provedFrames == 128 && whole.missingFrames == 0 && whole.badFrames == 0)
            let part = try cache.verify(id(2))
            #expect(part.provedFrames == 3 && part.missingFrames == 125 && part.badFrames == 0)
            cache = try open()
        }
        try flip(1, at: 7_654_321)
        #expect(try cache.verify(id(1)).badFrames == 1)
        #expect(try copies() == [2])
        #expect(said.take().count == 1)
        try read(cache, 1, 7_600_000, 100_000)
    }

    @Test("a directory that is removed under a running cache is made again, and pins stay")
    func removed() throws {
        fill(3)
        let cache = try open()
        try cache.pin([id(1): Self.rawLength])
        _ = try cache.complete(id(1))
        FileTree.remove(place)
        try read(cache, 1, 0, Self.rawLength)
        try read(cache, 2, 0, Self.rawLength)
        #expect(said.take().filter { $0.contains("was removed") }.count == 1)
        #expect(try copies().contains(2))
        #expect(try CacheDirectory.pins(in: place) == [id(1): Self.rawLength])
        // Another directory in its place, which nobody reads from.
        FileTree.remove(place)
        mkdir(place, 0o700)
        #expect(cache.isGone)
        cache.restore()
        #expect(!cache.isGone && cache.total == 0)
        // Where it cannot be made again reads go to the store, and it is said once.
        FileTree.remove(place)
        try AtomicFile.replace(place, [1])
        _ = said.take()
        for offset in stride(from: 0, to: Self.rawLength - 70_000, by: 1_000_003) { try read(cache, 3, offset, 70_000) }
        #expect(said.take().filter { $0.contains("cannot be used") }.count == 1)
    }

    @Test(
        "whatever is read, pinned, dropped, damaged, removed or restarted: right bytes, pins kept, and the bound held")
    func randomOperations() throws {
        fill(8)
        for _ in 0..<6 {
            let seed = UInt64.random(in: .min ... .max)
            print("seed \(seed)")
            var generator = SeededGenerator(seed: seed)
            let limit = Int.random(in: 33...80, using: &generator) << 20
            var cache = try open(limit: limit)
            var pinned: Set<PackID> = []
            var isRemoved = false
            for _ in 0..<150 {
                let number = UInt32.random(in: 1...8, using: &generator)
                switch Int.random(in: 0..<16, using: &generator) {
                case 0..<7:
                    let count = Int.random(in: 1...200_000, using: &generator)
                    try read(cache, number, Int.random(in: 0...Self.rawLength - count, using: &generator), count)
                case 7...9: _ = try cache.complete(id(number))
                case 10: if (try? cache.pin([id(number): Self.rawLength])) != nil { pinned.insert(id(number)) }
                case 11: pinned.subtract(cache.unpin([id(number)]) > 0 ? [id(number)] : [])
                case 12: if !pinned.contains(id(number)) { _ = cache.drop(id(number)) }
                case 13:
                    try? flip(number, at: Int.random(in: 0..<Self.rawLength, using: &generator))
                case 14:
                    let kept = Set(try CacheDirectory.pins(in: place).keys)
                    // A process that ended before it knew of the removal has lost its pins with the directory.
                    #expect(isRemoved ? kept.isSubset(of: pinned) : kept == pinned)
                    (pinned, isRemoved) = (kept, false)
                    cache = try open(limit: limit)
                default:
                    guard Int.random(in: 0..<4, using: &generator) == 0 else { continue }
                    FileTree.remove(place)
                    isRemoved = Bool.random(using: &generator)
                    if !isRemoved { cache.restore() }
                }
                let (total, sum) = cache.monitor.withLock {
                    (cache.total, cache.entries.values.reduce(0) { $0 + $1.bytes })
                }
                #expect(total == sum)
                #expect(total <= limit + PackFormat.maximumRawBytes)
                #expect(cache.state().pinnedPacks == pinned.count)
            }
            for number in 1...8 as ClosedRange<UInt32> where pinned.contains(id(number)) {
                _ = try cache.complete(id(number))
                // What is damaged heals when it is read.
                try read(cache, number, 0, Self.rawLength)
                for number in 1...8 as ClosedRange<UInt32> { _ = try cache.complete(id(number)) }
                #expect(cache.isComplete(id(number)))
            }
            FileTree.remove(place)
        }
    }
}
