import FileModel
import Glibc
import LinuxSystem
import Metadata
import TestSupport
import Testing
import VFS

/// What keeps data beside names: the trash, snapshots, quotas and the collector, together.
@Suite("trash, snapshots and quotas together")
struct KeptDataTests {
    private static let hour: Int64 = 3_600_000_000_000

    private let directory = TemporaryDirectory()
    private let clock = TestClock()
    private let trash = TrashSettings(retentionNanoseconds: hour)

    private func open(epoch: UInt32 = 1) throws -> OpenedVolume {
        try OpenedVolume(directory.path, epoch: epoch, space: .eager, trash: trash, now: clock.now)
    }

    private static func bytes(_ number: Int) -> [UInt8] {
        var generator = SeededGenerator(seed: UInt64(number))
        return (0..<40_000).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }

    private static func restore(
        _ path: [String], to target: [String], replaces: Bool = false, of snapshot: String, _ volume: OpenedVolume
    ) throws {
        let order = SnapshotRestoreOrder(
            source: try path.map { try FileName($0) }, target: try target.map { try FileName($0) },
            replaces: replaces)
        _ = try volume.withSnapshot(snapshot) { view, _ in try volume.fileSystem.restore(order, from: view) }
    }

    private func emptyTrash(_ volume: OpenedVolume) throws {
        var last: UInt64? = 0
        while let after = last {
            last = try volume.fileSystem.emptyTrash(below: [], before: clock.now(), after: after).next
        }
    }

    private func expectContent(_ path: String, _ numbers: Range<Int>, _ volume: OpenedVolume) throws {
        for number in numbers {
            let isSame = try volume.content("\(path)/\(number)") == Self.bytes(number)
            #expect(isSame, "\(path)/\(number)")
        }
    }

    @Test("what was deleted comes back from the trash and from a snapshot, and its room once neither keeps it")
    func lives() throws {
        var volume = try open()
        try volume.directory("d")
        for number in 0..<20 { try volume.file("d/\(number)", Self.bytes(number)) }
        try volume.link("d/0", "other")
        try volume.fileSystem.createSnapshot("full")
        clock.pass(seconds: 10)
        try volume.removeAll("d")
        // A snapshot keeps the trash of its time, too.
        try volume.fileSystem.createSnapshot("trashed")
        #expect(try volume.restore("d").count == 20)
        try expectContent("d", 1..<20, volume)
        clock.pass(seconds: 10)
        try volume.removeAll("d")
        try Self.restore(["d"], to: ["d"], of: "full", volume)
        try expectContent("d", 0..<20, volume)
        // What is replaced goes to the trash, under its own name.
        try volume.truncate("d/5", 0)
        clock.pass(seconds: 10)
        try Self.restore(["d"], to: ["d"], replaces: true, of: "full", volume)
        try expectContent("d", 0..<20, volume)
        let trashed = try volume.trashed()
        #expect(trashed.contains("d/5") && trashed.allSatisfy { !$0.contains(".berth-restore") }, "\(trashed)")
        #expect(try volume.restore("d/5", .latest, .beside).path == Array("d/5.restored".utf8))
        #expect(try volume.content("d/5.restored") == [])
        try emptyTrash(volume)
        #expect(try volume.trashed() == [] && volume.fileSystem.trashUsage().bytes == 0)
        #expect(try volume.fileSystem.collect(dryRun: false).failures == [])
        try expectContent("d", 0..<20, volume)
        try volume.close()
        try VolumeDamage.expectNone(in: directory.path, "with snapshots")

        volume = try open(epoch: 2)
        volume.fileSystem.detach(volume.session)
        try volume.fileSystem.restoreAll(from: "trashed")
        volume.fileSystem.attach(volume.session)
        #expect(try volume.list("").map(\.0) == ["other"] && volume.trashed().contains("d/7"))
        #expect(try volume.restore("d").count == 20)
        try expectContent("d", 1..<20, volume)
        for name in ["full", "trashed"] { try volume.fileSystem.removeSnapshot(name) }
        #expect(volume.packs.flush(seconds: 20) == nil)
        clock.pass(seconds: 10)
        try volume.removeAll("")
        #expect(try volume.fileSystem.collect(dryRun: false).deletedPacks == 0, "the trash keeps its packs")
        try emptyTrash(volume)
        #expect(try volume.fileSystem.collect(dryRun: false).deletedPacks > 0)
        #expect(try volume.fileSystem.usage() == Usage(files: 1, bytes: 0))
        try volume.close()
        try VolumeDamage.expectNone(in: directory.path, "at the end")
    }

    @Test("a restore from a snapshot counts for quotas, and what does not fit leaves nothing")
    func quotas() throws {
        let volume = try open()
        try volume.directory("d")
        try volume.directory("d/e")
        for number in 0..<5 { try volume.file("d/e/\(number)", Self.bytes(number)) }
        try volume.link("d/e/0", "d/0")
        try volume.fileSystem.createSnapshot("s")
        let whole = try volume.fileSystem.usage(below: [try FileName("d")]).usage
        for (limits, fits) in [
            (QuotaLimits(bytes: whole.bytes, inodes: whole.files + 1), true),
            (QuotaLimits(bytes: whole.bytes - 1, inodes: nil), false),
            (QuotaLimits(bytes: nil, inodes: whole.files), false),
        ] {
            let place = try volume.directory("q")
            _ = try volume.fileSystem.setQuota(limits, of: place)
            if fits {
                try Self.restore(["d"], to: ["q", "d"], of: "s", volume)
                try expectContent("q/d/e", 0..<5, volume)
                #expect(
                    try volume.fileSystem.usage(below: [try FileName("q")]).usage
                        == Usage(files: whole.files + 1, bytes: whole.bytes))
            } else {
                #expect(throws: Errno.overQuota) { try Self.restore(["d"], to: ["q", "d"], of: "s", volume) }
                #expect(try volume.list("q").isEmpty && volume.trashed("q").isEmpty)
            }
            try volume.rename("q", fits ? "kept" : "refused-\(limits.bytes == nil ? "inodes" : "bytes")")
        }
        try volume.close()
        try VolumeDamage.expectNone(in: directory.path, "at the end")
    }
}
