import FileModel

/// Numbers that no column of a volume can hold: of an older program, or of a damaged database. Readers clamp them or
/// refuse the row; the checker tells of each, and the repairer mends it before anything is counted.
enum ImpossibleNumbers {
    /// One column, and what may stand in it.
    struct Column {
        var table: String
        /// What names a row for people, in SQL.
        var row: String
        var name: String
        var range: ClosedRange<Int64>

        /// True of a row that is wrong. NULL means something else.
        var isWrong: String {
            "(\(name) IS NOT NULL AND (typeof(\(name)) <> 'integer' OR \(name) < \(ImpossibleNumbers.literal(range.lowerBound)) "
                + "OR \(name) > \(range.upperBound)))"
        }

    }

    /// One pass over a table, whatever it has columns.
    private static func rule(_ columns: [Column]) -> String {
        let words = columns.map { "WHEN \($0.isWrong) THEN ' has \($0.name) ' || quote(\($0.name))" }
        return "SELECT \(columns[0].row) || CASE \(words.joined(separator: " ")) END FROM \(columns[0].table) WHERE "
            + columns.map(\.isWrong).joined(separator: " OR ")
    }

    /// SQLite reads the least number as the negation of one that is too large.
    static func literal(_ number: Int64) -> String { number == .min ? "(-9223372036854775807 - 1)" : "\(number)" }

    private static let anything = Int64(0)...Int64.max
    private static let word = Int64(0)...Int64(UInt32.max)
    /// The largest stands for nobody (`(uid_t)-1`).
    private static let owner = Int64(0)...Int64(UInt32.max) - 1
    private static let time = Timestamp.earliest.nanoseconds...Timestamp.latest.nanoseconds
    private static let inodeNumber = Int64(1)...Int64(InodeID.limit - 1)
    private static let packLength = Int64(0)...Int64(PackRecord.lengthLimit)
    private static let firstForeign = MetadataChecker.firstForeign
    /// From here on numbers are those of the cache.
    private static let firstSegment = PackID(cacheSegment: 0).packed

    static let owners = inode(["uid", "gid"], owner)
    static let times = inode(["mtime", "atime", "ctime"], time)
    static let links = inode(["nlink"], word)
    static let devices = inode(["rdev"], word)
    static let sizes = inode(["size"], anything)
    static let allocations = inode(["allocated"], anything)
    static let inodes = inode(["id"], inodeNumber)
    static let packLengths = columns("pack", "'pack ' || id", ["raw", "stored"], packLength)
    static let packStates = columns("pack", "'pack ' || id", ["state"], 0...2)
    static let packNumbers = columns("pack", "'pack ' || id", ["id"], 0...firstForeign - 1)
    static let foreignSizes = columns(
        "foreign_object", "'foreign object ' || id", ["size"], 0...Int64(PackID.foreignByteLimit))
    static let foreignTimes = columns("foreign_object", "'foreign object ' || id", ["mtime"], time)
    static let foreignNumbers = columns(
        "foreign_object", "'foreign object ' || id", ["id"], firstForeign...firstSegment - 1)
    static let trashNumbers = columns("trash", "'trash ' || id", ["id"], 1...SQLiteTransaction.trashLimit - 1)
    static let trashTimes = columns("trash", "'trash ' || id", ["deleted"], time)
    static let trashOwners = columns("trash", "'trash ' || id", ["uid"], owner)
    static let quotas = columns("directory_quota", "'quota of inode ' || directory", ["bytes", "inodes"], anything)
    static let holdNumbers = columns("hold", "'hold ' || id", ["id"], 1...1 << 62 - 1)
    static let heldPacks = columns("held", "'hold ' || hold", ["pack"], 0...firstForeign - 1)
    static let holdTimes = columns("hold", "'hold ' || id", ["created"], time)
    static let holdCounts = columns("hold", "'hold ' || id", ["files", "bytes"], anything)
    static let holdKinds = columns("hold", "'hold ' || id", ["kind", "state"], 0...1)

    private static let all: [[Column]] = [
        owners, times, links, devices, sizes, allocations, inodes, packLengths, packStates, packNumbers, foreignSizes,
        foreignTimes, foreignNumbers, trashNumbers, trashTimes, trashOwners, quotas, holdNumbers, heldPacks, holdTimes,
        holdCounts,
        holdKinds,
    ]

    private static func inode(_ names: [String], _ range: ClosedRange<Int64>) -> [Column] {
        columns("inode", "'inode ' || id", names, range)
    }

    private static func columns(
        _ table: String, _ row: String, _ names: [String], _ range: ClosedRange<Int64>
    ) -> [Column] {
        names.map { Column(table: table, row: row, name: $0, range: range) }
    }

    /// `st_mode`: a type that there is, and permission bits.
    static let isWrongMode =
        "(typeof(mode) <> 'integer' OR mode < 0 OR mode > \(0o177777) OR mode & \(MetadataChecker.typeBits) NOT IN ("
        + FileKind.allCases.map { "\($0.rawValue)" }.joined(separator: ", ") + "))"

    /// As `Extent.isPossible`.
    static let isWrongExtent =
        "(typeof(offset) <> 'integer' OR typeof(length) <> 'integer' OR typeof(pack) <> 'integer' OR typeof(start) <> 'integer' "
        + "OR length <= 0 OR offset < 0 OR start < 0 OR pack < 0 OR pack >= \(firstSegment) OR length > \(Int64.max) - offset OR start > "
        + "(CASE WHEN pack >= \(firstForeign) THEN \(PackID.foreignByteLimit) ELSE \(PackRecord.lengthLimit) END) - length)"

    /// The setting is there and is none of the numbers that it may be.
    static func isWrongSetting(_ key: String, _ range: ClosedRange<Int64>) -> String {
        "(key = '\(key)' AND (CAST(CAST(value AS INTEGER) AS TEXT) <> value OR CAST(value AS INTEGER) NOT BETWEEN "
            + "\(range.lowerBound) AND \(range.upperBound)))"
    }

    static let wrongNextInode = isWrongSetting("next_inode", inodeNumber)
    static let wrongEpoch = isWrongSetting("epoch", 0...Int64(PackID.firstForeignEpoch - 1))
    static let wrongNextForeign = isWrongSetting("next_foreign", 1...Int64(PackID.foreignLimit))
    static let wrongNextAccount = isWrongSetting(
        "next_account", Int64(NamedAccount.firstID)...Int64(NamedAccount.firstID) + Int64(NamedAccount.limit))
    static let wrongLastHold = isWrongSetting("last_hold", 0...1 << 62 - 1)

    static let rules: [String] =
        Dictionary(grouping: all.joined(), by: \.table).values.map(rule).sorted() + [
            "SELECT 'inode ' || id || ' has mode ' || quote(mode) FROM inode WHERE \(isWrongMode)",
            "SELECT 'inode ' || inode || ' has an extent with impossible numbers at ' || quote(offset) FROM extent WHERE \(isWrongExtent)",
        ]
        + [wrongNextInode, wrongEpoch, wrongNextForeign, wrongNextAccount, wrongLastHold].map {
            "SELECT 'the setting ' || key || ' is ' || quote(value) FROM setting WHERE \($0)"
        }
}
