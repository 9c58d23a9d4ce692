import FileModel
import Glibc
import LinuxSystem
import Metadata
import ObjectStorage
import Packs
import SQLiteMetadata
import Synchronization
import TestSupport
import Testing
import VFS

@Suite("space comes back, below FUSE")
struct CollectionTests {
    private let directory = TemporaryDirectory()
    private var root: String { "\(directory.path)/v" }

    /// Bytes that do not compress, the same for the same number.
    private static func noise(_ number: Int, _ count: Int) -> [UInt8] {
        var generator = SeededGenerator(seed: UInt64(number))
        var bytes: [UInt8] = []
        while bytes.count < count {
            withUnsafeBytes(of: generator.next() as UInt64) { bytes.append(contentsOf: $0) }
        }
        return Array(bytes.prefix(count))
    }

    /// 4 KiB that do not compress, made fast: many thousands of them.
    private static func page(_ number: Int) -> [UInt8] {
        var generator = SeededGenerator(seed: UInt64(number))
        let key = SIMD8<UInt64>(repeating: generator.next())
        return [UInt8](unsafeUninitializedCapacity: base.count) { buffer, count in
            let target = UnsafeMutableRawBufferPointer(buffer)
            base.withUnsafeBytes { raw in
                for offset in stride(from: 0, to: raw.count, by: 64) {
                    let word = raw.loadUnaligned(fromByteOffset: offset, as: SIMD8<UInt64>.self)
                    target.storeBytes(of: word ^ key, toByteOffset: offset, as: SIMD8<UInt64>.self)
                }
            }
            count = base.count
        }
    }

    private static let base = noise(0, 4096)

    private func open(epoch: UInt32 = 1, space: SpacePolicy? = nil) throws -> OpenedVolume {
        mkdir(root, 0o700)
        return try OpenedVolume(root, epoch: epoch, space: space)
    }

    @discardableResult
    private func make(_ name: String, _ bytes: [UInt8], _ volume: OpenedVolume) throws -> InodeID {
        let new = NewInode(kind: .regular, permissions: 0o644)
        let id = try volume.fileSystem.create(try FileName(name), in: .root, new, caller: volume.caller).id
        volume.fileSystem.forget(id, count: 1, session: volume.session)
        _ = try bytes.withUnsafeBytes {
            try volume.fileSystem.write($0, to: id, at: 0, appends: false, caller: volume.caller)
        }
        return id
    }

    private func content(_ id: InodeID, _ count: Int, _ volume: OpenedVolume) throws -> [UInt8] {
        try Self.content(id, count, volume.fileSystem, volume.session)
    }

