import FileModel
import Glibc
import LinuxSystem
import SQLiteMetadata
import TestSupport
import Testing
import VFS

@Suite("random operations against the host's file system")
struct RandomTests {
    /// One run: the same operations on both, the same errno each time, the same picture in the end, and a whole volume.
    /// Every second seed has the trash on, which changes nothing that a program sees.
    private func compare(seed: UInt64, operations: Int, reopens: Bool) throws {
        let day: Int64 = 86_400_000_000_000
        let trash = TrashSettings(
            retentionNanoseconds: seed.isMultiple(of: 2) ? day : 0, keepsTruncated: seed.isMultiple(of: 4))
        var generator = SeededGenerator(seed: seed)
        let directory = TemporaryDirectory()
        let host = HostTree(root: "\(directory.path)/host")
        try #require(mkdir(host.root, 0o755) == 0 && mkdir("\(directory.path)/v", 0o700) == 0)
        var volume = try OpenedVolume("\(directory.path)/v", trash: trash)
        var history: [String] = []
        for step in 0..<operations {
            let operation = Operation.random(&generator)
            let expected = host.perform(operation)
            let found = VolumeTree(volume: volume).perform(operation)
            history.append("\(operation) = \(expected)")
            guard found == expected else {
                Issue.record(
                    "seed \(seed), step \(step): \(operation) is \(found), the host says \(expected)\n\(history.suffix(12).joined(separator: "\n"))"
                )
                break
            }
            if reopens && Int.random(in: 0..<25, using: &generator) == 0 {
                try volume.close()
                volume = try OpenedVolume("\(directory.path)/v", epoch: UInt32(step + 2), trash: trash)
            }
        }
        let (ours, theirs) = (try VolumeTree(volume: volume).picture(), try host.picture())
        for path in Set(ours.keys).union(theirs.keys).sorted() where ours[path] != theirs[path] {
            Issue.record(
                "seed \(seed): \(path) is \(ours[path] ?? "missing"), the host has \(theirs[path] ?? "nothing")")
        }
        try volume.close()
        let report = try MetadataChecker.check(path: volume.database)
        #expect(report.problems.count == 0, "seed \(seed): \(report.problems.lines)")
    }

    @Test("500 seeds of 80 operations", arguments: 0..<10)
    func short(group: Int) throws {
        for seed in 0..<50 { try compare(seed: UInt64(group * 50 + seed), operations: 80, reopens: false) }
    }

    @Test("60 seeds of 300 operations, closed and opened on the way", arguments: 0..<4)
    func long(group: Int) throws {
        for seed in 0..<15 { try compare(seed: UInt64(10_000 + group * 15 + seed), operations: 300, reopens: true) }
    }

    @Test("a seed nobody chose")
    func fresh() throws {
        for _ in 0..<10 { try compare(seed: UInt64.random(in: 1_000_000 ... .max), operations: 150, reopens: true) }
    }
}
