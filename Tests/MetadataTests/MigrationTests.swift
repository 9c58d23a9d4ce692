import CSQLite
import FileModel
import LinuxSystem
import Metadata
import TestSupport
import Testing

@testable import SQLiteMetadata

@Suite("volumes of older programs")
struct MigrationTests {
    private let directory = TemporaryDirectory()
    private var path: String { "\(directory.path)/meta.db" }

    /// Ten directories deep: a file with data and attributes, a link, a file with three names, one of both in the trash,
    /// and an orphan; as version 4 counted them.
    private static let content = """
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10)
        INSERT INTO inode (id, mode, uid, gid, nlink, size, mtime, parent)
            SELECT i, 16877, 0, 0, CASE WHEN i = 10 THEN 2 ELSE 3 END, 0, 1, max(1, i - 1) FROM n;
        INSERT INTO entry SELECT id - 1, CAST('d' AS BLOB), id FROM inode WHERE id > 1;
        INSERT INTO inode (id, mode, uid, gid, nlink, size, mtime, parent) VALUES (20, 33188, 0, 0, 1, 100, 1, 10),
            (22, 33188, 0, 0, 3, 0, 1, 5), (23, 33188, 0, 0, 0, 50, 1, 10), (25, 33188, 0, 0, 0, 0, 1, NULL);
        INSERT INTO inode (id, mode, uid, gid, nlink, size, mtime, parent, allocated) VALUES
            (21, 41471, 0, 0, 1, 7, 1, 10, 0), (24, 41471, 0, 0, 0, 9, 1, 10, 0);
        INSERT INTO symlink VALUES (21, CAST('target7' AS BLOB)), (24, CAST('target__9' AS BLOB));
        INSERT INTO entry VALUES (10, CAST('f' AS BLOB), 20), (10, CAST('l' AS BLOB), 21), (5, CAST('h1' AS BLOB), 22),
            (5, CAST('h2' AS BLOB), 22), (6, CAST('h3' AS BLOB), 22);
        INSERT INTO hardlink VALUES (22, 5, 2), (22, 6, 1);
        INSERT INTO trash VALUES (1, 23, 10, CAST('t' AS BLOB), 5, 0, 0), (2, 24, 10, CAST('u' AS BLOB), 5, 0, 0);
        INSERT INTO orphan VALUES (25);
        INSERT INTO pack VALUES (1, 1, 1000, 500, 150);
        INSERT INTO extent VALUES (20, 0, 100, 1, 0), (23, 0, 50, 1, 100);
        INSERT INTO xattr VALUES (20, CAST('user.a' AS BLOB), zeroblob(40)), (20, CAST('user.b' AS BLOB), x''),
            (22, CAST('user.a' AS BLOB), x'01'), (3, CAST('user.d' AS BLOB), zeroblob(4)),
            (23, CAST('user.t' AS BLOB), zeroblob(100)), (25, CAST('user.o' AS BLOB), zeroblob(1000));
        INSERT INTO directory SELECT id, CASE WHEN id > 1 THEN CAST('d' AS BLOB) END, 100,
            11 - id + 2 + (id <= 5) FROM inode WHERE id <= 10;
        UPDATE quota SET used = 16 WHERE name = 'files';
        UPDATE quota SET used = 150 WHERE name = 'bytes';
        UPDATE quota SET used = 2 WHERE name = 'trash-files';
        UPDATE quota SET used = 50 WHERE name = 'trash-bytes';
        REPLACE INTO setting VALUES ('next_inode', '26');
        """

