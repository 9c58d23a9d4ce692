extension Schema {
    /// Snapshots and clones: who needs packs beside the extents of this database.
    static let snapshots = """
        CREATE TABLE hold (
            id      INTEGER PRIMARY KEY,
            kind    INTEGER NOT NULL,    -- 0 a snapshot, 1 a clone
            name    TEXT    NOT NULL,    -- of the snapshot, or of the volume that is the clone
            state   INTEGER NOT NULL,    -- 0 being made, 1 whole
            created INTEGER NOT NULL,    -- nanoseconds since 1970
            files   INTEGER NOT NULL,    -- inodes and bytes of the volume at that moment
            bytes   INTEGER NOT NULL,
            UNIQUE (kind, name)
        );
        CREATE TABLE held (
            hold INTEGER NOT NULL,
            pack INTEGER NOT NULL,
            PRIMARY KEY (hold, pack)
        ) WITHOUT ROWID;
        """
}
