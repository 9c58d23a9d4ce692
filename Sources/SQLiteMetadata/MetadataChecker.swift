import CSQLite
import FileModel
import Glibc
import Metadata

/// What a check of the metadata found, and what it needs of each pack.
public struct MetadataReport: Sendable {
    public struct NeededPack: Sendable {
        public var record: PackRecord
        /// The pack must hold raw bytes up to here: the end of the last extent in it.
        public var rawEnd: UInt64
    }

    public var problems = Problems()
    /// Whether the database's own structure is whole. Where it is not, nothing else was looked at.
    public var isReadable = true
    public var inodes: UInt64 = 0
    public var entries: UInt64 = 0
    public var extents: UInt64 = 0
    public var bytes: UInt64 = 0
    public var packs: [NeededPack] = []
    public var snapshots = 0
    public var clones = 0
    public var foreignObjects: [(object: ForeignObject, source: ForeignSource)] = []
    /// The numbers of those, in their order.
    var foreignIDs: [PackID] = []
}

/// Verifies a database that nobody has open: every reference, every count. Changes nothing.
///
/// The rules are SQL, so that a volume of a hundred million files is checked in sorted passes and little memory.
public struct MetadataChecker {
    let connection: SQLiteConnection
    var report = MetadataReport()

    /// Checks the database at `path`, and the snapshots whose copies are in the directory `snapshots`. Throws where it
    /// cannot be opened at all.
    public static func check(path: String, snapshots: String? = nil) throws(MetadataOpenFailure) -> MetadataReport {
        do throws(SQLiteFailure) {
            var checker = MetadataChecker(connection: try SQLiteMetadataStore.openForCheck(path))
            try checker.run()
            if let snapshots { try checker.checkSnapshots(snapshots) }
            return checker.report
        } catch {
            throw SQLiteMetadataStore.openFailure(error, path)
        }
    }

    init(connection: SQLiteConnection) {
        self.connection = connection
    }

    mutating func run() throws(SQLiteFailure) {
        report.isReadable = try isWhole()
        guard report.isReadable, try connection.text("SELECT 1 FROM sqlite_master LIMIT 1") != nil else { return }
        report.inodes = try number("SELECT COUNT(*) FROM inode")
        report.entries = try number("SELECT COUNT(*) FROM entry")
        report.extents = try number("SELECT COUNT(*) FROM extent")
        report.bytes = try number("SELECT COALESCE(SUM(length), 0) FROM extent")
        for rule in ImpossibleNumbers.rules + Self.rules + Self.spaceRules + Self.accountRules { try apply(rule) }
        try checkReachability()
        try collectPacks()
        try collectForeign()
    }

    private mutating func collectForeign() throws(SQLiteFailure) {
        let statement = try connection.prepare(
            "SELECT f.source, f.key, f.size, f.tag, f.mtime, s.url, s.options, f.id FROM foreign_object f "
                + "JOIN source s ON s.id = f.source ORDER BY f.id")
        while true {
            switch statement.step() {
            case SQLITE_ROW:
                let object = ForeignObject(
                    source: statement.integer(0), key: statement.bytes(1), size: statement.unsigned(2),
                    tag: statement.text(3) ?? "", modified: Timestamp(nanoseconds: statement.integer(4)))
                let source = ForeignSource(
                    id: object.source, url: statement.text(5) ?? "", options: statement.text(6) ?? "")
                report.foreignObjects.append((object, source))
                report.foreignIDs.append(PackID(packed: statement.integer(7)))
            case SQLITE_DONE: return
            case let code: throw connection.failure(code)
            }
        }
    }

    /// The database's own structure. Where that is broken, rules about rows mean nothing.
    private mutating func isWhole() throws(SQLiteFailure) -> Bool {
        let statement = try connection.prepare("PRAGMA integrity_check(20)")
        var isWhole = true
        while true {
            switch statement.step() {
            case SQLITE_ROW:
                let line = statement.text(0) ?? ""
                if line != "ok" {
                    isWhole = false
                    report.problems.add("database: \(line)")
                }
            case SQLITE_DONE: return isWhole
            case let code: throw connection.failure(code)
            }
        }
    }

