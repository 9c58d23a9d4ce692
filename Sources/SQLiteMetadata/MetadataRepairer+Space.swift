/// The trash, quotas, and what directories count.
extension MetadataRepairer {
    /// What has no name and need not get one.
    static let kept = "(SELECT inode FROM orphan UNION SELECT inode FROM trash)"

    /// Before what nothing names is given a name.
    static let trash = [
        Step(
            words: "things in the trash that are not there, have a name, or are there twice",
            sql: "DELETE FROM trash WHERE inode NOT IN (SELECT id FROM inode) OR inode IN (SELECT inode FROM entry) "
                + "OR inode IN (SELECT inode FROM orphan) OR id NOT IN (SELECT MAX(id) FROM trash GROUP BY inode)"),
        Step(
            words: "kinds of things in the trash",
            sql: "UPDATE trash SET directory = (SELECT i.\(isDirectory) FROM inode i WHERE i.id = trash.inode) "
                + "WHERE directory <> (SELECT i.\(isDirectory) FROM inode i WHERE i.id = trash.inode)"),
        // With its directory gone it is of the root.
        Step(
            words: "things in the trash whose directory is gone",
            sql: "UPDATE trash SET parent = 1 WHERE parent NOT IN (SELECT id FROM inode WHERE \(isDirectory)) "
                + "OR parent IN (SELECT inode FROM orphan)"),
        Step(
            words: "link counts of what is in the trash",
            sql: "UPDATE inode SET nlink = 0 WHERE nlink <> 0 AND id IN (SELECT inode FROM trash)"),
        Step(
            words: "quotas of what is no directory",
            sql:
                "DELETE FROM directory_quota WHERE directory NOT IN (SELECT id FROM inode WHERE \(isDirectory) AND nlink > 0)"
        ),
    ]

    /// After everything has its names: all that follows from them, where a rule of the checker says that it is wrong.
    func recount(_ mended: inout [String]) throws(SQLiteFailure) {
        var isRight = true
        for rule in MetadataChecker.spaceRules where isRight { isRight = try connection.text(rule) == nil }
        guard !isRight else { return }
        try connection.execute(Schema.recount)
        try connection.execute(
            "REPLACE INTO quota SELECT 'trash-files', COUNT(*) FROM trash; "
                + "REPLACE INTO quota SELECT 'trash-bytes', COALESCE(SUM(COALESCE(i.allocated, i.size)), 0) "
                + "FROM trash t JOIN inode i ON i.id = t.inode")
        mended.append("counts of what directories and the trash hold")
    }
}
