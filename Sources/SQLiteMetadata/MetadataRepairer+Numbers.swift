import FileModel

/// Numbers that nothing can have, before anything is counted. What they were is lost, and nothing else: times come to the
/// end of what there is, owners become the volume's user, sizes follow from the data.
extension MetadataRepairer {
    private typealias Wrong = ImpossibleNumbers

    static let numbers: [Step] =
        renumbering + [
            Step(words: "extents that mean nothing", sql: "DELETE FROM extent WHERE \(Wrong.isWrongExtent)"),
            // What has names in it was a directory, what has a target a link.
            Step(
                words: "modes that no inode has",
                sql: "UPDATE inode SET mode = (CAST(mode AS INTEGER) & \(0o7777)) | CASE "
                    + "WHEN id = 1 OR id IN (SELECT parent FROM entry) THEN \(FileKind.directory.rawValue) "
                    + "WHEN id IN (SELECT inode FROM symlink) THEN \(FileKind.symbolicLink.rawValue) "
                    + "ELSE \(FileKind.regular.rawValue) END WHERE \(Wrong.isWrongMode)"),
        ]
        + steps("owners that nobody is", Wrong.owners) { _ in "0" }
        + steps("times that no clock shows", Wrong.times, clamped)
        + steps("link counts that no inode has", Wrong.links) { _ in "0" }
        + steps("device numbers that there are not", Wrong.devices) { _ in "0" }
        + steps("sizes that no file has", Wrong.sizes) { _ in
            "COALESCE((SELECT MAX(offset + length) FROM extent x WHERE x.inode = inode.id), 0)"
        }
        + steps("counts of bytes that no file has", Wrong.allocations) { _ in "0" }
        // Staged, until a look at staging and the store says otherwise.
        + steps("lengths that no pack has", Wrong.packLengths) { _ in "0, state = \(PackState.staged.rawValue)" }
        + steps("states that no pack is in", Wrong.packStates) { _ in "\(PackState.staged.rawValue)" }
        + removals("packs with impossible numbers", Wrong.packNumbers)
        + removals("holds of packs with impossible numbers", Wrong.heldPacks)
        + steps("sizes that no imported object has", Wrong.foreignSizes) { _ in
            "COALESCE((SELECT MAX(start + length) FROM extent x WHERE x.pack = foreign_object.id), 0)"
        }
        + steps("times that no imported object has", Wrong.foreignTimes, clamped)
        + removals("imported objects with impossible numbers", Wrong.foreignNumbers)
        + steps("times of deletion that no clock shows", Wrong.trashTimes, clamped)
        + steps("owners of deletions that nobody is", Wrong.trashOwners) { _ in "0" }
        + steps("quotas that limit nothing", Wrong.quotas) { _ in "NULL" }
        + steps("times of snapshots that no clock shows", Wrong.holdTimes, clamped)
        + steps("counts of snapshots", Wrong.holdCounts) { _ in "0" }
        + steps("kinds and states of snapshots", Wrong.holdKinds) { $0.name == "kind" ? "0" : "1" }
        + settings

    private static func steps(_ words: String, _ columns: [Wrong.Column], _ value: (Wrong.Column) -> String) -> [Step] {
        columns.map { column in
            Step(
                words: words,
                sql: "UPDATE OR IGNORE \(column.table) SET \(column.name) = \(value(column)) WHERE \(column.isWrong)")
        }
    }

    private static func removals(_ words: String, _ columns: [Wrong.Column]) -> [Step] {
        columns.map { Step(words: words, sql: "DELETE FROM \($0.table) WHERE \($0.isWrong)") }
    }

    /// The nearest number that the column may hold; of what is no number, the least but 0.
    private static func clamped(_ column: Wrong.Column) -> String {
        "CASE WHEN typeof(\(column.name)) IN ('integer', 'real') THEN CASE WHEN \(column.name) > 0 "
            + "THEN \(column.range.upperBound) ELSE \(Wrong.literal(column.range.lowerBound)) END ELSE 0 END"
    }

