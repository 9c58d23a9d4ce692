import CSQLite
import FileModel
import Metadata

/// Foreign objects. There may be as many as files, so that they stay in their table; only what changed since the last
/// flush is in memory.
extension SQLiteTransaction {
    func sources() throws(Errno) -> [ForeignSource] {
        try all(statements.foreign.listSources) { row in
            ForeignSource(id: row.integer(0), url: row.text(1) ?? "", options: row.text(2) ?? "")
        }
    }

    func addSource(_ url: String, options: String) throws(Errno) -> ForeignSource {
        if let known = try sources().first(where: { $0.url == url && $0.options == options }) { return known }
        changed(.addSource(url, options: options))
        statements.foreign.putSource.bind(1, url)
        statements.foreign.putSource.bind(2, options)
        try run(statements.foreign.putSource)
        guard let added = try sources().first(where: { $0.url == url && $0.options == options }) else {
            throw corrupt("a source that was just written is not there")
        }
        return added
    }

    func foreignObject(_ id: PackID) throws(Errno) -> ForeignObject? {
        statements.foreign.selectForeign.bind(1, id.packed)
        guard let found = try first(statements.foreign.selectForeign, Self.readForeign) else { return nil }
        try requirePossible(found, id)
        return found
    }

    private func requirePossible(_ object: ForeignObject, _ id: PackID) throws(Errno) {
        guard object.size <= PackID.foreignByteLimit else {
            throw corrupt("foreign object \(id) has \(object.size) bytes")
        }
    }

    func foreignObjects(
        after id: PackID?, limit: Int
    ) throws(Errno) -> [(id: PackID, object: ForeignObject)] {
        statements.foreign.listForeign.bind(1, id?.packed ?? 0)
        statements.foreign.listForeign.bind(2, Int64(limit))
        let found = try all(statements.foreign.listForeign) {
            (id: PackID(packed: $0.integer(5)), object: Self.readForeign($0))
        }
        for (id, object) in found { try requirePossible(object, id) }
        return found
    }

    func addForeignObject(_ object: ForeignObject) throws(Errno) -> PackID {
        // Before the number is taken: a body that throws has changed nothing.
        let number = try nextForeignNumber()
        guard number < PackID.foreignLimit else { throw .noSpace }
        changed(.addForeignObject(object, number: number))
        nextForeign = number + 1
        try putSetting(Self.nextForeignKey, "\(number + 1)")
        let id = PackID(foreign: number)
        let statement = statements.foreign.putForeign
        statement.bind(1, id.packed)
        statement.bind(2, object.source)
        statement.bind(3, object.key)
        statement.bind(4, object.size)
        statement.bind(5, object.tag)
        statement.bind(6, object.modified.nanoseconds)
        try run(statement)
        // One that no extent comes to name goes with the next commit.
        foreignChanges[id] = 0
        return id
    }

    private static let nextForeignKey = "next_foreign"

    /// Numbers are never used twice: what the cache holds of an object stays true.
    func nextForeignNumber() throws(Errno) -> UInt64 {
        if let nextForeign { return nextForeign }
        return try setting(Self.nextForeignKey).flatMap { UInt64($0) } ?? 1
    }

    /// Writes how many bytes extents name, and removes what none names.
    func flushForeign() throws(Errno) {
        for (id, change) in foreignChanges {
            statements.foreign.changeForeign.bind(1, id.packed)
            statements.foreign.changeForeign.bind(2, change)
            try run(statements.foreign.changeForeign)
            statements.foreign.deleteForeign.bind(1, id.packed)
            try run(statements.foreign.deleteForeign)
        }
        foreignChanges.removeAll(keepingCapacity: true)
    }

    private static func readForeign(_ row: SQLiteStatement) -> ForeignObject {
        ForeignObject(
            source: row.integer(0), key: row.bytes(1), size: row.unsigned(2), tag: row.text(3) ?? "",
            modified: Timestamp(nanoseconds: row.integer(4)))
    }
}
