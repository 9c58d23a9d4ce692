import FileModel
import Glibc
import LinuxSystem
import Metadata
import TestSupport
import Testing

@testable import SQLiteMetadata

@Suite("usage, quotas and trash in SQLite")
struct SpaceTests {
    private let directory = TemporaryDirectory()
    private var path: String { "\(directory.path)/meta.db" }

    private func open() throws -> SQLiteMetadataStore { try SQLiteMetadataStore(path: path) }

    @discardableResult
    private func make(
        _ kind: FileKind, _ name: String, in parent: InodeID?, bytes: UInt64 = 0, _ store: SQLiteMetadataStore
    ) throws -> InodeID {
        try store.transaction { transaction throws(Errno) in
            let id = try transaction.allocateInodeID()
            var inode = Inode(
                id: id, kind: kind, permissions: 0o755, userID: 0, groupID: 0, linkCount: kind == .directory ? 2 : 1,
                size: bytes, time: Timestamp(nanoseconds: 1), parent: parent ?? id)
            inode.allocated = bytes
            try transaction.insert(inode)
            guard let parent else { return id }
            try transaction.link(try FileName(name), in: parent, to: id)
            guard kind == .directory, var above = try transaction.inode(parent) else { return id }
            above.linkCount += 1
            try transaction.update(above)
            return id
        }
    }

    private func usage(_ id: InodeID, _ store: SQLiteMetadataStore) throws -> Usage {
        try store.transaction { transaction throws(Errno) in try transaction.usage(below: id) }
    }

    @Test("a deep tree counts at every level, a moved directory takes its count along, and a rehearsal leaves nothing")
    func levels() throws {
        var store = try open()
        let root = try make(.directory, "", in: nil, store)
        var chain = [root]
        for level in 0..<50 { chain.append(try make(.directory, "d\(level)", in: chain[level], store)) }
        try make(.regular, "f", in: chain[50], bytes: 7, store)
        let other = try make(.directory, "other", in: root, store)
        #expect(try usage(root, store) == Usage(files: 53, bytes: 7))
        #expect(try usage(chain[50], store) == Usage(files: 2, bytes: 7))
        let move = { (transaction: any MetadataTransaction) throws(Errno) in
            guard var moved = try transaction.inode(chain[10]) else { throw .io }
            moved.parent = other
            try transaction.update(moved)
            try transaction.unlink(try FileName("d9"), in: chain[9])
            try transaction.link(try FileName("moved"), in: other, to: moved.id)
            #expect(try transaction.usage(below: other) == Usage(files: 43, bytes: 7))
            #expect(try transaction.usage(below: chain[9]) == Usage(files: 1, bytes: 0))
            #expect(try transaction.name(of: moved.id) == FileName("moved"))
        }
        try store.rehearse(move)
        #expect(try usage(other, store) == Usage(files: 1, bytes: 0) && usage(chain[9], store).bytes == 7)
        try store.transaction(move)
        #expect(try usage(root, store) == Usage(files: 53, bytes: 7))
        try store.close()
        store = try open()
        #expect(try usage(other, store) == Usage(files: 43, bytes: 7))
        try store.close()
    }

    @Test("what is not committed is not counted after a fault, and quotas are what they were")
    func fault() throws {
        let store = try open()
        let root = try make(.directory, "", in: nil, store)
        let place = try make(.directory, "q", in: root, store)
        try store.transaction { transaction throws(Errno) in
            try transaction.setQuota(QuotaLimits(bytes: 100, inodes: nil), of: place)
        }
        try store.commit(prepare: {})
        try make(.regular, "f", in: place, bytes: 60, store)
        #expect(throws: Errno.io) { try store.commit { () throws(Errno) in throw .io } }
        let quotas = try store.transaction { transaction throws(Errno) in try transaction.quotas() }
        #expect(quotas.map(\.used) == [Usage(files: 1, bytes: 0)] && quotas[0].limits.bytes == 100)
        #expect(try usage(root, store) == Usage(files: 2, bytes: 0))
    }

