extension Schema {
    /// From now on `allocated` counts the names and values of extended attributes and the targets of links, too, and so
    /// does all that is added up from it; names of files beyond their first are counted (decision 0076). A volume that has none is not looked through.
    static let attributes = """
        CREATE TEMP TABLE more (id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);
        INSERT INTO more SELECT inode, SUM(bytes) FROM (
            SELECT inode, length(name) + length(value) AS bytes FROM xattr
            UNION ALL SELECT inode, length(target) FROM symlink) WHERE inode IN (SELECT id FROM inode) GROUP BY inode;
        CREATE TEMP TABLE above (id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);
        INSERT INTO above
            WITH RECURSIVE own (directory, bytes) AS MATERIALIZED (
                SELECT CASE WHEN i.mode & 61440 = 16384 THEN i.id ELSE i.parent END AS place, SUM(m.bytes)
                FROM more m JOIN inode i ON i.id = m.id WHERE i.nlink > 0 AND i.parent IS NOT NULL GROUP BY place),
            up (directory, id) AS (
                SELECT directory, directory FROM own
                UNION SELECT u.directory, i.parent FROM up u JOIN inode i ON i.id = u.id WHERE u.id <> 1)
            SELECT u.id, SUM(o.bytes) FROM up u JOIN own o USING (directory) WHERE u.id IS NOT NULL GROUP BY u.id;
        UPDATE directory SET bytes = directory.bytes + a.bytes FROM above a WHERE a.id = directory.id;
        UPDATE inode SET allocated = m.bytes + CASE WHEN mode & 61440 = 32768 THEN COALESCE(allocated, size) ELSE 0 END
            FROM more m WHERE m.id = inode.id;
        UPDATE quota SET used = used + (SELECT COALESCE(SUM(bytes), 0) FROM more) WHERE name = 'bytes';
        UPDATE quota SET used = used + (
            SELECT COALESCE(SUM(m.bytes), 0) FROM more m JOIN trash t ON t.inode = m.id) WHERE name = 'trash-bytes';
        INSERT INTO quota SELECT 'links', COALESCE(SUM(names), 0) - COUNT(DISTINCT inode) FROM hardlink;
        DROP TABLE above;
        DROP TABLE more;
        """
}
