import CSQLite
import FileModel

extension MetadataChecker {
    /// Checks each snapshot's copy as a database of its own, and that the volume holds every pack that it names.
    mutating func checkSnapshots(_ directory: String) throws(SQLiteFailure) {
        report.clones = try connection.texts("SELECT name FROM hold WHERE kind = 1 AND state = 1").count
        let names = try connection.texts("SELECT name FROM hold WHERE kind = 0 AND state = 1 ORDER BY created")
        report.snapshots = names.count
        let places = Dictionary(
            uniqueKeysWithValues: report.packs.enumerated().map { ($0.element.record.id, $0.offset) })
        for name in names {
            do throws(SQLiteFailure) {
                try checkSnapshot(name, "\(directory)/\(name).db", places)
            } catch {
                report.problems.add("snapshot \(name): \(error.message)")
            }
        }
    }

    private mutating func checkSnapshot(
        _ name: String, _ path: String, _ places: [PackID: Int]
    ) throws(SQLiteFailure) {
        try SQLiteSnapshot.migrate(path)
        // A server may show it meanwhile: nobody changes it.
        var checker = MetadataChecker(connection: try SQLiteConnection(path: path, flags: SQLITE_OPEN_READONLY))
        try checker.run()
        let found = checker.report
        let known = Set(report.foreignIDs)
        for (id, foreign) in zip(found.foreignIDs, found.foreignObjects) where !known.contains(id) {
            report.foreignIDs.append(id)
            report.foreignObjects.append(foreign)
        }
        for line in found.problems.lines { report.problems.add("snapshot \(name): \(line)") }
        let statement = try connection.prepare(
            "SELECT 1 FROM held d JOIN hold h ON h.id = d.hold WHERE h.kind = 0 AND h.name = ? AND d.pack = ?")
        for pack in found.packs where pack.rawEnd > 0 {
            statement.bind(1, name)
            statement.bind(2, pack.record.id.packed)
            let isHeld = statement.step() == SQLITE_ROW
            statement.reset()
            if !isHeld {
                report.problems.add("snapshot \(name) names pack \(pack.record.id), which is not held for it")
            }
            // Its bytes are needed as far as the snapshot names them.
            if let index = places[pack.record.id] {
                report.packs[index].rawEnd = max(report.packs[index].rawEnd, pack.rawEnd)
            }
        }
    }
}
