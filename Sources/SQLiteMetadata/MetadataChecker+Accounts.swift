import FileModel

/// The rules of users and groups that are kept by name.
extension MetadataChecker {
    private static let first = Int64(NamedAccount.firstID)
    private static let last = Int64(NamedAccount.firstID) + Int64(NamedAccount.limit) - 1

    static let wrongAccount =
        "NOT (id BETWEEN \(first) AND \(last)) OR kind NOT IN (0, 1) OR typeof(name) <> 'text' OR name = ''"

    /// Ids of the range that inodes have, with their kind.
    static let ownersByName =
        "(SELECT uid AS id, 0 AS kind, MIN(id) AS inode FROM inode WHERE uid BETWEEN \(first) AND \(last) GROUP BY uid "
        + "UNION ALL SELECT gid, 1, MIN(id) FROM inode WHERE gid BETWEEN \(first) AND \(last) GROUP BY gid)"

    static let accountRules = [
        "SELECT 'account ' || id || ' is none' FROM account WHERE \(wrongAccount)",
        "SELECT 'inode ' || o.inode || ' belongs to ' || CASE o.kind WHEN 0 THEN 'user ' ELSE 'group ' END || o.id "
            + "|| ', whose name is lost' FROM \(ownersByName) o LEFT JOIN account a ON a.id = o.id WHERE a.id IS NULL",
    ]
}

extension MetadataRepairer {
    /// A name that no site has keeps an id from becoming that of the next name: who is in that group would get at files of
    /// another.
    static let accounts = [
        Step(
            words: "names of users and groups that were none",
            sql: "DELETE FROM account WHERE \(MetadataChecker.wrongAccount)"),
        Step(
            words: "users and groups whose names are lost",
            sql:
                "INSERT OR IGNORE INTO account SELECT o.id, o.kind, 'lost ' || o.id FROM \(MetadataChecker.ownersByName) o "
                + "WHERE o.id NOT IN (SELECT id FROM account)"),
    ]
}
