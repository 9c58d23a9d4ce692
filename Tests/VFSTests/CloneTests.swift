import FileModel
import Glibc
import LinuxSystem
import Metadata
import ObjectStorage
import SQLiteMetadata
import TestSupport
import Testing
import VFS

@Suite("clones below FUSE")
struct CloneTests {
    /// The clone and its original change, are collected and restarted; neither sees anything of the other.
    private func run(seed: UInt64, fromSnapshot: Bool) throws {
        var generator = SeededGenerator(seed: seed)
        let directory = TemporaryDirectory()
        let history = try HistoryOfVolume("\(directory.path)/v")
        for _ in 0..<80 { _ = history.tree().perform(.random(&generator)) }
        var expected = try history.tree().picture()
        if fromSnapshot {
            try history.snapshot()
            for _ in 0..<40 { _ = history.tree().perform(.random(&generator)) }
        }
        let path = "\(directory.path)/c"
        try #require(mkdir(path, 0o700) == 0)
        let records = try history.volume.fileSystem.prepareClone(
            "c", of: fromSnapshot ? "s1" : nil, at: "\(path)/meta.db", storeSeconds: 20)
        try ClonedDatabase.settle("\(path)/meta.db", packs: records)
        let base = history.volume.packs.epoch
        func open(_ epoch: UInt32) throws -> OpenedVolume {
            try OpenedVolume(path, epoch: epoch, base: "\(history.directory)/store", baseEpoch: base)
        }
        var clone = try open(base + 1)
        #expect(try VolumeTree(volume: clone).picture() == expected, "seed \(seed)")
        for round in 0..<4 {
            for _ in 0..<40 {
                _ = history.tree().perform(.random(&generator))
                _ = VolumeTree(volume: clone).perform(.random(&generator))
            }
            expected = try VolumeTree(volume: clone).picture()
            let original = try history.tree().picture()
            #expect(try history.volume.fileSystem.collect(dryRun: false).failures == [])
            #expect(try clone.fileSystem.collect(dryRun: false).failures == [])
            #expect(clone.packs.flush(seconds: 20) == nil)
            try clone.close()
            try VolumeDamage.expectNone(
                in: path,
                store: LayeredStore(
                    own: try DirectoryStore(root: "\(path)/store"),
                    bases: [.init(store: try DirectoryStore(root: "\(history.directory)/store"), lastEpoch: base)]),
                "seed \(seed), round \(round)")
            FileTree.remove("\(path)/cache")
            clone = try open(base + 2 + UInt32(round))
            #expect(try VolumeTree(volume: clone).picture() == expected, "seed \(seed), round \(round)")
            #expect(try history.tree().picture() == original, "seed \(seed), round \(round)")
        }
        try clone.close()
        // Without the clone and with an empty tree nothing is left in the store.
        try history.volume.fileSystem.releaseClone("c")
        for name in history.snapshots.keys { try history.removeSnapshot(name) }
        try Self.clear(history.tree())
        #expect(history.volume.packs.flush(seconds: 20) == nil)
        #expect(try history.volume.fileSystem.collect(dryRun: false).failures == [])
        #expect(try DirectoryStore(root: "\(history.directory)/store").list() == [], "seed \(seed)")
        try history.volume.close()
    }

    static func clear(_ tree: VolumeTree) throws {
        for path in try tree.picture().keys.sorted(by: { $0.count > $1.count }) {
            if tree.perform(.remove(path)) != 0 { #expect(tree.perform(.removeDirectory(path)) == 0) }
        }
    }

    @Test("a clone and its original live apart, and share packs", arguments: [false, true])
    func apart(fromSnapshot: Bool) throws {
        for seed in UInt64(0)..<15 { try run(seed: seed, fromSnapshot: fromSnapshot) }
    }
}
