import CSQLite
import FileModel

/// Mends a database that nobody has open, after `MetadataChecker` found damage.
///
/// Each step makes one kind of the checker's rules true and counts what it changed. All run in one transaction, in an
/// order in which no step undoes an earlier one: first what names nothing goes, then what nothing names is given a name in
/// `lost+found`, then what can be counted is counted again. Bytes are never invented: data that is nowhere stays an error.
public struct MetadataRepairer {
    let connection: SQLiteConnection

    struct Step {
        /// What was mended, after a number.
        var words: String
        var sql: String
    }

    /// Mends the database at `path`. Answers a line for each kind of damage that was mended.
    public static func repair(path: String, now: Timestamp) throws(MetadataOpenFailure) -> [String] {
        do throws(SQLiteFailure) {
            let repairer = MetadataRepairer(connection: try SQLiteMetadataStore.openForCheck(path))
            defer { repairer.connection.close() }
            return try repairer.run(now)
        } catch {
            throw SQLiteMetadataStore.openFailure(error, path)
        }
    }

    private func run(_ now: Timestamp) throws(SQLiteFailure) -> [String] {
        // An index, or a table's order, that disagrees with its rows.
        try connection.execute("REINDEX")
        try connection.execute("BEGIN IMMEDIATE")
        do {
            var mended: [String] = []
            for step in Self.numbers + [root(now)] + Self.removals + Self.links + Self.trash {
                try apply(step, &mended)
            }
            try adopt(now, &mended)
            for step in Self.counts + Self.holds + Self.imports + Self.accounts { try apply(step, &mended) }
            try recount(&mended)
            try connection.execute("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
            return mended
        } catch {
            try? connection.execute("ROLLBACK")
            throw error
        }
    }

    func apply(_ step: Step, _ mended: inout [String]) throws(SQLiteFailure) {
        try connection.execute(step.sql)
        let count = sqlite3_changes64(connection.handle)
        if count > 0 { mended.append("\(count) \(step.words)") }
    }

    private static let typeBits = MetadataChecker.typeBits
    static let isDirectory = MetadataChecker.isDirectory
    private static let isFile = "mode & \(typeBits) = \(0o100000)"
    private static let isLink = "mode & \(typeBits) = \(0o120000)"

    private func root(_ now: Timestamp) -> Step {
        Step(
            words: "root directory that was missing",
            sql: "INSERT INTO inode (id, mode, uid, gid, nlink, size, mtime, parent) "
                + "SELECT 1, \(0o040755), 0, 0, 2, 0, \(now.nanoseconds), 1 WHERE NOT EXISTS (SELECT 1 FROM inode WHERE id = 1)"
        )
    }

    private static let removals = [
        Step(
            words: "root that was no directory",
            sql: "UPDATE inode SET mode = \(0o040755), parent = 1 WHERE id = 1 AND NOT (\(isDirectory))"),
        Step(
            words: "entries that named nothing",
            sql: "DELETE FROM entry WHERE inode NOT IN (SELECT id FROM inode)"),
        Step(
            words: "entries in what is no directory",
            sql: "DELETE FROM entry WHERE parent NOT IN (SELECT id FROM inode WHERE \(isDirectory))"),
        Step(
            words: "extents of files that are not there",
            sql: "DELETE FROM extent WHERE inode NOT IN (SELECT id FROM inode WHERE \(isFile))"),
        // Which of two is right nobody can tell; the later one begins where the other ends.
        Step(
            words: "extents that overlapped",
            sql: "DELETE FROM extent WHERE (inode, offset) IN (SELECT inode, offset FROM (SELECT inode, offset, "
                + "MAX(offset + length) OVER (PARTITION BY inode ORDER BY offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) "
                + "AS before FROM extent) WHERE before > offset)"),
        // A size that was lost is more likely than bytes that nobody wrote.
        Step(
            words: "sizes that were below the data",
            sql: "UPDATE inode SET size = (SELECT MAX(offset + length) FROM extent x WHERE x.inode = inode.id) "
                + "WHERE \(isFile) AND size < (SELECT MAX(offset + length) FROM extent x WHERE x.inode = inode.id)"),
        Step(words: "attributes of nothing", sql: "DELETE FROM xattr WHERE inode NOT IN (SELECT id FROM inode)"),
        Step(
            words: "link targets of nothing",
            sql: "DELETE FROM symlink WHERE inode NOT IN (SELECT id FROM inode WHERE \(isLink))"),
        // A link that leads nowhere must not lead somewhere else.
        Step(
            words: "symbolic links without a target",
            sql: "DELETE FROM inode WHERE \(isLink) AND id NOT IN (SELECT inode FROM symlink)"),
        Step(
            words: "names of symbolic links without a target",
            sql: "DELETE FROM entry WHERE inode NOT IN (SELECT id FROM inode)"),
        Step(
            words: "lengths of symbolic links",
            sql: "UPDATE inode SET size = (SELECT length(target) FROM symlink s WHERE s.inode = inode.id) "
                + "WHERE \(isLink) AND size <> (SELECT length(target) FROM symlink s WHERE s.inode = inode.id)"),
    ]

    private static let links = [
        // The name where the directory says that it is; else the first.
        Step(
            words: "second names of directories",
            sql: "DELETE FROM entry WHERE (parent, name) IN (SELECT parent, name FROM (SELECT e.parent, e.name, "
                + "ROW_NUMBER() OVER (PARTITION BY e.inode ORDER BY e.parent <> COALESCE(i.parent, 0), e.parent, e.name) AS place "
                + "FROM entry e JOIN inode i ON i.id = e.inode WHERE i.\(isDirectory)) WHERE place > 1)"),
        Step(words: "names of the root", sql: "DELETE FROM entry WHERE inode = 1"),
        Step(
            words: "parents of directories",
            sql: "UPDATE inode SET parent = (SELECT e.parent FROM entry e WHERE e.inode = inode.id LIMIT 1) "
                + "WHERE \(isDirectory) AND id <> 1 AND EXISTS (SELECT 1 FROM entry e WHERE e.inode = inode.id) "
                + "AND parent IS NOT (SELECT e.parent FROM entry e WHERE e.inode = inode.id LIMIT 1)"),
        // Rings: cut where the walk from the root never comes.
        Step(
            words: "names in rings of directories",
            sql:
                "DELETE FROM entry WHERE inode IN (WITH RECURSIVE reached(id) AS (SELECT 1 UNION SELECT e.inode FROM reached r "
                + "JOIN entry e ON e.parent = r.id JOIN inode i ON i.id = e.inode WHERE i.\(isDirectory)), "
                + "up(start, id) AS (SELECT e.inode, e.parent FROM entry e JOIN inode i ON i.id = e.inode WHERE i.\(isDirectory) "
                + "AND e.inode NOT IN (SELECT id FROM reached) UNION SELECT u.start, e.parent FROM up u JOIN entry e ON e.inode = u.id) "
                + "SELECT MIN(start) FROM up WHERE start = id GROUP BY start)"),
        Step(
            words: "marks of orphans that have a name or no record",
            sql: "DELETE FROM orphan WHERE inode NOT IN (SELECT id FROM inode) OR inode IN (SELECT inode FROM entry)"),
    ]

    /// Gives what nothing names a name in `lost+found`.
    private func adopt(_ now: Timestamp, _ mended: inout [String]) throws(SQLiteFailure) {
        let lost =
            "SELECT i.id FROM inode i LEFT JOIN \(Self.kept) o ON o.inode = i.id WHERE o.inode IS NULL AND i.id <> 1 "
            + "AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.inode = i.id)"
        guard try connection.text(lost + " LIMIT 1") != nil else { return }
        let name = "x'\("lost+found".utf8.map { String($0, radix: 16) }.joined())'"
        let find = "SELECT inode FROM entry WHERE parent = 1 AND name = \(name)"
        if try connection.text(find) == nil {
            try connection.execute(
                "INSERT INTO inode (id, mode, uid, gid, nlink, size, mtime, parent) "
                    + "SELECT MAX(id) + 1, \(0o040700), 0, 0, 2, 0, \(now.nanoseconds), 1 FROM inode; "
                    + "INSERT INTO entry (parent, name, inode) SELECT 1, \(name), MAX(id) FROM inode")
        }
        guard let directory = try connection.text(find).flatMap({ Int64($0) }) else { return }
        try apply(
            Step(
                words: "files and directories without a name, now in lost+found",
                sql: "INSERT OR IGNORE INTO entry (parent, name, inode) SELECT \(directory), "
                    + "CAST('inode-' || id AS BLOB), id FROM (\(lost)) WHERE id <> \(directory)"), &mended)
        // Who lists them must see that they changed.
        try connection.execute(
            "UPDATE inode SET mtime = \(now.nanoseconds), ctime = NULL WHERE id IN (1, \(directory))")
        try connection.execute(
            "UPDATE inode SET parent = \(directory) WHERE \(Self.isDirectory) AND id IN "
                + "(SELECT inode FROM entry WHERE parent = \(directory))")
    }

    /// What belongs to one inode.
    private static let bytes =
        "((SELECT COALESCE(SUM(length), 0) FROM extent x WHERE x.inode = inode.id) "
        + "+ (SELECT COALESCE(SUM(length(name) + length(value)), 0) FROM xattr x WHERE x.inode = inode.id) "
        + "+ COALESCE((SELECT length(target) FROM symlink s WHERE s.inode = inode.id), 0))"

    private static let counts = [
        Step(
            words: "link counts of files",
            sql:
                "UPDATE inode SET nlink = (SELECT COUNT(*) FROM entry e WHERE e.inode = inode.id) WHERE NOT (\(isDirectory)) "
                + "AND nlink <> (SELECT COUNT(*) FROM entry e WHERE e.inode = inode.id)"),
        Step(
            words: "link counts of directories",
            sql:
                "UPDATE inode SET nlink = 2 + (SELECT COUNT(*) FROM inode c WHERE c.\(isDirectory) AND c.parent = inode.id "
                + "AND c.id <> 1 AND c.id NOT IN (SELECT inode FROM \(kept))) WHERE \(isDirectory) AND id NOT IN (SELECT inode FROM \(kept)) "
                + "AND nlink <> 2 + (SELECT COUNT(*) FROM inode c WHERE c.\(isDirectory) AND c.parent = inode.id AND c.id <> 1 "
                + "AND c.id NOT IN (SELECT inode FROM \(kept)))"),
        Step(
            words: "counts of bytes of files",
            sql: "UPDATE inode SET allocated = \(bytes) WHERE COALESCE(allocated, size) <> \(bytes)"),
        // Stored, until a look at the store says otherwise: then reads say so.
        Step(
            words: "packs that were not recorded",
            sql: "INSERT INTO pack (id, state, raw, stored, live) SELECT pack, 0, 0, 0, 0 FROM extent "
                + "WHERE pack NOT IN (SELECT id FROM pack) AND pack < \(MetadataChecker.firstForeign) GROUP BY pack"),
        Step(
            words: "counts of live bytes of packs",
            sql: "UPDATE pack SET live = COALESCE((SELECT SUM(length) FROM extent x WHERE x.pack = pack.id), 0) "
                + "WHERE live <> COALESCE((SELECT SUM(length) FROM extent x WHERE x.pack = pack.id), 0)"),
        Step(
            words: "count of the volume's inodes",
            sql:
                "UPDATE quota SET used = (SELECT COUNT(*) FROM inode) WHERE name = 'files' AND used <> (SELECT COUNT(*) FROM inode)"
        ),
        Step(
            words: "count of the volume's bytes",
            sql: "UPDATE quota SET used = \(MetadataChecker.allBytes) WHERE name = 'bytes' "
                + "AND used <> \(MetadataChecker.allBytes)"),
        Step(
            words: "count of names of files beyond their first",
            sql: "UPDATE quota SET used = (SELECT links FROM \(MetadataChecker.moreNames)) WHERE name = 'links' "
                + "AND used <> (SELECT links FROM \(MetadataChecker.moreNames))"),
        Step(
            words: "counters that were missing",
            sql:
                "INSERT OR IGNORE INTO quota SELECT 'files', COUNT(*) FROM inode UNION ALL SELECT 'bytes', \(MetadataChecker.allBytes) "
                + "UNION ALL SELECT 'links', links FROM \(MetadataChecker.moreNames)"
        ),
        Step(
            words: "next inode number",
            sql: "REPLACE INTO setting SELECT 'next_inode', MAX(id) + 1 FROM inode HAVING MAX(id) >= COALESCE("
                + "(SELECT CAST(value AS INTEGER) FROM setting WHERE key = 'next_inode'), 0)"),
    ]
}
