import CSQLite
import FileModel

/// Files of a database that nobody has open whose data is in packs that are gone.
public struct LostData: Sendable {
    public var files: UInt64 = 0
    /// The first ones, from the root of the volume.
    public var paths: [String] = []

    /// Looks for files with bytes in `packs`. `limit` bounds the paths.
    public init(in path: String, packs: Set<PackID>, limit: Int) throws(MetadataOpenFailure) {
        guard !packs.isEmpty else { return }
        do throws(SQLiteFailure) {
            let connection = try SQLiteMetadataStore.openForCheck(path)
            defer { connection.close() }
            try connection.execute("CREATE TEMP TABLE lost (pack INTEGER PRIMARY KEY)")
            let insert = try connection.prepare("INSERT INTO lost VALUES (?)")
            for pack in packs {
                insert.bind(1, pack.packed)
                guard insert.step() == SQLITE_DONE else { throw connection.failure(SQLITE_ERROR) }
                insert.reset()
            }
            let statement = try connection.prepare(
                "SELECT DISTINCT inode FROM extent WHERE pack IN (SELECT pack FROM lost)")
            while statement.step() == SQLITE_ROW {
                files += 1
                if paths.count < limit { paths.append(try Self.path(of: statement.integer(0), connection)) }
            }
        } catch {
            throw SQLiteMetadataStore.openFailure(error, path)
        }
    }

    /// A path that leads to the inode. Each step reads the names of one directory: that where the inode counts.
    private static func path(of inode: Int64, _ connection: SQLiteConnection) throws(SQLiteFailure) -> String {
        var path = ""
        var current = inode
        for _ in 0..<4096 where current != 1 {
            let statement = try connection.prepare(
                "SELECT e.parent, e.name FROM inode i JOIN entry e ON e.parent = i.parent AND e.inode = i.id "
                    + "WHERE i.id = ? LIMIT 1")
            statement.bind(1, current)
            guard statement.step() == SQLITE_ROW else { return "inode \(inode)" }
            path = "/" + String(decoding: statement.bytes(1), as: UTF8.self) + path
            current = statement.integer(0)
        }
        return path
    }
}