    /// One rule: the query answers a line of text for each thing that breaks it.
    private mutating func apply(_ sql: String) throws(SQLiteFailure) {
        let statement = try connection.prepare(sql)
        while true {
            switch statement.step() {
            case SQLITE_ROW: report.problems.add(statement.text(0) ?? "?")
            case SQLITE_DONE: return
            case let code:
                let failure = connection.failure(code)
                guard failure.isOverflow else { throw failure }
                return report.problems.add("numbers are too large to be added up")
            }
        }
    }

    static let directory = 0o040000
    static let typeBits = 0o170000
    static let firstForeign = Int64(PackID.firstForeignEpoch) << 32

    /// What attributes take, of each inode that has any.
    static let attributeBytes =
        "(SELECT inode, SUM(length(name) + length(value)) AS bytes FROM xattr GROUP BY inode)"
    /// What the volume holds: data, attributes and targets of links.
    static let allBytes =
        "((SELECT COALESCE(SUM(length), 0) FROM extent) + (SELECT COALESCE(SUM(length(name) + length(value)), 0) FROM xattr) "
        + "+ (SELECT COALESCE(SUM(length(target)), 0) FROM symlink))"

    static let moreNames =
        "(SELECT COALESCE(SUM(nlink - 1), 0) AS links FROM inode WHERE nlink > 1 AND mode & \(typeBits) <> \(directory))"

