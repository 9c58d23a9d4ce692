import FileModel
import Glibc
import LinuxSystem
import Metadata
import SQLiteMetadata
import TestSupport
import Testing
import VFS

/// What was imported, kept by snapshots, clones and the trash, and under quotas.
@Suite("imported files, kept")
struct KeptImportTests {
    private static func bytes(_ number: Int) -> [UInt8] {
        var generator = SeededGenerator(seed: UInt64(number))
        return (0..<30_000).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }

    private func site() throws -> ImportedVolume {
        let site = try ImportedVolume()
        for number in 0..<6 { try site.write("f\(number)", Self.bytes(number)) }
        _ = try site.importAll()
        return site
    }

    private func expectContent(_ site: ImportedVolume, _ volume: OpenedVolume, below place: String = "") throws {
        for number in 0..<6 {
            let isSame = try volume.content("\(place)f\(number)") == Self.bytes(number)
            #expect(isSame, "\(place)f\(number)")
        }
    }

    private func removeFiles(_ volume: OpenedVolume) throws {
        for number in 0..<6 { try volume.unlink("f\(number)") }
    }

    @Test("what no file is of any more comes back from a snapshot, is collected around, and checks as whole")
    func restores() throws {
        let site = try site()
        try site.volume.fileSystem.createSnapshot("s")
        try removeFiles(site.volume)
        #expect(try site.foreignCount() == 0)
        try site.write("g", Self.bytes(9))
        _ = try site.importAll()
        try removeFiles(site.volume)
        try site.reopen(withoutCache: true)
        #expect(try picture(of: "s", site).count == 6)
        _ = try site.volume.directory("back")
        for number in 0..<6 {
            let name = try FileName("f\(number)")
            let order = SnapshotRestoreOrder(source: [name], target: [try FileName("back"), name], replaces: false)
            _ = try site.volume.withSnapshot("s") { view, _ in try site.volume.fileSystem.restore(order, from: view) }
        }
        #expect(try site.foreignCount() == 7)
        #expect(try site.volume.fileSystem.collect(dryRun: false).failures == [])
        try site.reopen(withoutCache: true)
        try expectContent(site, site.volume, below: "back/")
        site.volume.fileSystem.detach(site.volume.session)
        try site.volume.fileSystem.restoreAll(from: "s")
        site.volume.fileSystem.attach(site.volume.session)
        try site.reopen(withoutCache: true)
        try expectContent(site, site.volume)
        _ = try site.importAll()
        #expect(try site.volume.content("g") == Self.bytes(9))
        let directory = site.volume.directory
        try site.volume.close()
        try VolumeDamage.expectNone(in: directory, "after the restores")
    }

    private func picture(of snapshot: String, _ site: ImportedVolume) throws -> [[UInt8]] {
        try site.volume.withSnapshot(snapshot) { view, caller in
            try (0..<6).map { number in
                let inode = try view.find([try FileName("f\(number)")])
                var bytes = [UInt8](repeating: 0, count: Int(inode.size))
                _ = try bytes.withUnsafeMutableBytes {
                    try view.read(inode.id, at: 0, into: $0, session: caller.session)
                }
                let isSame = bytes == Self.bytes(number)
                #expect(isSame)
                return bytes
            }
        }
    }

    @Test("a clone has what its original imported, after that has removed it")
    func clone() throws {
        let site = try site()
        let directory = TemporaryDirectory()
        let records = try site.volume.fileSystem.prepareClone(
            "c", of: nil, at: "\(directory.path)/meta.db", storeSeconds: 20)
        try ClonedDatabase.settle("\(directory.path)/meta.db", packs: records)
        let base = site.volume.packs.epoch
        try removeFiles(site.volume)
        #expect(try site.foreignCount() == 0)
        let clone = try OpenedVolume(
            directory.path, epoch: base + 1, base: "\(site.volume.directory)/store", baseEpoch: base)
        try expectContent(site, clone)
        try clone.write([1, 2, 3], to: try clone.id("f0"), at: 10)
        #expect(try clone.content("f0") == Self.bytes(0)[..<10] + [1, 2, 3] + Self.bytes(0)[13...])
        #expect(try clone.fileSystem.collect(dryRun: false).failures == [])
        try clone.close()
        let report = try MetadataChecker.check(path: "\(directory.path)/meta.db")
        #expect(report.problems.lines == [] && report.foreignObjects.count == 6)
        #expect(try site.check() == [])
        try site.volume.close()
    }

    @Test("an import keeps to quotas, and what does not fit leaves nothing")
    func quotas() throws {
        let site = try ImportedVolume()
        try site.write("f", Self.bytes(1))
        let place = try site.volume.directory("q")
        let work = FileImport(into: [try FileName("q"), try FileName("in")], of: site.volume.fileSystem)
        let source = try work.source("file://\(site.source)", options: "")
        func entry(_ path: [String], _ content: ImportedEntry.Content) throws -> ImportedEntry {
            ImportedEntry(
                path: try path.map { try FileName($0) }, content: content, permissions: 0o644, modified: .now())
        }
        var info = stat()
        try #require(stat("\(site.source)/f", &info) == 0)
        let object = ForeignObject(
            source: source.id, key: Array("f".utf8), size: 30_000, tag: "\(info.st_ino)",
            modified: Timestamp(seconds: Int64(info.st_mtim.tv_sec), nanoseconds: Int64(info.st_mtim.tv_nsec)))
        let entries = [
            try entry(["d", "a"], .data(of: object, at: 0, count: 30_000)),
            try entry(["d", "b"], .data(of: object, at: 0, count: 20_000)),
            try entry(["c"], .hardLink(to: [try FileName("d"), try FileName("a")])),
        ]
        // q, in, d, a and b.
        for limits in [QuotaLimits(bytes: 49_999, inodes: nil), QuotaLimits(bytes: nil, inodes: 4)] {
            _ = try site.volume.fileSystem.setQuota(limits, of: place)
            #expect(throws: Errno.overQuota) { _ = try work.add(entries) }
            #expect(try site.volume.list("q").isEmpty)
        }
        _ = try site.volume.fileSystem.setQuota(QuotaLimits(bytes: 50_000, inodes: 5), of: place)
        #expect(try work.add(entries) == [.made, .made, .made])
        #expect(try work.add(entries) == [.same, .same, .same])
        // A new inode comes in the place of a name that has others: their bytes stay.
        #expect(throws: Errno.overQuota) {
            _ = try work.add([try entry(["d", "a"], .data(of: object, at: 0, count: 29_999))])
        }
        #expect(try site.volume.fileSystem.usage(below: [try FileName("q")]).usage == Usage(files: 5, bytes: 50_000))
        try site.volume.unlink("q/in/d/a")
        // Its other name has it still.
        #expect(try site.volume.content("q/in/c") == Self.bytes(1))
        work.end()
        #expect(try site.check() == [])
        try site.volume.close()
    }
}
