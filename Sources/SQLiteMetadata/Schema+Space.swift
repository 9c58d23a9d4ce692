extension Schema {
    /// The trash, quotas, and the usage of each directory. An inode's `parent` is from now on the directory that it is
    /// charged to: the one of its name, or of one of its names; of an inode in the trash, the one it was deleted from.
    static let space = """
        CREATE TABLE directory (
            id     INTEGER PRIMARY KEY,  -- an inode
            name   BLOB,                 -- in its parent; NULL: the root
            bytes  INTEGER NOT NULL,     -- of file data at and below it
            inodes INTEGER NOT NULL      -- at and below it, itself included
        );
        CREATE TABLE directory_quota (
            directory INTEGER PRIMARY KEY,
            bytes     INTEGER,           -- at most; NULL: no limit
            inodes    INTEGER
        );
        CREATE TABLE hardlink (          -- of files with more than one name
            inode     INTEGER NOT NULL,
            directory INTEGER NOT NULL,
            names     INTEGER NOT NULL,  -- it has in the directory
            PRIMARY KEY (inode, directory)
        ) WITHOUT ROWID;
        CREATE TABLE trash (
            id        INTEGER PRIMARY KEY,  -- in the order of deletion
            inode     INTEGER NOT NULL,
            parent    INTEGER NOT NULL,     -- the directory it was in
            name      BLOB    NOT NULL,     -- it had there
            deleted   INTEGER NOT NULL,     -- nanoseconds since 1970
            uid       INTEGER NOT NULL,     -- who deleted it, a volume id
            directory INTEGER NOT NULL      -- 1 for a directory
        );
        CREATE INDEX trash_place ON trash (parent, name);
        CREATE INDEX trash_directory ON trash (inode) WHERE directory = 1;
        INSERT INTO quota VALUES ('trash-files', 0), ('trash-bytes', 0);
        """ + "\n" + recount

    /// Says anew where each inode counts, what files with several names have, and what each directory holds. What is
    /// in the trash keeps the directory it was in.
    static let recount = """
        UPDATE inode SET parent = NULL WHERE nlink = 0;
        UPDATE inode SET parent = t.parent FROM trash t WHERE inode.id = t.inode AND nlink = 0;
        DELETE FROM hardlink;
        DELETE FROM directory;
        CREATE TEMP TABLE first_name (inode INTEGER PRIMARY KEY, parent INTEGER NOT NULL);
        INSERT INTO first_name SELECT inode, MIN(parent) FROM entry GROUP BY inode;
        UPDATE inode SET parent = f.parent FROM first_name f
            WHERE f.inode = inode.id AND mode & 61440 <> 16384 AND nlink > 0;
        DROP TABLE first_name;
        INSERT INTO hardlink SELECT e.inode, e.parent, COUNT(*) FROM entry e JOIN inode i ON i.id = e.inode
            WHERE i.nlink > 1 AND i.mode & 61440 <> 16384 GROUP BY e.inode, e.parent;
        CREATE TEMP TABLE own (directory INTEGER PRIMARY KEY, bytes INTEGER, inodes INTEGER);
        INSERT INTO own SELECT CASE WHEN mode & 61440 = 16384 THEN id ELSE parent END AS place,
            SUM(COALESCE(allocated, size)), COUNT(*) FROM inode WHERE nlink > 0 AND parent IS NOT NULL GROUP BY place;
        INSERT INTO directory
            WITH RECURSIVE above (directory, id) AS (
                SELECT directory, directory FROM own
                UNION SELECT a.directory, i.parent FROM above a JOIN inode i ON i.id = a.id WHERE a.id <> 1)
            SELECT a.id, NULL, SUM(o.bytes), SUM(o.inodes) FROM above a JOIN own o USING (directory) GROUP BY a.id;
        DROP TABLE own;
        CREATE TEMP TABLE named (id INTEGER PRIMARY KEY, name BLOB NOT NULL);
        INSERT OR IGNORE INTO named SELECT e.inode, e.name FROM entry e JOIN directory d ON d.id = e.inode;
        UPDATE directory SET name = n.name FROM named n WHERE n.id = directory.id;
        DROP TABLE named;
        """
}