    /// Every column that names an inode.
    private static let references = [
        (table: "inode", column: "parent"), ("entry", "inode"), ("entry", "parent"), ("extent", "inode"),
        ("symlink", "inode"), ("xattr", "inode"), ("orphan", "inode"), ("directory", "id"),
        ("directory_quota", "directory"), ("hardlink", "inode"), ("hardlink", "directory"), ("trash", "inode"),
        ("trash", "parent"),
    ]

    /// Rows get the next numbers that there are, wherever they are named.
    private static let renumbering = [
        renumbering("inodes with impossible numbers, which have others now", Wrong.inodes, references),
        renumbering("things in the trash with impossible numbers, which have others now", Wrong.trashNumbers, []),
        renumbering(
            "snapshots with impossible numbers, which have others now", Wrong.holdNumbers, [("held", "hold")]),
    ]

    private static func renumbering(
        _ words: String, _ columns: [Wrong.Column], _ references: [(table: String, column: String)]
    ) -> Step {
        let table = columns[0].table
        let wrong = columns[0].isWrong
        let begin =
            "DROP TABLE IF EXISTS temp.renumbered; CREATE TEMP TABLE renumbered (old INTEGER PRIMARY KEY, new INTEGER NOT NULL); "
            + "INSERT INTO renumbered SELECT id, (SELECT COALESCE(MAX(id), 1) FROM \(table) WHERE NOT (\(wrong))) "
            + "+ ROW_NUMBER() OVER (ORDER BY id) FROM \(table) WHERE \(wrong)"
        // What is counted are the changes of the last statement: the rows themselves come last.
        let changes = (references + [(table, "id")]).map { table, column in
            "UPDATE OR IGNORE \(table) SET \(column) = (SELECT new FROM renumbered WHERE old = \(column)) "
                + "WHERE \(column) IN (SELECT old FROM renumbered)"
        }
        return Step(words: words, sql: ([begin] + changes).joined(separator: "; "))
    }

    /// The next number is past each that is in use.
    private static let settings = [
        Step(
            words: "next inode number that there is not",
            sql:
                "UPDATE setting SET value = (SELECT CAST(COALESCE(MAX(id), 0) + 1 AS TEXT) FROM inode) WHERE \(Wrong.wrongNextInode)"
        ),
        // Far past what a writer can have used that this database does not know of.
        Step(
            words: "epoch that there is not",
            sql:
                "UPDATE setting SET value = (SELECT CAST(MIN((COALESCE(MAX(id), 0) >> 32) + 65536, \(PackID.firstForeignEpoch - 65536)) AS TEXT) FROM pack) WHERE \(Wrong.wrongEpoch)"
        ),
        Step(
            words: "next number of an imported object that there is not",
            sql:
                "UPDATE setting SET value = (SELECT CAST(((COALESCE(MAX(id), 0) >> 24) & \(PackID.foreignLimit - 1)) + 1 AS TEXT) "
                + "FROM foreign_object) WHERE \(Wrong.wrongNextForeign)"),
        // Past names whose rows damage took, and which lists may still hold.
        Step(
            words: "next id of a user or group by name that there is not",
            sql:
                "UPDATE setting SET value = (SELECT CAST(MIN(COALESCE(MAX(id), \(NamedAccount.firstID)) + 1024, "
                + "\(UInt64(NamedAccount.firstID) + UInt64(NamedAccount.limit))) AS TEXT) FROM account) WHERE \(Wrong.wrongNextAccount)"
        ),
        Step(
            words: "number of the last snapshot that there is not",
            sql:
                "UPDATE setting SET value = (SELECT CAST(MAX(COALESCE(MAX(id), 0), 0) AS TEXT) FROM hold) WHERE \(Wrong.wrongLastHold)"
        ),
    ]
}
