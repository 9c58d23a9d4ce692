/// The rules of the trash, of quotas, and of what directories count.
///
/// A directory's count is compared with its own inodes and the counts of the directories in it: where that holds for
/// every directory of a tree, each equals a walk of all below it.
extension MetadataChecker {
    static let isDirectory = "mode & \(typeBits) = \(directory)"

    /// What each directory has itself: its inode, and every other inode with a name that is charged to it.
    private static let own =
        "(SELECT CASE WHEN \(isDirectory) THEN id ELSE parent END AS place, COUNT(*) AS inodes, "
        + "SUM(COALESCE(allocated, size)) AS bytes FROM inode WHERE nlink > 0 GROUP BY place)"

    /// What the directories in each directory count.
    private static let below =
        "(SELECT i.parent AS place, SUM(d.inodes) AS inodes, SUM(d.bytes) AS bytes FROM inode i "
        + "JOIN directory d ON d.id = i.id WHERE i.id <> 1 AND i.nlink > 0 AND i.\(isDirectory) GROUP BY i.parent)"

    static let spaceRules = [
        "SELECT 'directory ' || i.id || ' counts ' || COALESCE(d.inodes, 0) || ' inodes and ' || COALESCE(d.bytes, 0) "
            + "|| ' bytes, and has ' || (COALESCE(o.inodes, 0) + COALESCE(b.inodes, 0)) || ' and ' "
            + "|| (COALESCE(o.bytes, 0) + COALESCE(b.bytes, 0)) FROM inode i LEFT JOIN directory d ON d.id = i.id "
            + "LEFT JOIN \(own) o ON o.place = i.id LEFT JOIN \(below) b ON b.place = i.id "
            + "WHERE i.nlink > 0 AND i.\(isDirectory) AND (COALESCE(d.inodes, 0) <> COALESCE(o.inodes, 0) + COALESCE(b.inodes, 0) "
            + "OR COALESCE(d.bytes, 0) <> COALESCE(o.bytes, 0) + COALESCE(b.bytes, 0))",
        "SELECT 'usage of directory ' || d.id || ' belongs to nothing' FROM directory d LEFT JOIN inode i ON i.id = d.id "
            + "WHERE i.id IS NULL OR i.nlink = 0 OR NOT i.\(isDirectory)",
        "SELECT 'directory ' || i.id || ' has not the name that is noted for it' FROM inode i "
            + "LEFT JOIN directory d ON d.id = i.id LEFT JOIN entry e ON e.parent = i.parent AND e.name = d.name "
            + "WHERE i.nlink > 0 AND i.\(isDirectory) AND i.id <> 1 AND e.inode IS NOT i.id",
        "SELECT 'inode ' || i.id || ' is charged to ' || COALESCE('inode ' || i.parent, 'nobody') || ', which does not list it' "
            + "FROM inode i LEFT JOIN (SELECT DISTINCT inode, parent FROM entry) e ON e.inode = i.id AND e.parent = i.parent "
            + "WHERE i.nlink > 0 AND NOT i.\(isDirectory) AND e.inode IS NULL",
        "SELECT 'quota of inode ' || q.directory || ' is of no directory' FROM directory_quota q "
            + "LEFT JOIN inode i ON i.id = q.directory WHERE i.id IS NULL OR i.nlink = 0 OR NOT i.\(isDirectory)",
        // Files with several names: as many rows as the entries say, and no others.
        "SELECT 'inode ' || h.inode || ' counts ' || h.names || ' names in directory ' || h.directory || ' and has ' || COALESCE(n.names, 0) "
            + "FROM hardlink h LEFT JOIN (SELECT inode, parent, COUNT(*) AS names FROM entry GROUP BY inode, parent) n "
            + "ON n.inode = h.inode AND n.parent = h.directory LEFT JOIN inode i ON i.id = h.inode "
            + "WHERE h.names <> COALESCE(n.names, 0) OR COALESCE(i.nlink, 0) < 2",
        "SELECT 'inode ' || i.id || ' has ' || i.nlink || ' links and counts ' || COALESCE(h.names, 0) || ' names' FROM inode i "
            + "LEFT JOIN (SELECT inode, SUM(names) AS names FROM hardlink GROUP BY inode) h ON h.inode = i.id "
            + "WHERE i.nlink > 1 AND NOT i.\(isDirectory) AND i.nlink <> COALESCE(h.names, 0)",
        // The trash
        "SELECT 'inode ' || i.id || ' has no name and is neither an orphan nor in the trash' FROM inode i "
            + "LEFT JOIN orphan o ON o.inode = i.id LEFT JOIN trash t ON t.inode = i.id "
            + "WHERE i.nlink = 0 AND o.inode IS NULL AND t.inode IS NULL",
        "SELECT 'trash ' || t.id || ' holds inode ' || t.inode || ', which is not there, has a name, or is no such thing' FROM trash t "
            + "LEFT JOIN inode i ON i.id = t.inode LEFT JOIN orphan o ON o.inode = t.inode "
            + "WHERE i.id IS NULL OR i.nlink <> 0 OR i.parent IS NOT t.parent OR o.inode IS NOT NULL OR t.directory <> (i.\(isDirectory))",
        "SELECT 'inode ' || inode || ' is in the trash ' || COUNT(*) || ' times' FROM trash GROUP BY inode HAVING COUNT(*) > 1",
        "SELECT 'trash ' || t.id || ' was in inode ' || t.parent || ', which is neither a directory nor was one' FROM trash t "
            + "LEFT JOIN inode p ON p.id = t.parent AND p.\(isDirectory) LEFT JOIN trash d ON d.inode = t.parent AND d.directory = 1 "
            + "WHERE p.id IS NULL OR (p.nlink = 0 AND d.id IS NULL)",
        "SELECT 'the volume counts ' || used || ' inodes in the trash and has ' || (SELECT COUNT(*) FROM trash) FROM quota "
            + "WHERE name = 'trash-files' AND used <> (SELECT COUNT(*) FROM trash)",
        "SELECT 'the volume counts ' || used || ' bytes in the trash and has ' || n.bytes FROM quota, (SELECT "
            + "COALESCE(SUM(COALESCE(i.allocated, i.size)), 0) AS bytes FROM trash t JOIN inode i ON i.id = t.inode) n "
            + "WHERE name = 'trash-bytes' AND used <> n.bytes",
    ]
}
