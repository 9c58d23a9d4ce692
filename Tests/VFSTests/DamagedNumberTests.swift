import FileModel
import Glibc
import LinuxSystem
import Metadata
import SQLiteMetadata
import TestSupport
import Testing
import VFS

/// A database with a number in it that no volume has, one column at a time: opened, used, checked, mended. A trap names no
/// test, so each wound is printed first.
@Suite("impossible numbers in a database")
struct DamagedNumberTests {
    private let directory = TemporaryDirectory(in: "/dev/shm")
    private var place: String { "\(directory.path)/v" }
    private var database: String { "\(place)/meta.db" }

    private static let numbers = [Int64.min, .min + 1, -1, .max - 1, .max]
    private static let others: [Int64] = [
        -9_223_372_036_000_000_001, -4_294_967_296, 0, 1 << 31, 1 << 32, 1 << 40, 1 << 47, 1 << 61, 1 << 62,
        1 << 62 | 1 << 61,
    ]

    /// A row in every table.
    private func fill() throws {
        mkdir(place, 0o755)
        mkdir("\(directory.path)/source", 0o755)
        try AtomicFile.replace("\(directory.path)/source/object", Array(repeating: 7, count: 5000))
        let volume = try opened(1)
        defer { try? volume.close() }
        for name in ["d", "d/e", "gone"] { try volume.directory(name) }
        for name in ["a", "d/b", "d/e/c", "lost", "gone/x"] { try volume.file(name, Array("what \(name) holds".utf8)) }
        try volume.link("a", "d/second")
        let new = NewInode(kind: .symbolicLink, permissions: 0o777, target: Array("../a".utf8))
        _ = try volume.fileSystem.create(try FileName("link"), in: .root, new, caller: volume.caller)
        try volume.fileSystem.setAttribute(
            Array("user.x".utf8), to: [1], of: try volume.id("a"), mode: .createOrReplace, caller: volume.caller)
        _ = try volume.fileSystem.setQuota(QuotaLimits(bytes: 1 << 30, inodes: 1000), of: try volume.id("d"))
        try importObject(volume)
        for name in ["lost", "gone/x"] { try volume.unlink(name) }
        try volume.rmdir("gone")
        try volume.fileSystem.createSnapshot("s")
        // One that is open still: an orphan.
        _ = try volume.fileSystem.createNameless(in: .root, permissions: 0o600, caller: volume.caller)
    }

    private func importObject(_ volume: OpenedVolume) throws {
        let work = FileImport(into: [], of: volume.fileSystem)
        defer { work.end() }
        let source = try work.source("file://\(directory.path)/source", options: "")
        let object = ForeignObject(
            source: source.id, key: Array("object".utf8), size: 5000, tag: "1", modified: Timestamp(nanoseconds: 5))
        _ = try work.add([
            ImportedEntry(
                path: [try FileName("imported")], content: .data(of: object, at: 0, count: 5000), permissions: 0o644,
                modified: object.modified)
        ])
    }

    private func opened(_ epoch: UInt32, isLimited: Bool = true) throws -> OpenedVolume {
        let day: Int64 = 86_400_000_000_000
        return try OpenedVolume(
            place, epoch: epoch, limits: isLimited ? VolumeLimits(bytes: 1 << 40, inodes: 100_000) : VolumeLimits(),
            trash: TrashSettings(retentionNanoseconds: day, countsInLimits: true, keepsTruncated: true))
    }

