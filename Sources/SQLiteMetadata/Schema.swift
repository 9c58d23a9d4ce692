/// The tables of a volume's database, and the steps from older ones.
///
/// Read it with the sqlite3 shell while no server has the volume open. Names, link targets and attribute
/// values are BLOBs, because they are any bytes. Numbers that mostly repeat are NULL to save room: the
/// view `stat` shows them in full.
enum Schema {
    /// `PRAGMA application_id`: "Bth1". Tells our database from a foreign one.
    static let applicationID: Int32 = 0x4274_6831

    /// `PRAGMA user_version` of what this program writes.
    static let version = migrations.count

    /// `migrations[n]` leads from version n to n + 1.
    static let migrations = [first, snapshots, space, foreignObjects, attributes, accounts]

    private static let first = """
        CREATE TABLE inode (
            id        INTEGER PRIMARY KEY,
            mode      INTEGER NOT NULL,  -- st_mode: type and permission bits
            uid       INTEGER NOT NULL,  -- volume ids: 0 is the volume's user; see `accounts`
            gid       INTEGER NOT NULL,
            nlink     INTEGER NOT NULL,
            size      INTEGER NOT NULL,  -- bytes
            mtime     INTEGER NOT NULL,  -- nanoseconds since 1970
            allocated INTEGER,           -- bytes; see `attributes`; NULL: as size
            atime     INTEGER,           -- NULL: as mtime
            ctime     INTEGER,           -- NULL: as mtime
            rdev      INTEGER,           -- device nodes only
            parent    INTEGER            -- the directory it is in; see `space`
        );
        CREATE TABLE entry (
            parent INTEGER NOT NULL,
            name   BLOB    NOT NULL,
            inode  INTEGER NOT NULL,
            PRIMARY KEY (parent, name)
        ) WITHOUT ROWID;
        CREATE TABLE extent (
            inode  INTEGER NOT NULL,
            offset INTEGER NOT NULL,     -- in the file, bytes
            length INTEGER NOT NULL,     -- bytes
            pack   INTEGER NOT NULL,     -- epoch << 32 | sequence
            start  INTEGER NOT NULL,     -- in the pack's raw bytes
            PRIMARY KEY (inode, offset)
        ) WITHOUT ROWID;
        CREATE TABLE pack (
            id     INTEGER PRIMARY KEY,  -- epoch << 32 | sequence
            state  INTEGER NOT NULL,     -- 0 staged, 1 in the store
            raw    INTEGER NOT NULL,     -- raw bytes, 0 while it may grow
            stored INTEGER NOT NULL,     -- bytes of the object
            live   INTEGER NOT NULL      -- bytes that extents name
        );
        CREATE TABLE symlink (
            inode  INTEGER PRIMARY KEY,
            target BLOB NOT NULL
        );
        CREATE TABLE xattr (
            inode INTEGER NOT NULL,
            name  BLOB    NOT NULL,
            value BLOB    NOT NULL,
            PRIMARY KEY (inode, name)
        ) WITHOUT ROWID;
        CREATE TABLE orphan (
            inode INTEGER PRIMARY KEY
        );
        CREATE TABLE quota (
            name  TEXT PRIMARY KEY,      -- files, bytes, links: names beyond a file's first; of the trash
            used  INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE TABLE setting (
            key   TEXT PRIMARY KEY,
            value TEXT NOT NULL
        ) WITHOUT ROWID;
        CREATE VIEW stat AS SELECT
            id, printf('%06o', mode) AS mode, uid, gid, nlink, size,
            COALESCE(allocated, size) AS allocated,
            COALESCE(atime, mtime) AS atime, mtime, COALESCE(ctime, mtime) AS ctime, rdev, parent
            FROM inode;
        INSERT INTO quota VALUES ('files', 0), ('bytes', 0);
        INSERT INTO setting VALUES ('next_inode', '1');
        """
}
