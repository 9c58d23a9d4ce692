/// Every statement, prepared once.
final class Statements {
    static let inodeColumns =
        "i.id, i.mode, i.uid, i.gid, i.nlink, i.size, i.mtime, i.allocated, i.atime, i.ctime, i.rdev, i.parent"

    private static let attributeSize = "SELECT length(name) + length(value) FROM xattr WHERE inode = ? AND name = ?"
    private static let attributeSizes =
        "SELECT COALESCE(SUM(length(name) + length(value)), 0), COALESCE(SUM(length(name) + 1), 0) FROM xattr WHERE inode = ?"

    let selectInode: SQLiteStatement
    let putInode: SQLiteStatement
    let deleteInode: SQLiteStatement
    let selectEntry: SQLiteStatement
    let listFirst: SQLiteStatement
    let listAfter: SQLiteStatement
    let anyEntry: SQLiteStatement
    let putEntry: SQLiteStatement
    let deleteEntry: SQLiteStatement
    let selectExtents: SQLiteStatement
    let selectExtentBefore: SQLiteStatement
    let selectExtentFrom: SQLiteStatement
    let putExtent: SQLiteStatement
    let deleteExtent: SQLiteStatement
    let selectTarget: SQLiteStatement
    let putTarget: SQLiteStatement
    let deleteTarget: SQLiteStatement
    let selectAttribute: SQLiteStatement
    let listAttributes: SQLiteStatement
    let measureAttribute: SQLiteStatement
    let measureAttributes: SQLiteStatement
    let putAttribute: SQLiteStatement
    let deleteAttribute: SQLiteStatement
    let deleteAttributes: SQLiteStatement
    let putOrphan: SQLiteStatement
    let deleteOrphan: SQLiteStatement
    let listOrphans: SQLiteStatement
    let putPack: SQLiteStatement
    let deletePack: SQLiteStatement
    let putQuota: SQLiteStatement
    let selectUsage: SQLiteStatement
    let putUsage: SQLiteStatement
    let putDirectoryName: SQLiteStatement
    let selectDirectoryName: SQLiteStatement
    let selectNameOfFile: SQLiteStatement
    let deleteDirectory: SQLiteStatement
    let putDirectoryQuota: SQLiteStatement
    let deleteDirectoryQuota: SQLiteStatement
    let selectHardLinks: SQLiteStatement
    let putHardLink: SQLiteStatement
    let deleteHardLink: SQLiteStatement
    let putTrash: SQLiteStatement
    let deleteTrash: SQLiteStatement
    let selectTrash: SQLiteStatement
    let listTrash: SQLiteStatement
    let selectTrashNamed: SQLiteStatement
    let listTrashedNames: SQLiteStatement
    let selectTrashedDirectory: SQLiteStatement
    let selectSetting: SQLiteStatement
    let putSetting: SQLiteStatement
    let foreign: ForeignStatements