    @Test("a volume of an older program gets its counters, names and links when it is opened, and is whole")
    func migrated() throws {
        let connection = try SQLiteConnection(path: path, flags: 6)
        try connection.execute(Schema.migrations[0])
        try connection.execute(
            """
            PRAGMA application_id = \(Schema.applicationID); PRAGMA user_version = 1;
            UPDATE setting SET value = '10' WHERE key = 'next_inode';
            UPDATE quota SET used = CASE name WHEN 'files' THEN 6 ELSE 30 END;
            INSERT INTO inode (id, mode, uid, gid, nlink, size, mtime, allocated, parent) VALUES
                (1, 16877, 0, 0, 4, 0, 1, NULL, 1), (2, 16877, 0, 0, 3, 0, 1, NULL, 1), (3, 16877, 0, 0, 2, 0, 1, NULL, 2),
                (4, 16877, 0, 0, 2, 0, 1, NULL, 1), (5, 33188, 0, 0, 1, 10, 1, NULL, NULL), (6, 33188, 0, 0, 3, 20, 1, NULL, NULL);
            INSERT INTO entry VALUES (1, x'61', 2), (2, x'62', 3), (1, x'63', 4), (3, x'66', 5), (4, x'67', 6), (2, x'68', 6), (4, x'69', 6);
            INSERT INTO pack VALUES (4294967297, 0, 0, 0, 30);
            INSERT INTO extent VALUES (5, 0, 10, 4294967297, 0), (6, 0, 20, 4294967297, 10);
            """)
        connection.close()
        let store = try open()
        for (id, expected) in [
            (1, Usage(files: 6, bytes: 30)), (2, Usage(files: 4, bytes: 30)), (3, Usage(files: 2, bytes: 10)),
            (4, Usage(files: 1, bytes: 0)),
        ] {
            #expect(try usage(InodeID(rawValue: UInt64(id)), store) == expected, "inode \(id)")
        }
        try store.transaction { transaction throws(Errno) in
            #expect(try transaction.name(of: InodeID(rawValue: 3)) == FileName("b"))
            #expect(try transaction.hardLinks(of: InodeID(rawValue: 6)).map(\.names) == [1, 2])
        }
        try store.close()
        let report = try MetadataChecker.check(path: path)
        #expect(report.problems.count == 0, "\(report.problems.lines)")
    }

    /// Each damage must be found: a rule that finds nothing would be no rule.
    @Test(
        "the checker finds every wrong counter and every record of space that is wrong, and repair mends it",
        arguments: [
            "UPDATE directory SET bytes = bytes + 1 WHERE id = 2", "UPDATE directory SET inodes = 0 WHERE id = 1",
            "UPDATE directory SET name = x'78' WHERE id = 2", "INSERT INTO directory VALUES (99, NULL, 0, 0)",
            "DELETE FROM directory WHERE id = 2", "UPDATE inode SET parent = 1 WHERE id = 3",
            "UPDATE inode SET parent = NULL WHERE id = 3", "INSERT INTO directory_quota VALUES (3, 1, 1)",
            "INSERT INTO hardlink VALUES (3, 2, 1)", "UPDATE quota SET used = 9 WHERE name = 'trash-files'",
            "UPDATE quota SET used = 9 WHERE name = 'trash-bytes'", "DELETE FROM trash",
            "UPDATE trash SET parent = 88", "UPDATE trash SET inode = 88", "UPDATE trash SET inode = 3",
            "UPDATE trash SET directory = 1", "INSERT INTO orphan VALUES (4)",
        ])
    func damage(_ sql: String) throws {
        let store = try open()
        let root = try make(.directory, "", in: nil, store)
        let place = try make(.directory, "d", in: root, store)
        try make(.regular, "f", in: place, store)
        let gone = try make(.regular, "g", in: place, store)
        try store.transaction { transaction throws(Errno) in
            guard var inode = try transaction.inode(gone) else { throw .io }
            inode.linkCount = 0
            try transaction.update(inode)
            try transaction.unlink(try FileName("g"), in: place)
            try transaction.addToTrash(
                TrashRecord(
                    id: 0, inode: gone, parent: place, name: try FileName("g"), deleted: inode.changed, userID: 0,
                    isDirectory: false))
        }
        try store.close()
        #expect(try MetadataChecker.check(path: path).problems.count == 0)
        let connection = try SQLiteConnection(path: path, flags: 2)
        try connection.execute(sql)
        connection.close()
        #expect(try MetadataChecker.check(path: path).problems.count > 0, "\(sql)")
        let mended = try MetadataRepairer.repair(path: path, now: Timestamp(nanoseconds: 2))
        let left = try MetadataChecker.check(path: path)
        #expect(!mended.isEmpty && left.problems.count == 0, "\(sql): \(mended), \(left.problems.lines)")
    }
}