    private static let rules = [
        // A database whose first opening was cut short has handed out no number yet: a new volume.
        "SELECT 'the root directory is missing' WHERE NOT EXISTS (SELECT 1 FROM inode WHERE id = 1 AND mode & \(typeBits) = \(directory)) "
            + "AND EXISTS (SELECT 1 FROM setting WHERE key = 'next_inode' AND value <> '1' UNION ALL SELECT 1 FROM inode)",
        "SELECT 'entry ' || e.parent || '/' || quote(e.name) || ' names inode ' || e.inode || ', which is not there' "
            + "FROM entry e LEFT JOIN inode i ON i.id = e.inode WHERE i.id IS NULL",
        "SELECT 'entry ' || quote(e.name) || ' lies in inode ' || e.parent || ', which is no directory' "
            + "FROM entry e LEFT JOIN inode i ON i.id = e.parent WHERE i.id IS NULL OR i.mode & \(typeBits) <> \(directory)",
        // Links: a file has as many as entries name it.
        "SELECT 'inode ' || i.id || ' has link count ' || i.nlink || ' and ' || COALESCE(n.links, 0) || ' entries' "
            + "FROM inode i LEFT JOIN (SELECT inode, COUNT(*) AS links FROM entry GROUP BY inode) n ON n.inode = i.id "
            + "WHERE i.mode & \(typeBits) <> \(directory) AND i.nlink <> COALESCE(n.links, 0)",
        // A directory has two and one for each subdirectory; a removed one that is still held has none.
        "SELECT 'directory ' || d.id || ' has link count ' || d.nlink || ' and ' || COALESCE(n.children, 0) || ' subdirectories' "
            + "FROM inode d LEFT JOIN (SELECT parent, COUNT(*) AS children FROM inode WHERE mode & \(typeBits) = \(directory) "
            + "AND id <> 1 AND nlink > 0 GROUP BY parent) n ON n.parent = d.id "
            + "WHERE d.mode & \(typeBits) = \(directory) AND d.nlink > 0 AND d.nlink <> 2 + COALESCE(n.children, 0)",
        "SELECT 'directory ' || d.id || ' says its parent is ' || COALESCE(d.parent, 'nobody') || ', which does not list it' "
            + "FROM inode d WHERE d.mode & \(typeBits) = \(directory) AND d.id <> 1 AND d.nlink > 0 "
            + "AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.parent = d.parent AND e.inode = d.id)",
        "SELECT 'directory ' || e.inode || ' has ' || COUNT(*) || ' names' FROM entry e JOIN inode i ON i.id = e.inode "
            + "WHERE i.mode & \(typeBits) = \(directory) GROUP BY e.inode HAVING COUNT(*) > 1",
        "SELECT 'orphan ' || o.inode || ' has a name or no record' FROM orphan o LEFT JOIN inode i ON i.id = o.inode "
            + "WHERE i.id IS NULL OR i.nlink <> 0",
        // Data
        "SELECT 'extents of inode ' || x.inode || ' at ' || x.offset || ' name an inode that is not there' FROM extent x "
            + "LEFT JOIN inode i ON i.id = x.inode WHERE i.id IS NULL",
        "SELECT 'extents of inode ' || inode || ' overlap at ' || offset FROM (SELECT inode, offset, "
            + "LAG(offset + length) OVER (PARTITION BY inode ORDER BY offset) AS before FROM extent) WHERE before > offset",
        "SELECT 'inode ' || x.inode || ' has data past its end at ' || x.offset FROM extent x JOIN inode i ON i.id = x.inode "
            + "WHERE x.offset + x.length > i.size",
        "SELECT 'inode ' || i.id || ' says ' || COALESCE(i.allocated, i.size) || ' bytes of data and has ' || "
            + "(COALESCE(n.bytes, 0) + COALESCE(x.bytes, 0) + COALESCE(length(s.target), 0)) FROM inode i "
            + "LEFT JOIN (SELECT inode, SUM(length) AS bytes FROM extent GROUP BY inode) n ON n.inode = i.id "
            + "LEFT JOIN \(attributeBytes) x ON x.inode = i.id LEFT JOIN symlink s ON s.inode = i.id "
            + "WHERE COALESCE(i.allocated, i.size) "
            + "<> COALESCE(n.bytes, 0) + COALESCE(x.bytes, 0) + COALESCE(length(s.target), 0)",
        "SELECT 'inode ' || x.inode || ' names pack ' || printf('%08x-%08x', x.pack >> 32, x.pack & 4294967295) || ', which is not recorded' "
            + "FROM extent x LEFT JOIN pack p ON p.id = x.pack WHERE p.id IS NULL AND x.pack < \(firstForeign)",
        // What was imported
        "SELECT 'inode ' || x.inode || ' names foreign object ' || x.pack || ', which is not recorded' FROM extent x "
            + "LEFT JOIN foreign_object f ON f.id = x.pack WHERE f.id IS NULL AND x.pack >= \(firstForeign)",
        "SELECT 'foreign object ' || quote(f.key) || ' has ' || f.size || ' bytes, and inode ' || x.inode "
            + "|| ' names bytes up to ' || (x.start + x.length) FROM extent x JOIN foreign_object f ON f.id = x.pack "
            + "WHERE x.pack >= \(firstForeign) AND x.start + x.length > f.size",
        "SELECT 'foreign object ' || quote(f.key) || ' counts ' || f.live || ' live bytes and has ' || COALESCE(n.bytes, 0) "
            + "FROM foreign_object f LEFT JOIN (SELECT pack, SUM(length) AS bytes FROM extent WHERE pack >= \(firstForeign) "
            + "GROUP BY pack) n ON n.pack = f.id WHERE f.live <> COALESCE(n.bytes, 0) OR f.live = 0",
        "SELECT 'foreign object ' || quote(f.key) || ' is of source ' || f.source || ', which is not recorded' "
            + "FROM foreign_object f LEFT JOIN source s ON s.id = f.source WHERE s.id IS NULL",
        "SELECT 'foreign object ' || MAX(id) || ' is past the next number to be given' FROM foreign_object "
            + "HAVING (MAX(id) >> 24) & \(PackID.foreignLimit - 1) >= COALESCE((SELECT CAST(value AS INTEGER) FROM setting "
            + "WHERE key = 'next_foreign'), 1)",
        "SELECT 'pack ' || printf('%08x-%08x', p.id >> 32, p.id & 4294967295) || ' counts ' || p.live || ' live bytes and has ' || COALESCE(n.bytes, 0) "
            + "FROM pack p LEFT JOIN (SELECT pack, SUM(length) AS bytes FROM extent GROUP BY pack) n ON n.pack = p.id "
            + "WHERE p.live <> COALESCE(n.bytes, 0)",
        "SELECT 'pack ' || printf('%08x-%08x', h.pack >> 32, h.pack & 4294967295) || ' is held and not recorded' "
            + "FROM held h LEFT JOIN pack p ON p.id = h.pack WHERE p.id IS NULL",
        "SELECT 'pack ' || printf('%08x-%08x', p.id >> 32, p.id & 4294967295) || ' is to be deleted and is needed' "
            + "FROM pack p WHERE p.state = \(PackState.doomed.rawValue) AND (p.live > 0 OR p.id IN (SELECT pack FROM held))",
        "SELECT 'hold ' || hold || ' is that of nobody' FROM held WHERE hold NOT IN (SELECT id FROM hold) GROUP BY hold",
        // What belongs to an inode
        "SELECT 'attribute ' || quote(x.name) || ' belongs to inode ' || x.inode || ', which is not there' FROM xattr x "
            + "LEFT JOIN inode i ON i.id = x.inode WHERE i.id IS NULL",
        "SELECT 'inode ' || i.id || ' is a symbolic link without its target' FROM inode i LEFT JOIN symlink s ON s.inode = i.id "
            + "WHERE i.mode & \(typeBits) = \(0o120000) AND (s.inode IS NULL OR length(s.target) <> i.size)",
        "SELECT 'link target of inode ' || s.inode || ' has no link' FROM symlink s LEFT JOIN inode i ON i.id = s.inode "
            + "WHERE i.id IS NULL OR i.mode & \(typeBits) <> \(0o120000)",
        // Counters
        "SELECT 'the volume counts ' || used || ' inodes and has ' || (SELECT COUNT(*) FROM inode) FROM quota "
            + "WHERE name = 'files' AND used <> (SELECT COUNT(*) FROM inode)",
        "SELECT 'the volume counts ' || used || ' bytes and has ' || \(allBytes) FROM quota "
            + "WHERE name = 'bytes' AND used <> \(allBytes)",
        "SELECT 'the volume counts ' || used || ' names of files beyond their first and has ' || n.links FROM quota, "
            + "\(moreNames) n WHERE name = 'links' AND used <> n.links",
        "SELECT 'the counter of ' || name || ' is missing' FROM (SELECT 'files' AS name UNION ALL SELECT 'bytes' UNION ALL SELECT 'links') "
            + "WHERE name NOT IN (SELECT name FROM quota)",
        "SELECT 'inode ' || MAX(id) || ' is past the next number to be given' FROM inode "
            + "HAVING MAX(id) >= (SELECT CAST(value AS INTEGER) FROM setting WHERE key = 'next_inode')",
    ]