    init(_ c: SQLiteConnection) throws(SQLiteFailure) {
        selectInode = try c.prepare("SELECT \(Self.inodeColumns) FROM inode i WHERE i.id = ?")
        putInode = try c.prepare(
            "REPLACE INTO inode (id, mode, uid, gid, nlink, size, mtime, allocated, atime, ctime, rdev, parent) "
                + "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        deleteInode = try c.prepare("DELETE FROM inode WHERE id = ?")
        selectEntry = try c.prepare("SELECT inode FROM entry WHERE parent = ? AND name = ?")
        // LEFT JOIN: an entry without a record is damage that must be seen, not hidden.
        let list = "SELECT \(Self.inodeColumns), e.inode, e.name FROM entry e LEFT JOIN inode i ON i.id = e.inode "
        listFirst = try c.prepare(list + "WHERE e.parent = ?1 ORDER BY e.name LIMIT ?3")
        listAfter = try c.prepare(list + "WHERE e.parent = ?1 AND e.name > ?2 ORDER BY e.name LIMIT ?3")
        anyEntry = try c.prepare("SELECT 1 FROM entry WHERE parent = ? LIMIT 1")
        putEntry = try c.prepare("REPLACE INTO entry (parent, name, inode) VALUES (?, ?, ?)")
        deleteEntry = try c.prepare("DELETE FROM entry WHERE parent = ? AND name = ?")
        selectExtents = try c.prepare(
            "SELECT offset, length, pack, start FROM extent WHERE inode = ?1 AND offset >= "
                + "COALESCE((SELECT MAX(offset) FROM extent WHERE inode = ?1 AND offset <= ?2), ?2) "
                + "AND offset < ?3 ORDER BY offset")
        selectExtentBefore = try c.prepare(
            "SELECT offset, length, pack, start FROM extent WHERE inode = ? AND offset < ? "
                + "ORDER BY offset DESC LIMIT 1")
        selectExtentFrom = try c.prepare(
            "SELECT offset, length, pack, start FROM extent WHERE inode = ? AND offset >= ? ORDER BY offset LIMIT 1")
        putExtent = try c.prepare("REPLACE INTO extent (inode, offset, length, pack, start) VALUES (?, ?, ?, ?, ?)")
        deleteExtent = try c.prepare("DELETE FROM extent WHERE inode = ? AND offset = ?")
        selectTarget = try c.prepare("SELECT target FROM symlink WHERE inode = ?")
        putTarget = try c.prepare("REPLACE INTO symlink (inode, target) VALUES (?, ?)")
        deleteTarget = try c.prepare("DELETE FROM symlink WHERE inode = ?")
        selectAttribute = try c.prepare("SELECT value FROM xattr WHERE inode = ? AND name = ?")
        listAttributes = try c.prepare("SELECT name FROM xattr WHERE inode = ? ORDER BY name")
        measureAttribute = try c.prepare(Self.attributeSize)
        measureAttributes = try c.prepare(Self.attributeSizes)
        putAttribute = try c.prepare("REPLACE INTO xattr (inode, name, value) VALUES (?, ?, ?)")
        deleteAttribute = try c.prepare("DELETE FROM xattr WHERE inode = ? AND name = ?")
        deleteAttributes = try c.prepare("DELETE FROM xattr WHERE inode = ?")
        putOrphan = try c.prepare("REPLACE INTO orphan (inode) VALUES (?)")
        deleteOrphan = try c.prepare("DELETE FROM orphan WHERE inode = ?")
        listOrphans = try c.prepare("SELECT inode FROM orphan ORDER BY inode LIMIT ?")
        putPack = try c.prepare("REPLACE INTO pack (id, state, raw, stored, live) VALUES (?, ?, ?, ?, ?)")
        deletePack = try c.prepare("DELETE FROM pack WHERE id = ?")
        putQuota = try c.prepare("REPLACE INTO quota (name, used) VALUES (?, ?)")
        selectUsage = try c.prepare("SELECT bytes, inodes FROM directory WHERE id = ?")
        putUsage = try c.prepare(
            "INSERT INTO directory (id, bytes, inodes) VALUES (?1, ?2, ?3) "
                + "ON CONFLICT (id) DO UPDATE SET bytes = ?2, inodes = ?3")
        putDirectoryName = try c.prepare(
            "INSERT INTO directory (id, name, bytes, inodes) VALUES (?1, ?2, 0, 0) "
                + "ON CONFLICT (id) DO UPDATE SET name = ?2")
        selectDirectoryName = try c.prepare("SELECT name FROM directory WHERE id = ?")
        selectNameOfFile = try c.prepare("SELECT name FROM entry WHERE parent = ? AND inode = ? LIMIT 1")
        deleteDirectory = try c.prepare("DELETE FROM directory WHERE id = ?")
        putDirectoryQuota = try c.prepare("REPLACE INTO directory_quota (directory, bytes, inodes) VALUES (?, ?, ?)")
        deleteDirectoryQuota = try c.prepare("DELETE FROM directory_quota WHERE directory = ?")
        selectHardLinks = try c.prepare("SELECT directory, names FROM hardlink WHERE inode = ? ORDER BY directory")
        putHardLink = try c.prepare("REPLACE INTO hardlink (inode, directory, names) VALUES (?, ?, ?)")
        deleteHardLink = try c.prepare("DELETE FROM hardlink WHERE inode = ? AND directory = ?")
        putTrash = try c.prepare(
            "INSERT INTO trash (id, inode, parent, name, deleted, uid, directory) VALUES (?, ?, ?, ?, ?, ?, ?)")
        deleteTrash = try c.prepare("DELETE FROM trash WHERE id = ?")
        let trash = "SELECT id, inode, parent, name, deleted, uid, directory FROM trash "
        selectTrash = try c.prepare(trash + "WHERE id = ?")
        listTrash = try c.prepare(trash + "WHERE id > ? ORDER BY id LIMIT ?")
        selectTrashNamed = try c.prepare(trash + "WHERE parent = ? AND name = ? ORDER BY id")
        listTrashedNames = try c.prepare(
            "SELECT DISTINCT name FROM trash WHERE parent = ? AND name > ? ORDER BY name LIMIT ?")
        selectTrashedDirectory = try c.prepare(trash + "WHERE inode = ? AND directory = 1")
        selectSetting = try c.prepare("SELECT value FROM setting WHERE key = ?")
        putSetting = try c.prepare("REPLACE INTO setting (key, value) VALUES (?, ?)")
        foreign = try ForeignStatements(c)
    }
}

/// Statements about what was imported.
final class ForeignStatements {
    let listSources: SQLiteStatement
    let putSource: SQLiteStatement
    let selectForeign: SQLiteStatement
    let listForeign: SQLiteStatement
    let putForeign: SQLiteStatement
    let changeForeign: SQLiteStatement
    let deleteForeign: SQLiteStatement

    init(_ c: SQLiteConnection) throws(SQLiteFailure) {
        listSources = try c.prepare("SELECT id, url, options FROM source ORDER BY id")
        putSource = try c.prepare("INSERT INTO source (url, options) VALUES (?, ?)")
        let columns = "source, key, size, tag, mtime"
        selectForeign = try c.prepare("SELECT \(columns) FROM foreign_object WHERE id = ?")
        listForeign = try c.prepare("SELECT \(columns), id FROM foreign_object WHERE id > ? ORDER BY id LIMIT ?")
        putForeign = try c.prepare("INSERT INTO foreign_object (id, \(columns), live) VALUES (?, ?, ?, ?, ?, ?, 0)")
        changeForeign = try c.prepare("UPDATE foreign_object SET live = MAX(0, live + ?2) WHERE id = ?1")
        deleteForeign = try c.prepare("DELETE FROM foreign_object WHERE id = ? AND live = 0")
    }
}
