import FileModel
import Glibc
import LinuxSystem
import Metadata
import ObjectStorage
import SQLiteMetadata
import TestSupport
import Testing
import VFS

/// A directory of files that somebody else writes, and a volume that imports them, below FUSE.
final class ImportedVolume {
    private let directory = TemporaryDirectory()
    var source: String { "\(directory.path)/source" }
    var volume: OpenedVolume
    private(set) var epoch: UInt32 = 1

    init() throws {
        mkdir("\(directory.path)/source", 0o755)
        mkdir("\(directory.path)/volume", 0o755)
        volume = try OpenedVolume("\(directory.path)/volume")
    }

    /// Also where a test has failed: its threads must not outlive it.
    deinit { try? volume.close() }

    func reopen(withoutCache: Bool) throws {
        try volume.close()
        if withoutCache { FileTree.remove("\(directory.path)/volume/cache") }
        epoch += 1
        volume = try OpenedVolume("\(directory.path)/volume", epoch: epoch)
    }

    func write(_ name: String, _ bytes: [UInt8]) throws { try AtomicFile.replace("\(source)/\(name)", bytes) }

    /// Imports all of the source's files into the root.
    @discardableResult
    func importAll() throws -> [String: ImportOutcome] {
        let work = FileImport(into: [], of: volume.fileSystem)
        defer { work.end() }
        let source = try work.source("file://\(source)", options: "")
        var outcomes: [String: ImportOutcome] = [:]
        var failure: (any Error)?
        try ForeignDirectory(root: self.source).list(below: []) { page in
            do {
                let entries = try page.compactMap { entry throws(Errno) -> ImportedEntry? in
                    guard case .object(let size, let tag) = entry.content else { return nil }
                    let object = ForeignObject(
                        source: source.id, key: entry.key, size: size, tag: tag, modified: entry.modified)
                    return ImportedEntry(
                        path: [try FileName(entry.key)], content: .data(of: object, at: 0, count: size),
                        permissions: entry.permissions, modified: entry.modified)
                }
                for (entry, outcome) in zip(entries, try work.add(entries)) {
                    outcomes[entry.path[0].description] = outcome
                }
            } catch {
                failure = error
            }
            return failure == nil
        }
        if let failure { throw failure }
        return outcomes
    }

    func inode(_ name: String) throws -> Inode { try volume.fileSystem.find([try FileName(name)]) }

    func read(_ name: String, _ range: Range<Int>) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xEE, count: range.count)
        let id = try inode(name).id
        let count = try bytes.withUnsafeMutableBytes {
            try volume.fileSystem.read(id, at: UInt64(range.lowerBound), into: $0, session: volume.session)
        }
        return Array(bytes[..<count])
    }

    func overwrite(_ name: String, at offset: Int, _ bytes: [UInt8]) throws {
        let id = try inode(name).id
        _ = try bytes.withUnsafeBytes {
            try volume.fileSystem.write($0, to: id, at: UInt64(offset), appends: false, caller: volume.caller)
        }
    }

    func foreignCount() throws -> Int {
        try volume.metadata.commit(prepare: {})
        return try volume.metadata.transaction { transaction throws(Errno) in
            try transaction.foreignObjects(after: nil, limit: 10_000).count
        }
    }

    /// Closes the volume, hurts its database, and verifies its metadata, before and after it was mended.
    func check(wound: String? = nil) throws -> [String] {
        try volume.close()
        defer { try? open() }
        guard let wound else { return try MetadataChecker.check(path: volume.database).problems.lines }
        try Shell.root.run("sqlite3 '\(volume.database)' \"\(wound)\"")
        guard try MetadataChecker.check(path: volume.database).problems.count > 0 else {
            throw TestFailure("\(wound): nothing was found")
        }
        guard try !MetadataRepairer.repair(path: volume.database, now: .now()).isEmpty else {
            throw TestFailure("\(wound): nothing was mended")
        }
        return try MetadataChecker.check(path: volume.database).problems.lines
    }

    private func open() throws {
        epoch += 1
        volume = try OpenedVolume("\(directory.path)/volume", epoch: epoch)
    }
}

