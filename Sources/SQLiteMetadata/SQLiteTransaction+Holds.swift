import CSQLite
import FileModel
import Metadata

/// Holds are few and seldom change: their statements are prepared when they are needed.
extension SQLiteTransaction {
    /// Marks the packs that any hold names.
    func loadHeld() throws(SQLiteFailure) {
        for id in packRecords.keys { packRecords[id]?.isHeld = false }
        let statement = try connection.prepare("SELECT DISTINCT pack FROM held")
        while true {
            switch statement.step() {
            case SQLITE_ROW: packRecords[PackID(packed: statement.integer(0))]?.isHeld = true
            case SQLITE_DONE: return
            case let code: throw connection.failure(code)
            }
        }
    }

    func holds() throws(Errno) -> [Hold] {
        let statement = try prepared(
            "SELECT id, kind, name, state, created, files, bytes FROM hold ORDER BY created, id")
        let found = try all(statement) { row -> Hold? in
            guard let kind = Hold.Kind(rawValue: row.integer(1)), let state = Hold.State(rawValue: row.integer(3)),
                let name = row.text(2)
            else { return nil }
            return Hold(
                id: row.integer(0), kind: kind, name: name, state: state,
                created: Timestamp(nanoseconds: row.integer(4)),
                usage: Usage(files: row.unsigned(5), bytes: row.unsigned(6)))
        }
        return found.compactMap { $0 }
    }

    private static let lastHoldKey = "last_hold"

    func addHold(_ kind: Hold.Kind, _ name: String, created: Timestamp, like: Hold.ID?) throws(Errno) -> Hold {
        let others = try holds()
        guard !others.contains(where: { $0.kind == kind && $0.name == name }) else { throw .alreadyExists }
        let model = others.first { $0.id == like }
        guard like == nil || model != nil else { throw .noEntry }
        // Never twice: kernels know inodes of snapshots by it.
        let last = try setting(Self.lastHoldKey).flatMap { Hold.ID($0) } ?? 0
        let before = max(0, last, others.map(\.id).max() ?? 0)
        guard before < Hold.ID.max else { throw .valueTooLarge }
        let id = before + 1
        changed(.addHold(kind, name, created: created, like: like))
        try putSetting(Self.lastHoldKey, "\(id)")
        let usage = model?.usage ?? used
        let insert = try prepared(
            "INSERT INTO hold (kind, name, state, created, files, bytes, id) VALUES (?, ?, 0, ?, ?, ?, ?)")
        insert.bind(1, kind.rawValue)
        insert.bind(2, name)
        insert.bind(3, created.nanoseconds)
        insert.bind(4, usage.files)
        insert.bind(5, usage.bytes)
        insert.bind(6, id)
        try run(insert)
        let packs =
            try like.map { id throws(Errno) in try self.packs(heldBy: id) }
            ?? packRecords.values.filter { $0.liveBytes > 0 }.map(\.id)
        let put = try prepared("INSERT INTO held (hold, pack) VALUES (?, ?)")
        for pack in packs.sorted() {
            put.bind(1, id)
            put.bind(2, pack.packed)
            try run(put)
            packRecords[pack]?.isHeld = true
        }
        return Hold(id: id, kind: kind, name: name, state: .making, created: created, usage: usage)
    }

    func completeHold(_ id: Hold.ID) throws(Errno) {
        changed(.completeHold(id))
        let statement = try prepared("UPDATE hold SET state = 1 WHERE id = ?")
        statement.bind(1, id)
        try run(statement)
    }

    func removeHold(_ id: Hold.ID) throws(Errno) {
        changed(.removeHold(id))
        for sql in ["DELETE FROM held WHERE hold = ?", "DELETE FROM hold WHERE id = ?"] {
            let statement = try prepared(sql)
            statement.bind(1, id)
            try run(statement)
        }
        do {
            try loadHeld()
        } catch {
            throw faulted(error.code)
        }
    }

    func packs(heldBy id: Hold.ID) throws(Errno) -> [PackID] {
        let statement = try prepared("SELECT pack FROM held WHERE hold = ? ORDER BY pack")
        statement.bind(1, id)
        return try all(statement) { PackID(packed: $0.integer(0)) }
    }

    func extents(after inode: InodeID, at offset: UInt64, limit: Int) throws(Errno) -> [OwnedExtent] {
        let statement = try prepared(
            "SELECT inode, offset, length, pack, start FROM extent WHERE (inode, offset) > (?, ?) "
                + "ORDER BY inode, offset LIMIT ?")
        statement.bind(1, inode.rawValue)
        statement.bind(2, offset)
        statement.bind(3, Int64(limit))
        return try all(statement) { row in
            OwnedExtent(
                inode: InodeID(rawValue: row.unsigned(0)),
                extent: Extent(
                    fileOffset: row.unsigned(1), length: row.unsigned(2), pack: PackID(packed: row.integer(3)),
                    packOffset: row.unsigned(4)))
        }
    }

    func prepared(_ sql: String) throws(Errno) -> SQLiteStatement {
        do {
            return try connection.prepare(sql)
        } catch {
            throw faulted(error.code)
        }
    }
}
