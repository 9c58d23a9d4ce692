import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import SQLiteMetadata
import TestSupport
import Testing
import VFS

/// Each kind of structure is broken with SQLite's own shell, found by the checker, and mended.
@Suite("repair")
struct RepairTests {
    private let directory = TemporaryDirectory()
    private var database: String { "\(directory.path)/meta.db" }

    private func fill() throws {
        let volume = try OpenedVolume(directory.path)
        defer { try? volume.close() }
        let files = volume.fileSystem
        func make(_ name: String, in parent: InodeID, _ kind: FileKind = .regular, target: String = "") throws
            -> InodeID
        {
            try files.create(
                try FileName(name), in: parent,
                NewInode(kind: kind, permissions: 0o755, target: Array(target.utf8)), caller: volume.caller
            ).id
        }
        let outer = try make("outer", in: .root, .directory)
        let inner = try make("inner", in: outer, .directory)
        for (parent, name) in [(InodeID.root, "a"), (outer, "b"), (inner, "c"), (inner, "d")] {
            let id = try make(name, in: parent)
            let bytes = Array("what \(name) holds".utf8)
            _ = try bytes.withUnsafeBytes {
                try files.write($0, to: id, at: 0, appends: false, caller: volume.caller)
            }
            try files.setAttribute(Array("user.x".utf8), to: [1], of: id, mode: .createOrReplace, caller: volume.caller)
        }
        _ = try make("link", in: inner, .symbolicLink, target: "../b")
    }

    /// What is broken, the SQL that breaks it, and the paths that must be there after the repair.
    private static let wounds: [(name: String, sql: String, paths: [String])] = [
        ("root", "DELETE FROM inode WHERE id = 1", ["a", "outer/inner/c"]),
        (
            "a directory's record",
            "DELETE FROM inode WHERE id = (SELECT inode FROM entry WHERE name = CAST('outer' AS BLOB))", ["a"]
        ),
        (
            "a file's record", "DELETE FROM inode WHERE id = (SELECT inode FROM entry WHERE name = CAST('b' AS BLOB))",
            ["a", "outer/inner/c"]
        ),
        ("a file's name", "DELETE FROM entry WHERE name = CAST('c' AS BLOB)", ["a", "outer/inner/d"]),
        ("a directory's name", "DELETE FROM entry WHERE name = CAST('inner' AS BLOB)", ["a", "outer/b"]),
        (
            "a ring of directories",
            "UPDATE entry SET parent = (SELECT inode FROM entry WHERE name = CAST('inner' AS BLOB)) WHERE name = CAST('outer' AS BLOB)",
            ["a"]
        ),
        (
            "a directory's second name",
            "INSERT INTO entry SELECT 1, CAST('again' AS BLOB), inode FROM entry WHERE name = CAST('inner' AS BLOB)",
            ["outer/inner/c"]
        ),
        (
            "a parent",
            "UPDATE inode SET parent = 1 WHERE id = (SELECT inode FROM entry WHERE name = CAST('inner' AS BLOB))",
            ["outer/inner/c"]
        ),
        ("link counts", "UPDATE inode SET nlink = nlink + 3", ["a", "outer/inner/c", "outer/inner/link"]),
        ("an orphan's mark", "INSERT INTO orphan SELECT inode FROM entry WHERE name = CAST('a' AS BLOB)", ["a"]),
        (
            "an orphan without a mark",
            "DELETE FROM entry WHERE name = CAST('a' AS BLOB); UPDATE inode SET nlink = 0 WHERE id NOT IN (SELECT inode FROM entry) AND id <> 1",
            ["outer/b"]
        ),
        ("a group whose name is lost", "UPDATE inode SET gid = \(NamedAccount.firstID + 7)", ["a", "outer/b"]),
        ("names that are none", "INSERT INTO account VALUES (5, 1, 'x'), (\(NamedAccount.firstID), 9, '')", ["a"]),
        ("sizes", "UPDATE inode SET size = 1, allocated = NULL WHERE mode & 61440 = 32768", ["a"]),
        ("counts of bytes", "UPDATE inode SET allocated = 5 WHERE mode & 61440 = 32768", ["a"]),
        (
            "overlaps",
            "INSERT INTO extent SELECT inode, offset + 1, length, pack, start FROM extent WHERE inode = (SELECT inode FROM entry WHERE name = CAST('a' AS BLOB))",
            ["a"]
        ),
        ("extents of nothing", "INSERT INTO extent SELECT 999, offset, length, pack, start FROM extent LIMIT 1", ["a"]),
        ("live bytes", "UPDATE pack SET live = live + 7", ["a"]),
        ("pack records", "DELETE FROM pack", ["a"]),
        ("attributes of nothing", "UPDATE xattr SET inode = inode + 900", ["a"]),
        ("link targets", "UPDATE symlink SET target = CAST('longer than it was' AS BLOB)", ["outer/inner/link"]),
        ("a lost link target", "DELETE FROM symlink", ["outer/inner/c"]),
        ("counters", "UPDATE quota SET used = used + 11", ["a"]),
        ("missing counters", "DELETE FROM quota", ["a"]),
        ("the next inode", "UPDATE setting SET value = '2' WHERE key = 'next_inode'", ["a"]),
    ]