    private static func content(
        _ id: InodeID, _ count: Int, _ fileSystem: FileSystem, _ session: Session
    ) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let read = try bytes.withUnsafeMutableBytes {
            try fileSystem.read(id, at: 0, into: $0, session: session)
        }
        return Array(bytes[..<read])
    }

    private func stored() throws -> UInt64 {
        try DirectoryStore(root: "\(root)/store").objects().reduce(0) { $0 + $1.size }
    }

    @Test(
        "after 90 % of 100,000 files are deleted, and the trash is emptied, the store holds at most 1.3 times the live bytes",
        arguments: [false, true])
    func ratio(keepsTrash: Bool) throws {
        let count = 100_000
        let directory = 1000
        // Every tenth file, and the first tenth of them: packs that are partly dead, and packs that are wholly so.
        func keeps(_ number: Int) -> Bool { keepsTrash ? number < count / 10 : number % 10 == 0 }
        mkdir(root, 0o700)
        let trash = keepsTrash ? TrashSettings(retentionNanoseconds: 3_600_000_000_000) : .off
        let volume = try OpenedVolume(root, trash: trash)
        for number in 0..<count {
            if number.isMultiple(of: directory) { try volume.directory("d\(number / directory)") }
            try volume.file("d\(number / directory)/f\(number)", Self.page(number))
        }
        #expect(volume.packs.flush(seconds: 60) == nil)
        let full = try stored()
        for number in 0..<count where !keeps(number) { try volume.unlink("d\(number / directory)/f\(number)") }
        let plan = try volume.fileSystem.collect(dryRun: true)
        #expect(plan.packs.contains { $0.action != .keep } != keepsTrash && plan.deletedPacks == 0)
        #expect(try stored() == full, "a dry run changes nothing")
        if keepsTrash {
            #expect(try volume.fileSystem.collect(dryRun: false).deletedPacks == 0, "what is in the trash is kept")
            var last: UInt64? = 0
            var gone = 0
            while let after = last {
                let page = try volume.fileSystem.emptyTrash(below: [], before: .now(), after: after)
                last = page.next
                gone += page.count
            }
            #expect(gone == count / 10 * 9)
        }
        let report = try volume.fileSystem.collect(dryRun: false)
        #expect(report.failures == [])
        let live = count / 10 * 4096
        let left = try stored()
        print("90 % of \(count) files deleted: \(left) bytes stored for \(live) live, \(Double(left) / Double(live))")
        #expect(Double(left) <= 1.3 * Double(live), "\(left) bytes for \(live)")
        FileTree.remove("\(root)/cache")
        for number in stride(from: 0, to: count, by: 10) {
            let number = keepsTrash ? number / 10 : number
            let isSame = try volume.content("d\(number / directory)/f\(number)") == Self.page(number)
            #expect(isSame, "file \(number)")
        }
        try volume.close()
        try VolumeDamage.expectNone(in: root, "after the collection")
    }

    @Test("whatever is written over and deleted, round after round, neither store, staging, cache nor database grow")
    func churn() throws {
        var sizes: [(store: UInt64, staging: UInt64, cache: UInt64, database: UInt64)] = []
        for life in 0..<4 {
            let volume = try open(epoch: UInt32(life + 1))
            for round in life * 4..<life * 4 + 4 { try churn(volume, round) }
            let (store, staging) = (try stored(), Self.size("'\(root)/staging'"))
            try volume.close()
            sizes.append((store, staging, Self.size("'\(root)/cache'"), Self.size("'\(root)'/meta.db*")))
        }
        let (early, late) = (sizes[0], sizes[3])
        let note: Comment = "\(sizes)"
        #expect(Double(late.store) <= 1.3 * 600 * 4096, note)
        #expect(late.staging <= early.staging + 65_536 && late.database <= early.database + 65_536, note)
        // A copy goes with its pack.
        #expect(late.cache <= 2 * 600 * 4096, note)
        try VolumeDamage.expectNone(in: root, "after the churn")
    }

    private func churn(_ volume: OpenedVolume, _ round: Int) throws {
        for number in 0..<600 {
            if round > 0 { try volume.unlink("f\(number)") }
            try volume.file("f\(number)", Self.noise(round * 600 + number, 4096))
        }
        // In place, too.
        for number in 0..<100 {
            try volume.write(Self.noise(number, 2048), to: try volume.id("f\(number)"), at: 1024)
        }
        #expect(volume.packs.flush(seconds: 20) == nil)
        #expect(try volume.fileSystem.collect(dryRun: false).failures == [])
    }

    /// What lies at and below paths takes on the disk.
    private static func size(_ paths: String) -> UInt64 {
        let text = (try? Shell.root.run("du -sc -B1 \(paths) | tail -1 | cut -f1")) ?? ""
        return UInt64(text) ?? .max
    }

    @Test("what is shared stays shared when it moves, though the pack's own table does not name it")
    func shared() throws {
        let volume = try open()
        let bytes = Self.noise(1, 300_000)
        let source = try make("source", bytes, volume)
        for number in 0..<20 { try make("other\(number)", Self.noise(number + 2, 200_000), volume) }
        var clones: [InodeID] = []
        for number in 0..<5 {
            let id = try make("clone\(number)", [1, 2, 3], volume)
            #expect(
                try volume.fileSystem.copyRange(
                    from: source, at: 0, to: id, at: 0, count: 300_000, caller: volume.caller) == 300_000)
            clones.append(id)
        }
        #expect(volume.packs.flush(seconds: 20) == nil)
        for name in ["source"] + (0..<20).map({ "other\($0)" }) {
            try volume.fileSystem.unlink(try FileName(name), in: .root, caller: volume.caller)
        }
        let report = try volume.fileSystem.collect(dryRun: false)
        #expect(report.failures == [] && report.deletedPacks == 1)
        #expect(report.movedBytes == 300_000, "moved once for five files")
        #expect(try stored() < 400_000)
        for id in clones { #expect(try content(id, 400_000, volume) == bytes) }
        try volume.close()
        try VolumeDamage.expectNone(in: root, "after the collection")
    }

    @Test("each pack is explained: live, held, staged, to be compacted, to be deleted")
    func verdicts() throws {
        let volume = try open()
        func pack(_ names: [String], remove: [String]) throws {
            for name in names { try make(name, Self.noise(name.count, 100_000), volume) }
            #expect(volume.packs.flush(seconds: 20) == nil)
            for name in remove { try volume.fileSystem.unlink(try FileName(name), in: .root, caller: volume.caller) }
        }
        try pack(["held"], remove: [])
        try volume.fileSystem.createSnapshot("monday")
        try pack(["a1", "a2", "a3", "a4"], remove: ["a1", "a2", "a3", "held"])
        try pack(["b1", "b2", "b3"], remove: [])
        try pack(["c1"], remove: ["c1"])
        try make("d1", [1], volume)
        let verdicts = try volume.fileSystem.collect(dryRun: true).packs
        #expect(verdicts.map(\.action) == [.keep, .compact, .keep, .delete, .keep])
        #expect(
            verdicts.map(\.reason) == [
                "held by snapshot monday, live 0 %", "live 25 %", "live 100 %", "nothing in it is live",
                "not in the store yet",
            ])
        try volume.fileSystem.removeSnapshot("monday")
        let report = try volume.fileSystem.collect(dryRun: false)
        #expect(report.packs.map(\.action) == [.delete, .compact, .keep, .delete, .keep])
        #expect(report.deletedPacks == 3)
        try volume.close()
    }

    @Test("an object that nothing names goes once it is an hour old; another writer's stays")
    func unnamed() throws {
        let volume = try open(epoch: 3)
        try make("f", Self.noise(1, 1000), volume)
        #expect(volume.packs.flush(seconds: 20) == nil)
        let store = try DirectoryStore(root: "\(root)/store")
        let young = ObjectName(pack: PackID(epoch: 2, sequence: 1))
        let old = ObjectName(pack: PackID(epoch: 2, sequence: 2))
        let foreign = ObjectName(pack: PackID(epoch: 4, sequence: 1))
        let other = try #require(ObjectName("volume.json"))
        for name in [young, old, foreign, other] {
            _ = try [UInt8](repeating: 1, count: 10).withUnsafeBytes { try store.put(name, $0) }
        }
        let directory = "\(root)/store/packs/00000002"
        try Shell.root.run(
            "touch \(directory)/.put-1-a; touch -d '2 hours ago' \(directory)/.put-1-b; cd \(root)/store; touch -d '61 minutes ago' \(old) \(foreign) \(other)"
        )
        #expect(try volume.fileSystem.collect(dryRun: true).unnamed.count == 3)
        #expect(try store.list().count == 5)
        let report = try volume.fileSystem.collect(dryRun: false)
        #expect(report.deletedObjects == 1 && report.leftovers == 1)
        let left = Set(try store.list())
        #expect(left.isSuperset(of: [young, foreign, other]) && !left.contains(old))
        #expect(try FileTree.names(in: directory).contains(".put-1-a"))
        #expect(try !FileTree.names(in: directory).contains(".put-1-b"))
        try volume.close()
    }

    @Test("readers and writers go on while packs are compacted under them")
    func concurrent() throws {
        let volume = try open()
        let count = 2000
        var ids: [InodeID] = []
        for number in 0..<count { ids.append(try make("f\(number)", Self.noise(number, 4096), volume)) }
        #expect(volume.packs.flush(seconds: 20) == nil)
        let isOver = Atomic<Bool>(false)
        let failures = Atomic<Int>(0)
        let reads = Atomic<Int>(0)
        let files = ids
        let (fileSystem, session) = (volume.fileSystem, volume.session)
        let readers = (0..<2).map { seed in
            WorkerThread(name: "reader") {
                var generator = SeededGenerator(seed: UInt64(seed))
                while !isOver.load(ordering: .relaxed) {
                    let number = Int.random(in: 0..<count / 10, using: &generator) * 10
                    let found = try? Self.content(files[number], 4096, fileSystem, session)
                    if found != Self.noise(number, 4096) { failures.add(1, ordering: .relaxed) }
                    reads.add(1, ordering: .relaxed)
                }
            }
        }
        for round in 0..<6 {
            for number in 0..<count where number % 10 != 0 && number % 6 == round {
                try volume.fileSystem.unlink(try FileName("f\(number)"), in: .root, caller: volume.caller)
            }
            // Rewritten where it is, and moved at once.
            for number in 0..<count / 10 {
                _ = try Self.noise(number * 10, 4096).withUnsafeBytes {
                    try volume.fileSystem.write(
                        $0, to: files[number * 10], at: 0, appends: false, caller: volume.caller)
                }
            }
            #expect(try volume.fileSystem.collect(dryRun: false).failures == [])
        }
        isOver.store(true, ordering: .relaxed)
        for reader in readers { reader.join() }
        #expect(failures.load(ordering: .relaxed) == 0 && reads.load(ordering: .relaxed) > 100)
        try volume.close()
        try VolumeDamage.expectNone(in: root, "after the readers")
    }

    @Test("a file that a program holds open is read after it left the trash and all room was given back, then goes")
    func heldOpen() throws {
        let volume = try open()
        let bytes = Self.noise(1, 500_000)
        let id = try volume.file("f", bytes)
        try volume.file("other", Self.noise(2, 100_000))
        _ = try volume.fileSystem.lookup(try FileName("f"), in: .root, session: volume.session)
        #expect(volume.packs.flush(seconds: 20) == nil)
        for name in ["f", "other"] { try volume.unlink(name) }
        for round in 0..<3 {
            let report = try volume.fileSystem.collect(dryRun: false)
            #expect(report.failures == [])
            // From the store: no copy is left.
            FileTree.remove("\(root)/cache")
            #expect(try content(id, 600_000, volume) == bytes, "round \(round)")
        }
        #expect(try stored() > 400_000)
        volume.fileSystem.forget(id, count: 1, session: volume.session)
        #expect(try volume.fileSystem.collect(dryRun: false).failures == [])
        #expect(try stored() == 0)
        try volume.close()
        try VolumeDamage.expectNone(in: root, "after its end")
    }

    @Test("two who give room back at once take turns, and a store that is away is told and tried again")
    func away() throws {
        let volume = try open()
        for number in 0..<200 { try volume.file("f\(number)", Self.page(number)) }
        #expect(volume.packs.flush(seconds: 20) == nil)
        for number in 0..<190 { try volume.unlink("f\(number)") }
        try #require(rename("\(root)/store", "\(root)/away") == 0)
        FileTree.remove("\(root)/cache")
        let failed = try volume.fileSystem.collect(dryRun: false)
        #expect(!failed.failures.isEmpty && failed.deletedPacks == 0)
        FileTree.remove("\(root)/store")
        try #require(rename("\(root)/away", "\(root)/store") == 0)
        let deleted = Atomic<Int>(0)
        let failures = Atomic<Int>(0)
        let fileSystem = volume.fileSystem
        let threads = (0..<3).map { _ in
            WorkerThread(name: "gc") {
                guard let report = try? fileSystem.collect(dryRun: false) else { return }
                deleted.add(report.deletedPacks, ordering: .relaxed)
                failures.add(report.failures.count, ordering: .relaxed)
            }
        }
        for thread in threads { thread.join() }
        #expect(deleted.load(ordering: .relaxed) == 1 && failures.load(ordering: .relaxed) == 0)
        #expect(try stored() < 60_000)
        for number in 190..<200 { #expect(try volume.content("f\(number)") == Self.page(number)) }
        try volume.close()
        try VolumeDamage.expectNone(in: root, "after the store was away")
    }

    @Test("without anybody asking empty packs go, and mostly dead ones are compacted")
    func background() throws {
        let volume = try open(space: SpacePolicy())
        for number in 0..<1000 { try make("f\(number)", Self.noise(number, 4096), volume) }
        #expect(volume.packs.flush(seconds: 20) == nil)
        for number in 0..<1000 where number % 10 != 0 {
            try volume.fileSystem.unlink(try FileName("f\(number)"), in: .root, caller: volume.caller)
        }
        let deadline = Deadline(after: .seconds(60))
        // No change wakes anybody from here on.
        while try stored() > 600_000, !deadline.hasPassed { usleep(200_000) }
        #expect(try stored() < 600_000)
        try volume.close()
        try VolumeDamage.expectNone(in: root, "after the background's work")
    }
}
