/// Objects that Berth has not written, and where they lie.
extension Schema {
    static let foreignObjects = """
        CREATE TABLE source (
            id      INTEGER PRIMARY KEY,
            url     TEXT NOT NULL,       -- s3://bucket or file:///directory
            options TEXT NOT NULL,       -- how it is asked, JSON; no secrets
            UNIQUE (url, options)
        );
        CREATE TABLE foreign_object (
            id     INTEGER PRIMARY KEY,  -- the pack's id in extents
            source INTEGER NOT NULL,
            key    BLOB    NOT NULL,     -- below the source's URL
            size   INTEGER NOT NULL,     -- bytes
            tag    TEXT    NOT NULL,     -- ETag, or a file's inode and device
            mtime  INTEGER NOT NULL,     -- nanoseconds since 1970
            live   INTEGER NOT NULL      -- bytes that extents name; a row without any goes with the next commit
        );
        """
}