    /// Directories that no path leads to: a ring, or below one.
    private mutating func checkReachability() throws(SQLiteFailure) {
        try apply(
            "WITH RECURSIVE reached(id) AS (SELECT 1 UNION SELECT e.inode FROM reached r JOIN entry e ON e.parent = r.id "
                + "JOIN inode i ON i.id = e.inode WHERE i.mode & \(Self.typeBits) = \(Self.directory)) "
                + "SELECT 'directory ' || d.id || ' cannot be reached from the root' FROM inode d "
                + "WHERE d.mode & \(Self.typeBits) = \(Self.directory) AND d.nlink > 0 AND d.id NOT IN (SELECT id FROM reached)"
        )
    }

    private mutating func collectPacks() throws(SQLiteFailure) {
        let statement = try connection.prepare(
            "SELECT p.id, p.state, p.raw, p.stored, p.live, COALESCE(n.finish, 0) FROM pack p "
                + "LEFT JOIN (SELECT pack, MAX(start + length) AS finish FROM extent GROUP BY pack) n ON n.pack = p.id")
        while true {
            switch statement.step() {
            case SQLITE_ROW:
                guard let state = PackState(rawValue: statement.integer(1)) else {
                    report.problems.add(
                        "pack \(PackID(packed: statement.integer(0))) is in state \(statement.integer(1)), which means nothing"
                    )
                    continue
                }
                let record = PackRecord(
                    id: PackID(packed: statement.integer(0)), state: state, rawLength: statement.unsigned(2),
                    storedLength: statement.unsigned(3), liveBytes: statement.unsigned(4))
                report.packs.append(.init(record: record, rawEnd: statement.unsigned(5)))
            case SQLITE_DONE: return
            case let code: throw connection.failure(code)
            }
        }
    }

    private func number(_ sql: String) throws(SQLiteFailure) -> UInt64 {
        do throws(SQLiteFailure) {
            return try connection.text(sql).flatMap { UInt64($0) } ?? 0
        } catch {
            // The rules tell which numbers they are.
            guard error.isOverflow else { throw error }
            return 0
        }
    }
}
