import CSQLite
import FileModel
import Metadata

extension SQLiteTransaction {
    /// Numbers of what is in the trash are below it: they grow by one with each deletion.
    static let trashLimit: Int64 = 1 << 62

    func addToTrash(_ record: TrashRecord) throws(Errno) {
        var numbered = record
        numbered.id = nextTrash
        changed(.addToTrash(numbered))
        let statement = statements.putTrash
        statement.bind(1, nextTrash)
        statement.bind(2, record.inode.rawValue)
        statement.bind(3, record.parent.rawValue)
        statement.bind(4, record.name.bytes)
        statement.bind(5, record.deleted.nanoseconds)
        statement.bind(6, Int64(record.userID))
        statement.bind(7, record.isDirectory ? 1 : Int64(0))
        nextTrash += 1
        try run(statement)
    }

    func removeFromTrash(_ record: TrashRecord) throws(Errno) {
        changed(.removeFromTrash(record))
        statements.deleteTrash.bind(1, record.id)
        try run(statements.deleteTrash)
    }

    func trash(_ id: UInt64) throws(Errno) -> TrashRecord? {
        statements.selectTrash.bind(1, id)
        return try first(statements.selectTrash, Self.readTrash)
    }

    func trash(after id: UInt64, limit: Int) throws(Errno) -> [TrashRecord] {
        statements.listTrash.bind(1, id)
        statements.listTrash.bind(2, Int64(limit))
        return try all(statements.listTrash, Self.readTrash)
    }

    func trash(named name: FileName, in directory: InodeID) throws(Errno) -> [TrashRecord] {
        statements.selectTrashNamed.bind(1, directory.rawValue)
        statements.selectTrashNamed.bind(2, name.bytes)
        return try all(statements.selectTrashNamed, Self.readTrash)
    }

    func trashedNames(in directory: InodeID, after name: FileName?, limit: Int) throws(Errno) -> [FileName] {
        statements.listTrashedNames.bind(1, directory.rawValue)
        // No name is empty, so all come after it.
        statements.listTrashedNames.bind(2, name?.bytes ?? [])
        statements.listTrashedNames.bind(3, Int64(limit))
        return try all(statements.listTrashedNames) { FileName(trusted: $0.bytes(0)) }
    }

    func trashedDirectory(_ inode: InodeID) throws(Errno) -> TrashRecord? {
        statements.selectTrashedDirectory.bind(1, inode.rawValue)
        return try first(statements.selectTrashedDirectory, Self.readTrash)
    }

    func trashUsage() throws(Errno) -> Usage { trashed.usage }

    private static func readTrash(_ row: SQLiteStatement) -> TrashRecord {
        TrashRecord(
            id: row.unsigned(0), inode: InodeID(rawValue: row.unsigned(1)), parent: InodeID(rawValue: row.unsigned(2)),
            name: FileName(trusted: row.bytes(3)), deleted: Timestamp(nanoseconds: row.integer(4)),
            userID: UInt32(truncatingIfNeeded: row.integer(5)), isDirectory: row.integer(6) == 1)
    }
}
