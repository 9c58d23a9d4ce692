import FileModel
import Glibc
import LinuxSystem
import Metadata
import ObjectStorage
import Packs
import SQLiteMetadata
import TestSupport
import Testing
import VFS

/// A volume with snapshots and clones, and what each of them must look like for good.
final class HistoryOfVolume {
    let directory: String
    private(set) var volume: OpenedVolume
    private var epoch: UInt32 = 1
    /// What the tree looked like when each snapshot was made.
    private(set) var snapshots: [String: Picture] = [:]
    private var lastNumber = 0
    /// What collections did in all.
    private(set) var moved: UInt64 = 0
    private(set) var deleted = 0

    init(_ directory: String) throws {
        self.directory = directory
        try #require(mkdir(directory, 0o700) == 0)
        volume = try OpenedVolume(directory, space: .eager)
    }

    func collect(_ context: String) throws {
        let report = try volume.fileSystem.collect(dryRun: false)
        #expect(report.failures == [], "\(context)")
        moved += report.movedBytes
        deleted += report.deletedPacks
    }

    func reopen() throws {
        try volume.close()
        epoch += 1
        volume = try OpenedVolume(directory, epoch: epoch, space: .eager)
    }

    func tree() -> VolumeTree { VolumeTree(volume: volume) }

    func snapshot() throws {
        lastNumber += 1
        let picture = try tree().picture()
        try volume.fileSystem.createSnapshot("s\(lastNumber)")
        snapshots["s\(lastNumber)"] = picture
    }

    func removeSnapshot(_ name: String) throws {
        try volume.fileSystem.removeSnapshot(name)
        snapshots[name] = nil
    }

    func withSnapshot<Result>(_ name: String, _ body: (FileSystem, Caller) throws -> Result) throws -> Result {
        try volume.withSnapshot(name, body)
    }

    /// Every snapshot still shows what it showed, and no other is there.
    func checkSnapshots(_ context: String) throws {
        #expect(try Set(volume.fileSystem.holds().map(\.name)) == Set(snapshots.keys), "\(context)")
        for (name, expected) in snapshots {
            let found = try withSnapshot(name) { view, caller in try VolumeTree(view, caller).picture() }
            #expect(found == expected, "\(context): snapshot \(name)")
        }
    }

    /// Records and packs are whole, of the volume and of each snapshot.
    func checkOnDisk(_ context: String) throws {
        try volume.close()
        try VolumeDamage.expectNone(in: directory, context)
        epoch += 1
        volume = try OpenedVolume(directory, epoch: epoch, space: .eager)
    }
}

enum VolumeDamage {
    /// As `berth volume check --data` looks for it.
    static func expectNone(in directory: String, store: (any ObjectStore)? = nil, _ context: String) throws {
        let report = try MetadataChecker.check(path: "\(directory)/meta.db", snapshots: "\(directory)/snapshots")
        var problems = report.problems
        let checker = PackChecker(
            store: try store ?? DirectoryStore(root: "\(directory)/store"), stagingDirectory: "\(directory)/staging")
        for pack in report.packs where pack.record.state != .doomed {
            _ = checker.check(pack.record, rawEnd: pack.rawEnd, data: true, &problems)
        }
        #expect(problems.count == 0, "\(context): \(problems.lines)")
    }
}