    @Test("every kind of damage is found, mended so that nothing is found any more, and costs only what it took")
    func wounds() throws {
        try fill()
        let whole = try #require(try AtomicFile.read(database))
        for wound in Self.wounds {
            try AtomicFile.replace(database, whole)
            _ = try Shell.root.run("sqlite3 '\(database)' \"\(wound.sql)\"")
            let found = try? MetadataChecker.check(path: database)
            #expect(found.map { $0.problems.count > 0 } ?? true, "\(wound.name) was not found")
            let lines = try MetadataRepairer.repair(path: database, now: .now())
            #expect(!lines.isEmpty, "\(wound.name)")
            #expect(try MetadataChecker.check(path: database).problems.lines == [], "\(wound.name)")
            let volume = try OpenedVolume(directory.path, epoch: 7)
            for path in wound.paths { #expect(try Self.exists(path, volume), "\(wound.name): \(path)") }
            // Nothing that has data goes without a trace: four files, here or in lost+found.
            if !wound.name.hasSuffix("record") {
                #expect(try volume.fileSystem.usage().bytes >= 45, "\(wound.name)")
            }
            try volume.close()
        }
    }

    @Test("holds that disagree with packs are mended, and what was to be deleted and is needed is kept")
    func holds() throws {
        try fill()
        let volume = try OpenedVolume(directory.path, epoch: 2)
        try volume.fileSystem.createSnapshot("s")
        try volume.close()
        let whole = try #require(try AtomicFile.read(database))
        for wound in [
            "DELETE FROM hold", "INSERT INTO held VALUES (77, 1)", "UPDATE pack SET state = 2", "DELETE FROM pack",
            "INSERT INTO held SELECT id, 77 FROM hold",
        ] {
            try AtomicFile.replace(database, whole)
            _ = try Shell.root.run("sqlite3 '\(database)' \"\(wound)\"")
            #expect(try MetadataChecker.check(path: database).problems.count > 0, "\(wound)")
            #expect(try !MetadataRepairer.repair(path: database, now: .now()).isEmpty, "\(wound)")
            #expect(try MetadataChecker.check(path: database).problems.lines == [], "\(wound)")
        }
    }

    private static func exists(_ path: String, _ volume: OpenedVolume) throws -> Bool {
        var current = InodeID.root
        for part in path.split(separator: "/") {
            let found = try volume.metadata.transaction { transaction throws(Errno) in
                try transaction.entry(try FileName(String(part)), in: current)
            }
            guard let found else { return false }
            current = found
        }
        return true
    }

    @Test("random damage of many rows is mended, whatever it was, and a second repair finds nothing")
    func random() throws {
        try fill()
        let whole = try #require(try AtomicFile.read(database))
        var generator = SeededGenerator(seed: 11)
        let tables = ["inode", "entry", "extent", "pack", "symlink", "xattr", "orphan", "quota"]
        let numbers = [
            "inode": ["nlink", "size", "mode", "parent", "allocated"], "entry": ["inode", "parent"],
            "extent": ["inode", "length", "start", "pack"], "pack": ["live"], "symlink": ["inode"], "xattr": ["inode"],
            "orphan": ["inode"], "quota": ["used"],
        ]
        for round in 0..<60 {
            try AtomicFile.replace(database, whole)
            var sql: [String] = []
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let table = try #require(tables.randomElement(using: &generator))
                if Bool.random(using: &generator) {
                    sql.append("DELETE FROM \(table) WHERE abs(random() % 3) = 0")
                } else {
                    let column = try #require(numbers[table]?.randomElement(using: &generator))
                    let value = Int.random(in: -2...12, using: &generator)
                    sql.append("UPDATE OR IGNORE \(table) SET \(column) = \(value) WHERE abs(random() % 4) = 0")
                }
            }
            _ = try Shell.root.run("sqlite3 '\(database)' \"\(sql.joined(separator: "; "))\"")
            _ = try MetadataRepairer.repair(path: database, now: .now())
            #expect(try MetadataChecker.check(path: database).problems.lines == [], "round \(round): \(sql)")
            #expect(try MetadataRepairer.repair(path: database, now: .now()) == [], "round \(round): \(sql)")
        }
    }