@Suite("imported files below FUSE")
struct ImportTests {
    private static func random(_ count: Int, _ random: inout SeededGenerator) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count { withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) } }
        return Array(bytes.prefix(count))
    }

    /// What a file should hold. `base` is what the source held when it was imported.
    private struct Model {
        var bytes: [UInt8]
        /// Nothing but the import has touched it.
        var isPristine: Bool
        /// The source has changed since: bytes may be refused.
        var isStale = false
    }

    @Test("40 seeds of 60 operations: reads are what was imported or written, or refused where the source has changed")
    func seeded() throws {
        for seed in 1...40 as ClosedRange<UInt64> {
            do {
                try run(seed)
            } catch {
                throw TestFailure("seed \(seed): \(error)")
            }
        }
    }

    private func run(_ seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let site = try ImportedVolume()
        var sources: [String: [UInt8]] = [:]
        var models: [String: Model] = [:]
        let names = (0..<4).map { "f\($0)" }
        for step in 0..<60 {
            let name = names[Int.random(in: 0..<names.count, using: &random)]
            switch Int.random(in: 0..<12, using: &random) {
            case 0...1:
                sources[name] = Self.random([0, 10, 140_000, 400_000].randomElement(using: &random) ?? 0, &random)
                // Another time, whatever the clock's steps are.
                try site.write(name, sources[name] ?? [])
                for file in models.keys where file == name || file.hasPrefix("\(name).") {
                    models[file]?.isStale = true
                }
            case 2...3:
                let outcomes = try site.importAll()
                for (name, bytes) in sources {
                    let before = models[name]
                    // An empty file has nothing to lose.
                    if let before, !before.isPristine, !before.bytes.isEmpty {
                        guard case .refused = outcomes[name] else { throw TestFailure("\(step): \(name) was replaced") }
                    } else {
                        models[name] = Model(bytes: bytes, isPristine: true)
                    }
                }
            case 4...7: try read(site, models, name, &random)
            case 8:
                guard var model = models[name] else { continue }
                let offset = Int.random(in: 0...model.bytes.count, using: &random)
                let bytes = Self.random(Int.random(in: 1...50_000, using: &random), &random)
                try site.overwrite(name, at: offset, bytes)
                model.bytes.replaceSubrange(
                    offset..<min(model.bytes.count, offset + bytes.count), with: bytes)
                model.isPristine = false
                models[name] = model
            case 9:
                guard let model = models[name], !model.bytes.isEmpty else { continue }
                var change = AttributeChange()
                let size = Int.random(in: 0..<model.bytes.count, using: &random)
                change.size = UInt64(size)
                _ = try site.volume.fileSystem.setAttributes(
                    of: try site.inode(name).id, change, caller: site.volume.caller)
                models[name]?.bytes = Array(model.bytes[..<size])
                models[name]?.isPristine = false
            case 10:
                try site.reopen(withoutCache: Bool.random(using: &random))
            default:
                guard models.removeValue(forKey: name) != nil else { continue }
                try site.volume.fileSystem.unlink(try FileName(name), in: .root, caller: site.volume.caller)
            }
        }
        for name in models.keys { try read(site, models, name, &random) }
        let problems = try site.check()
        guard problems.isEmpty else { throw TestFailure("\(problems)") }
        for name in models.keys {
            try site.volume.fileSystem.unlink(try FileName(name), in: .root, caller: site.volume.caller)
        }
        let left = try site.foreignCount()
        guard left == 0 else { throw TestFailure("\(left) records stayed") }
        for (name, bytes) in sources {
            guard try AtomicFile.read("\(site.source)/\(name)") ?? [] == bytes else {
                throw TestFailure("a source changed")
            }
        }
    }

    private func read(
        _ site: ImportedVolume, _ models: [String: Model], _ name: String, _ random: inout SeededGenerator
    ) throws {
        guard let model = models[name] else { return }
        let start = Int.random(in: 0...model.bytes.count, using: &random)
        let end = min(model.bytes.count, start + Int.random(in: 1...200_000, using: &random))
        do {
            guard try site.read(name, start..<end) == model.bytes[start..<end].map({ $0 }) else {
                throw TestFailure("\(name) holds other bytes in \(start)..<\(end)")
            }
        } catch let error as Errno {
            guard error == .io, model.isStale else { throw TestFailure("\(name): \(error)") }
        }
    }

    @Test("import again: what is there is the same, what has changed is renewed, what was written to stays")
    func again() throws {
        let site = try ImportedVolume()
        for name in ["a", "b", "c"] { try site.write(name, Array("first \(name)".utf8)) }
        #expect(try site.importAll() == ["a": .made, "b": .made, "c": .made])
        #expect(try site.importAll() == ["a": .same, "b": .same, "c": .same])
        try site.write("b", Array("second b, longer".utf8))
        try site.overwrite("c", at: 0, Array("own".utf8))
        let outcomes = try site.importAll()
        #expect(outcomes["a"] == .same && outcomes["b"] == .renewed)
        #expect(outcomes["c"] == .refused("a file of that name is there, with data of its own"))
        #expect(try site.read("b", 0..<100) == Array("second b, longer".utf8))
        #expect(try site.read("c", 0..<100) == Array("ownst c".utf8))
        #expect(try site.foreignCount() == 3, "the old b's record is gone")
        #expect(try site.check() == [])
    }

    @Test("a changed or vanished object is EIO once the cache has not got it, and a clone keeps its bytes")
    func changed() throws {
        let site = try ImportedVolume()
        let content = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 / 777) }
        try site.write("a", content)
        try site.write("gone", content)
        try site.importAll()
        let new = NewInode(kind: .regular, permissions: 0o644)
        let clone = try site.volume.fileSystem.create(try FileName("clone"), in: .root, new, caller: site.volume.caller)
        let original = try site.inode("a").id
        _ = try site.volume.fileSystem.copyRange(
            from: original, at: 0, to: clone.id, at: 0, count: 3_000_000, caller: site.volume.caller)
        #expect(try site.read("a", 1_000_000..<1_100_000) == Array(content[1_000_000..<1_100_000]))
        #expect(try site.read("clone", 1_000_000..<1_100_000) == Array(content[1_000_000..<1_100_000]))
        // In place: same inode and size, another time.
        try Shell.root.run(
            "printf x | dd of='\(site.source)/a' bs=1 seek=2000000 conv=notrunc status=none; touch '\(site.source)/a'; rm '\(site.source)/gone'"
        )
        try site.reopen(withoutCache: true)
        for name in ["a", "clone", "gone"] {
            #expect(throws: Errno.io) { try site.read(name, 1_000_000..<1_000_010) }
        }
        try site.importAll()
        #expect(try site.read("a", 2_000_000..<2_000_001) == Array("x".utf8))
        #expect(throws: Errno.io) { try site.read("clone", 0..<10) }
        try site.volume.fileSystem.unlink(try FileName("gone"), in: .root, caller: site.volume.caller)
        #expect(try site.check() == [])
    }

    @Test("damage to the records of imported objects is found and mended; what they were called cannot be")
    func repaired() throws {
        for (wound, isLost) in [
            ("UPDATE foreign_object SET live = live + 7", false),
            ("DELETE FROM setting WHERE key = 'next_foreign'", false),
            ("UPDATE foreign_object SET size = 1", false), ("DELETE FROM foreign_object", true),
            ("DELETE FROM source", true),
        ] {
            let site = try ImportedVolume()
            try site.write("a", Array("content".utf8))
            try site.importAll()
            #expect(try site.check(wound: wound) == [], "\(wound)")
            if isLost {
                #expect(throws: Errno.io) { try site.read("a", 0..<7) }
            } else {
                #expect(try site.read("a", 0..<7) == Array("content".utf8))
            }
            try site.write("b", Array("more".utf8))
            #expect(try site.importAll()["b"] == .made)
            #expect(try site.read("b", 0..<4) == Array("more".utf8))
        }
    }

    @Test("parts of a large object can be warmed and evicted, and are proved by the next process")
    func warm() throws {
        let site = try ImportedVolume()
        var random = SeededGenerator(seed: 7)
        // Larger than a pack can be.
        let content = Self.random(20_000_000, &random)
        try site.write("large", content)
        for number in 0..<300 { try site.write("s\(number)", Array(content[number * 1000..<number * 1000 + 900])) }
        try site.importAll()
        let all = try site.volume.fileSystem.needed(below: []).foreign
        #expect(all.count == 302, "two parts of the large one")
        #expect(!all.contains { site.volume.packs.isWarm($0) })
        let fetched = try all.map { try site.volume.packs.warm($0) }.reduce(0, +)
        #expect(fetched == 20_000_000 + 300 * 900)
        #expect(all.allSatisfy { site.volume.packs.isWarm($0) })
        // A hundred small objects are no hundred files.
        let files = try FileTree.names(in: "\(site.volume.directory)/cache")
        #expect(files.count <= 4, "\(files.count)")
        try site.reopen(withoutCache: false)
        FileTree.remove(site.source)
        #expect(all.allSatisfy { site.volume.packs.isWarm($0) })
        #expect(try site.read("large", 16_000_000..<17_000_000) == Array(content[16_000_000..<17_000_000]))
        #expect(try site.read("s299", 0..<900) == Array(content[299_000..<299_900]))
        // A flipped byte is never served: the source is asked, and is gone.
        for file in files {
            try Shell.root.run(
                "f='\(site.volume.directory)/cache/\(file)'; printf 'xyz' | dd of=\"$f\" bs=1 seek=3000000 conv=notrunc status=none"
            )
        }
        try site.reopen(withoutCache: false)
        #expect(!all.allSatisfy { site.volume.packs.isWarm($0) })
        for part in try site.volume.fileSystem.needed(below: [try FileName("large")]).foreign {
            #expect(site.volume.packs.evict(part) > 0)
        }
        #expect(throws: Errno.io) { try site.read("large", 0..<10) }
        #expect(try site.read("s1", 0..<900).count == 900)
        try site.reopen(withoutCache: false)
        #expect(throws: Errno.io) { try site.read("large", 0..<10) }
    }
}