@Suite("snapshots below FUSE")
struct SnapshotTests {
    /// The same operations on ours and on the host's file system, with snapshots, collections and restarts in between.
    private func run(seed: UInt64, operations: Int) throws -> (moved: UInt64, deleted: Int) {
        var generator = SeededGenerator(seed: seed)
        let directory = TemporaryDirectory()
        let host = HostTree(root: "\(directory.path)/host")
        try #require(mkdir(host.root, 0o755) == 0)
        let history = try HistoryOfVolume("\(directory.path)/v")
        // Something to be moved from the start: most operations of few find nothing there.
        let first = ["a", "b", "c"].flatMap { name in
            [Operation.create(name), .write(name, offset: 0, bytes: [UInt8](repeating: 3, count: 70_000))]
        }
        for step in 0..<operations {
            let context = "seed \(seed), step \(step)"
            let operation = step < first.count ? first[step] : Operation.random(&generator)
            #expect(history.tree().perform(operation) == host.perform(operation), "\(context): \(operation)")
            switch Int.random(in: 0..<60, using: &generator) {
            case 0 where history.snapshots.count < 4: try history.snapshot()
            // As often as they are made, or else they soon hold all there is.
            case 1...2:
                if let name = history.snapshots.keys.sorted().randomElement(using: &generator) {
                    try history.removeSnapshot(name)
                }
            case 3...5: #expect(history.volume.packs.flush(seconds: 20) == nil, "\(context)")
            case 6...8: try history.collect(context)
            case 9: try history.reopen()
            default: continue
            }
            #expect(try history.tree().picture() == host.picture(), "\(context)")
            try history.checkSnapshots(context)
        }
        try history.checkOnDisk("seed \(seed), at the end")
        #expect(try history.tree().picture() == host.picture(), "seed \(seed), at the end")
        try history.checkSnapshots("seed \(seed), at the end")
        try history.volume.close()
        return (history.moved, history.deleted)
    }

    @Test("60 seeds of 150 operations with snapshots, compaction and restarts", arguments: 0..<6)
    func seeds(group: Int) throws {
        var all: (moved: UInt64, deleted: Int) = (0, 0)
        for seed in 0..<10 {
            let done = try run(seed: UInt64(group * 10 + seed), operations: 150)
            all = (all.moved + done.moved, all.deleted + done.deleted)
        }
        #expect(all.moved > 0 && all.deleted > 0, "collections had nothing to do: \(all)")
    }

    @Test("a seed nobody chose, with snapshots")
    func fresh() throws { _ = try run(seed: UInt64.random(in: 1_000_000 ... .max), operations: 300) }

    @Test("a snapshot's name is taken once, and one that is not there is ENOENT")
    func names() throws {
        let directory = TemporaryDirectory()
        let history = try HistoryOfVolume("\(directory.path)/v")
        try history.snapshot()
        #expect(throws: Errno.alreadyExists) { try history.volume.fileSystem.createSnapshot("s1") }
        #expect(throws: Errno.noEntry) { try history.volume.fileSystem.removeSnapshot("s2") }
        #expect(throws: Errno.noEntry) { try history.volume.fileSystem.database(ofSnapshot: "s2") }
        try history.withSnapshot("s1") { view, caller in
            #expect(VolumeTree(view, caller).perform(.create("a")) == EROFS)
        }
        try history.checkSnapshots("after refusals")
        try history.volume.close()
    }