    @Test("names of packs that whoever writes to a store chose are passed over or refused")
    func chosenNames() throws {
        let (usual, last) = (PackID(epoch: 7, sequence: 1), PackID(epoch: PackID.firstForeignEpoch - 2, sequence: 1))
        let foreign = [PackID.firstForeignEpoch, .max].map { PackID(epoch: $0, sequence: .max) }
        #expect(Salvage.packs(among: ([usual, last] + foreign).map { ObjectName(pack: $0) }) == [usual, last])
        let metadata = try SQLiteMetadataStore(path: database)
        func put(_ id: PackID) throws {
            try metadata.transaction { transaction throws(Errno) in
                try transaction.putPack(PackRecord(id: id, state: .stored, rawLength: 1, storedLength: 1))
            }
        }
        try put(usual)
        try metadata.passOverEpochs(by: 1 << 16)
        #expect(try metadata.nextEpoch() == 7 + (1 << 16) + 1)
        try put(last)
        #expect(throws: Errno.outOfRange) { try metadata.passOverEpochs(by: 1 << 16) }
        try metadata.close()
    }

    @Test("with the metadata gone, the packs give back what was in files, in lost+found")
    func salvage() throws {
        let volume = try OpenedVolume(directory.path)
        let files = volume.fileSystem
        var contents: [InodeID: [UInt8]] = [:]
        var generator = SeededGenerator(seed: 5)
        for number in 0..<200 {
            let id = try files.create(
                try FileName("f\(number)"), in: .root, NewInode(kind: .regular, permissions: 0o644),
                caller: volume.caller
            ).id
            var bytes = (0..<Int.random(in: 1...9000, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            _ = try bytes.withUnsafeBytes { try files.write($0, to: id, at: 0, appends: false, caller: volume.caller) }
            // A part is written again, later: what is newer must win.
            if number % 3 == 0 {
                try files.synchronize()
                bytes[0] ^= 0xFF
                _ = try bytes[..<1].withUnsafeBytes {
                    try files.write($0, to: id, at: 0, appends: false, caller: volume.caller)
                }
            }
            contents[id] = bytes
        }
        try volume.close()
        for suffix in ["", "-wal", "-shm"] { unlink(database + suffix) }

        let metadata = try SQLiteMetadataStore(path: database)
        try metadata.close()
        _ = try MetadataRepairer.repair(path: database, now: .now())
        let rebuilt = try SQLiteMetadataStore(path: database)
        let salvage = Salvage(
            metadata: rebuilt, store: try DirectoryStore(root: "\(directory.path)/store"),
            staging: "\(directory.path)/staging", now: .now())
        let outcome = try salvage.restore(try salvage.unknownPacks())
        try rebuilt.close()
        #expect(outcome.files == 200)
        #expect(outcome.bytes == contents.values.reduce(0) { $0 + UInt64($1.count) })
        #expect(outcome.failures == [])
        #expect(try MetadataChecker.check(path: database).problems.lines == [])

        let again = try OpenedVolume(directory.path, epoch: 9)
        let found = try again.metadata.transaction { transaction throws(Errno) in
            let directory = try transaction.entry(try FileName("lost+found"), in: .root)
            return try transaction.entries(in: directory ?? .root, after: nil, limit: 1000)
        }
        #expect(found.count == 200)
        for entry in found {
            let original = try #require(UInt64(entry.name.description.dropFirst("inode-".count)))
            let wanted = try #require(contents[InodeID(rawValue: original)])
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: wanted.count + 10, alignment: 1)
            defer { buffer.deallocate() }
            let count = try again.fileSystem.read(entry.inode.id, at: 0, into: buffer, session: again.session)
            #expect(Array(buffer[..<count]) == wanted, "\(entry.name)")
        }
        try again.close()
    }
}