    /// Every column of every table that holds a number.
    private func columns() throws -> [(table: String, column: String)] {
        let text = try Shell.root.run(
            "sqlite3 '\(database)' \"SELECT m.name || ' ' || t.name FROM sqlite_schema m, pragma_table_info(m.name) t "
                + "WHERE m.type = 'table' AND t.type = 'INTEGER' AND m.name NOT LIKE 'sqlite%' ORDER BY 1\"")
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ").map(String.init)
            return words.count == 2 ? (words[0], words[1]) : nil
        }
    }

    @Test("whatever number a column has, nothing traps, check finds what no volume has, and repair mends it")
    func everyColumn() throws {
        try fill()
        try Shell.root.run("mv '\(place)' '\(place).whole' && cp -a '\(place).whole' '\(place)'")
        let columns = try columns()
        #expect(columns.count > 50)
        let seed = UInt64.random(in: 0 ... .max)
        print("impossible numbers: seed \(seed)")
        var random = SeededGenerator(seed: seed)
        var wounds = columns.flatMap { table, column in
            // Both ends, and two of the rest.
            ([Int64.min, .max]
                + [Self.numbers.randomElement(using: &random), Self.others.randomElement(using: &random)]
                .compactMap { $0 }).map {
                    "UPDATE OR IGNORE \(table) SET \(column) = \($0 == .min ? "-9223372036854775807 - 1" : "\($0)")"
                }
        }
        for key in ["next_inode", "epoch", "next_foreign", "last_hold", "redo_generation", "generation"] {
            for value in ["-1", "0", "9223372036854775807", "18446744073709551615", "4294967295", "x"] {
                wounds.append("REPLACE INTO setting VALUES ('\(key)', '\(value)')")
            }
        }
        for version in ["-1", "-2147483648", "2147483647"] { wounds.append("PRAGMA user_version = \(version)") }
        var found = 0
        for (number, wound) in wounds.enumerated() {
            print("wound: \(wound)")
            found += try tryOut(wound, UInt32(number + 2))
        }
        // Most of these numbers are damage, whatever the seed.
        #expect(found > wounds.count / 2, "\(found) of \(wounds.count), seed \(seed)")
    }

    /// Answers 1 where the checker found the wound.
    private func tryOut(_ wound: String, _ epoch: UInt32) throws -> Int {
        try hurt(wound)
        if let volume = try? opened(epoch) {
            use(volume)
            try? volume.close()
        }
        // Whatever the volume made of it: the wound as it was.
        try hurt(wound)
        guard !wound.contains("user_version") else {
            #expect((try? MetadataChecker.check(path: database)) == nil, "\(wound)")
            return 1
        }
        let report = try MetadataChecker.check(path: database, snapshots: "\(place)/snapshots")
        guard report.problems.count > 0 else {
            // Nothing is wrong with it: then it must be usable.
            try requireUsable(epoch, wound)
            return 0
        }
        let lines = try MetadataRepairer.repair(path: database, now: .now())
        let left = try MetadataChecker.check(path: database).problems.lines
        #expect(!lines.isEmpty && left.isEmpty, "\(wound): \(left), and before it: \(report.problems.lines)")
        try requireUsable(epoch, wound)
        return 1
    }

    private func hurt(_ wound: String) throws {
        try Shell.root.run(
            "rm -rf '\(place)'; cp -a '\(place).whole' '\(place)' && sqlite3 '\(database)' \"\(wound)\"")
    }

    private func requireUsable(_ epoch: UInt32, _ wound: String) throws {
        do {
            // A setting may say that an epoch was used that no test knows of; no other says so.
            let volume = try opened(epoch, isLimited: false)
            defer { try? volume.close() }
            try walk(volume, "")
            try volume.file("new", [1, 2, 3])
            #expect(try volume.content("new") == [1, 2, 3], "\(wound)")
            #expect(volume.fileSystem.readOnlyReason == nil, "\(wound)")
        } catch {
            Issue.record("\(wound): after it, \(error)")
        }
    }

    private func walk(_ volume: OpenedVolume, _ path: String) throws {
        for (name, inode) in try volume.list(path) where inode.isDirectory {
            try walk(volume, path.isEmpty ? name : "\(path)/\(name)")
        }
    }

    /// Looks at everything, and changes what it can. What is damaged answers errors.
    private func use(_ volume: OpenedVolume) {
        let files = volume.fileSystem
        _ = try? files.statistics()
        _ = try? files.quotas()
        _ = try? files.holds()
        _ = try? volume.trashed()
        _ = files.faults
        var directories = [""]
        while let path = directories.popLast(), path.utf8.count < 100 {
            for (name, inode) in (try? volume.list(path)) ?? [] {
                let inner = path.isEmpty ? name : "\(path)/\(name)"
                if inode.isDirectory { directories.append(inner) }
                use(inode, volume)
            }
        }
        _ = try? files.needed(below: [])
        _ = try? files.needed(below: [try FileName("d")])
        for name in ["new", "d/new"] { _ = try? volume.file(name, [1, 2, 3]) }
        _ = try? volume.directory("d/e/new")
        _ = try? volume.link("d/b", "third")
        _ = try? volume.rename("d/second", "d/e/second")
        _ = try? volume.rename("d/e", "moved")
        _ = try? volume.truncate("a", 0)
        _ = try? volume.unlink("d/b")
        _ = try? volume.unlink("imported")
        _ = try? volume.restore("lost")
        _ = try? volume.restore("gone")
        _ = try? files.createSnapshot("t")
        _ = try? files.collect(dryRun: false)
        files.housekeep()
        try? files.synchronize()
    }

    private func use(_ inode: Inode, _ volume: OpenedVolume) {
        let files = volume.fileSystem
        _ = try? files.attributeNames(of: inode.id)
        _ = try? files.readLink(inode.id)
        var buffer = [UInt8](repeating: 0, count: 1000)
        for offset in [0, inode.size / 2, inode.size.subtractingClamped(1), UInt64(Int64.max - 1)] {
            _ = buffer.withUnsafeMutableBytes {
                try? files.read(inode.id, at: offset, into: $0, session: volume.session)
            }
            _ = try? files.seek(inode.id, from: offset, data: true)
            _ = try? files.seek(inode.id, from: offset, data: false)
        }
        _ = try? volume.write([1, 2, 3], to: inode.id, at: 1)
    }
}