    private func make(_ content: String, version: Int = 4) throws {
        let connection = try SQLiteConnection(path: path, flags: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
        defer { connection.close() }
        for step in Schema.migrations[..<version] { try connection.execute(step) }
        try connection.execute(content)
        try connection.execute("PRAGMA application_id = \(Schema.applicationID); PRAGMA user_version = \(version)")
    }

    @Test("count attributes and targets of links from their first opening on, at each directory and in the trash")
    func attributes() throws {
        try make(Self.content)
        let store = try SQLiteMetadataStore(path: path)
        try store.transaction { transaction throws(Errno) in
            // Data, two names and a value, a target, the name and value of a file and of a directory, the trash, the orphan.
            #expect(try transaction.usage().bytes == 150 + 52 + 7 + 7 + 10 + 106 + 9 + 1006)
            #expect(try transaction.trashUsage() == Usage(files: 2, bytes: 50 + 106 + 9))
            #expect(try transaction.usage(below: InodeID(rawValue: 10)) == Usage(files: 3, bytes: 159))
            #expect(try transaction.usage(below: InodeID(rawValue: 5)) == Usage(files: 9, bytes: 166))
            #expect(try transaction.usage(below: InodeID(rawValue: 3)).bytes == 176)
            #expect(try transaction.usage(below: .root).bytes == 176)
            #expect(try transaction.inode(InodeID(rawValue: 21))?.allocated == 7)
            #expect(try transaction.inode(InodeID(rawValue: 20))?.allocated == 152)
            #expect(try transaction.linkUsage() == 2)
            for number: UInt64 in [20, 21, 23, 24, 25] {
                guard let inode = try transaction.inode(InodeID(rawValue: number)) else { throw .io }
                if let trash = try transaction.trash(after: 0, limit: 9).first(where: { $0.inode == inode.id }) {
                    try transaction.removeFromTrash(trash)
                }
                if number == 20 { try transaction.unlink(try FileName("f"), in: InodeID(rawValue: 10)) }
                if number == 21 { try transaction.unlink(try FileName("l"), in: InodeID(rawValue: 10)) }
                try transaction.remove(inode.id)
            }
            #expect(try transaction.usage().bytes == 17)
        }
        try store.close()
        #expect(try MetadataChecker.check(path: path).problems.lines == [])
    }

    @Test("of version 5 take names of groups from their first opening on, and go on with what they hold")
    func accounts() throws {
        // Of root's, one to one, that happens to have a large number.
        try make("UPDATE inode SET gid = 0; INSERT INTO setting VALUES ('x', 'y')", version: 5)
        let store = try SQLiteMetadataStore(path: path)
        try store.transaction { transaction throws(Errno) in
            #expect(try transaction.namedAccounts() == [])
            #expect(try transaction.setting("x") == "y")
            let group = try transaction.addNamedAccount(.group, "project")
            #expect(group == NamedAccount(id: NamedAccount.firstID, kind: .group, name: "project"))
            #expect(try transaction.addNamedAccount(.user, "project").id == NamedAccount.firstID + 1)
            #expect(try transaction.addNamedAccount(.group, "project") == group)
        }
        try store.close()
        #expect(try MetadataChecker.check(path: path).problems.lines == [])
        let again = try SQLiteMetadataStore(path: path)
        try again.transaction { transaction throws(Errno) in
            #expect(try transaction.namedAccounts().map(\.name) == ["project", "project"])
        }
        try again.close()
    }

    private func errno(of store: SQLiteMetadataStore) -> Errno? {
        do throws(Errno) {
            _ = try store.transaction { transaction throws(Errno) in try transaction.addNamedAccount(.group, "f") }
            return nil
        } catch {
            return error
        }
    }

    @Test("an id that was a name's is never another's, also where the table is lost, and what is no row names nobody")
    func lostNames() throws {
        try make("", version: 5)
        let store = try SQLiteMetadataStore(path: path)
        let first = try store.transaction { transaction throws(Errno) in try transaction.addNamedAccount(.group, "a") }
        try store.close()
        try Shell.root.run(
            "sqlite3 '\(path)' \"DELETE FROM account; INSERT INTO account VALUES (7, 1, 'b'), (-1, 1, 'c'), (99999999999, 0, 'd')\""
        )
        let again = try SQLiteMetadataStore(path: path)
        try again.transaction { transaction throws(Errno) in
            #expect(try transaction.namedAccounts() == [])
        }
        try again.transaction { transaction throws(Errno) in
            #expect(try transaction.addNamedAccount(.group, "e").id == first.id + 1)
        }
        try again.close()
        #expect(try MetadataChecker.check(path: path).problems.lines.filter { $0.contains("account") }.count == 3)
        _ = try MetadataRepairer.repair(path: path, now: Timestamp(nanoseconds: 0))
        #expect(try MetadataChecker.check(path: path).problems.lines == [])
        // None left to give; and a number that is none.
        for (text, answer) in [("\(UInt32.max)", Errno?.some(.noSpace)), ("x", nil)] {
            try Shell.root.run("sqlite3 '\(path)' \"REPLACE INTO setting VALUES ('next_account', '\(text)')\"")
            let full = try SQLiteMetadataStore(path: path)
            let errno = errno(of: full)
            #expect(errno == answer)
            try full.close()
            guard answer != nil else { continue }
            #expect(try MetadataChecker.check(path: path).problems.lines.count == 1)
            _ = try MetadataRepairer.repair(path: path, now: Timestamp(nanoseconds: 0))
            #expect(try MetadataChecker.check(path: path).problems.lines == [])
            let mended = try SQLiteMetadataStore(path: path)
            try mended.transaction { transaction throws(Errno) in
                #expect(try transaction.addNamedAccount(.group, "after the repair").id > first.id + 1000)
            }
            try mended.close()
        }
    }

    @Test("are whole after it, also where no file has attributes")
    func whole() throws {
        for content in [Self.content, "REPLACE INTO setting VALUES ('next_inode', '1')"] {
            try make(content)
            try SQLiteMetadataStore(path: path).close()
            #expect(try MetadataChecker.check(path: path).problems.lines == [])
            for suffix in ["", "-wal", "-shm"] { FileTree.remove(path + suffix) }
        }
    }
}