    @Test("a whole volume, and each path of it, comes back from a snapshot without a byte copied")
    func restore() throws {
        for seed in UInt64(500)..<520 {
            var generator = SeededGenerator(seed: seed)
            let directory = TemporaryDirectory()
            let history = try HistoryOfVolume("\(directory.path)/v")
            for _ in 0..<120 { _ = history.tree().perform(.random(&generator)) }
            try history.snapshot()
            let picture = try #require(history.snapshots["s1"])
            for _ in 0..<80 { _ = history.tree().perform(.random(&generator)) }
            _ = history.tree().perform(.makeDirectory("back"))
            let packs = try history.packs()
            for path in picture.keys.filter({ !$0.contains("/") }) {
                let order = SnapshotRestoreOrder(
                    source: [try FileName(path)], target: [try FileName("back"), try FileName(path)], replaces: false)
                let made = try history.withSnapshot("s1") { view, _ in
                    try history.volume.fileSystem.restore(order, from: view)
                }
                #expect(made.files > 0)
                #expect(throws: Errno.alreadyExists) {
                    try history.withSnapshot("s1") { view, _ in
                        try history.volume.fileSystem.restore(order, from: view)
                    }
                }
            }
            #expect(try history.packs() == packs, "seed \(seed): nothing was written")
            let back = try history.tree().picture().filter { $0.key.hasPrefix("back/") }
            // Links to files outside what was restored at once are files of their own.
            for (path, text) in back {
                let original = picture[String(path.dropFirst(5))] ?? "nothing"
                #expect(Self.withoutLinks(text) == Self.withoutLinks(original), "seed \(seed): \(path)")
            }
            #expect(back.count == picture.count, "seed \(seed)")
            history.detach()
            try history.volume.fileSystem.restoreAll(from: "s1")
            history.attach()
            #expect(try history.tree().picture() == picture, "seed \(seed)")
            try history.checkOnDisk("seed \(seed)")
            try history.checkSnapshots("seed \(seed)")
            try history.volume.close()
        }
    }

    /// A picture's line without its count of links.
    private static func withoutLinks(_ line: String) -> String {
        var words = line.split(separator: " ").map(String.init)
        if words.count > 1 { words.remove(at: 1) }
        return words.joined(separator: " ")
    }

    @Test("a restore onto a name that is taken replaces it whole where it is told to")
    func replace() throws {
        let directory = TemporaryDirectory()
        let history = try HistoryOfVolume("\(directory.path)/v")
        for operation in [
            Operation.makeDirectory("d"), .makeDirectory("d/e"), .create("d/e/f"),
            .write("d/e/f", offset: 0, bytes: Array(repeating: 7, count: 9000)), .link("d/e/f", "d/g"),
        ] {
            #expect(history.tree().perform(operation) == 0, "\(operation)")
        }
        let before = try history.tree().picture()
        try history.snapshot()
        for operation in [Operation.remove("d/g"), .create("d/new"), .truncate("d/e/f", size: 3)] {
            #expect(history.tree().perform(operation) == 0, "\(operation)")
        }
        let name = try FileName("d")
        try history.withSnapshot("s1") { view, _ in
            _ = try history.volume.fileSystem.restore(
                SnapshotRestoreOrder(source: [name], target: [name], replaces: true), from: view)
        }
        #expect(try history.tree().picture() == before)
        try history.checkOnDisk("after the restore")
        try history.volume.close()
    }
}

extension HistoryOfVolume {
    /// Raw bytes of every pack.
    func packs() throws -> [PackID: UInt64] {
        #expect(volume.packs.flush(seconds: 20) == nil)
        let records = try volume.metadata.transaction { transaction throws(Errno) in try transaction.packs() }
        return Dictionary(uniqueKeysWithValues: records.map { ($0.id, $0.rawLength) })
    }

    func detach() { volume.fileSystem.detach(volume.session) }
    func attach() { volume.fileSystem.attach(volume.session) }
}

extension OpenedVolume {
    /// Opens a snapshot for as long as `body` runs.
    func withSnapshot<Result>(_ name: String, _ body: (FileSystem, Caller) throws -> Result) throws -> Result {
        let metadata = try SQLiteSnapshot(path: try fileSystem.database(ofSnapshot: name))
        let view = FileSystem(snapshot: metadata, packs: packs, configuration: configuration)
        let session = Session(name: name, identity: .oneToOne, isReadOnly: true, invalidate: { _, _ in })
        view.attach(session)
        defer { try? metadata.close() }
        return try body(view, Caller(session: session, userID: 0, groupID: 0, isSuperuser: true, umask: 0))
    }

    func picture(ofSnapshot name: String) throws -> Picture {
        try withSnapshot(name) { view, caller in try VolumeTree(view, caller).picture() }
    }
}

extension SpacePolicy {
    /// Compacts whatever is not all live, and only when a test asks for it.
    static var eager: SpacePolicy {
        var policy = SpacePolicy()
        policy.isAutomatic = false
        policy.liveShare = 0.99
        policy.storedPerLive = 1
        return policy
    }
}
