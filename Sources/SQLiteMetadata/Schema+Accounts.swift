extension Schema {
    /// Users and groups of sites that the volume's own ids do not hold, by name (decision 0087). Rows are never removed: an
    /// id that inodes and access control lists name must not become another's.
    static let accounts = """
        CREATE TABLE account (
            id   INTEGER PRIMARY KEY,    -- a volume id from 0xF0000000 on
            kind INTEGER NOT NULL,       -- 0 a user, 1 a group
            name TEXT    NOT NULL,
            UNIQUE (kind, name)
        );
        """
}
