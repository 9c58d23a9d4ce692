import FileModel

/// What was imported. What an object was called is in its record alone: where that is lost, reads of it stay errors that say
/// that it is gone.
extension MetadataRepairer {
    private static let firstForeign = MetadataChecker.firstForeign

    static let imports = [
        Step(
            words: "imported objects whose records are lost",
            sql: "INSERT INTO foreign_object (id, source, key, size, tag, mtime, live) "
                + "SELECT pack, 0, CAST('lost-' || pack AS BLOB), MAX(start + length), '', 0, 0 FROM extent "
                + "WHERE pack >= \(firstForeign) AND pack NOT IN (SELECT id FROM foreign_object) GROUP BY pack"),
        Step(
            words: "sources of imported objects that are lost",
            sql: "INSERT INTO source (id, url, options) SELECT DISTINCT source, 'file:///lost-source-' || source, '' "
                + "FROM foreign_object WHERE source NOT IN (SELECT id FROM source)"),
        // Another size is another object: reads will say so.
        Step(
            words: "sizes of imported objects",
            sql:
                "UPDATE foreign_object SET size = (SELECT MAX(start + length) FROM extent x WHERE x.pack = foreign_object.id) "
                + "WHERE size < (SELECT MAX(start + length) FROM extent x WHERE x.pack = foreign_object.id)"),
        Step(
            words: "counts of live bytes of imported objects",
            sql:
                "UPDATE foreign_object SET live = COALESCE((SELECT SUM(length) FROM extent x WHERE x.pack = foreign_object.id), 0) "
                + "WHERE live <> COALESCE((SELECT SUM(length) FROM extent x WHERE x.pack = foreign_object.id), 0)"),
        Step(words: "imported objects that nothing names", sql: "DELETE FROM foreign_object WHERE live = 0"),
        Step(
            words: "next number of an imported object",
            sql:
                "REPLACE INTO setting SELECT 'next_foreign', ((MAX(id) >> 24) & \(PackID.foreignLimit - 1)) + 1 FROM foreign_object "
                + "HAVING ((MAX(id) >> 24) & \(PackID.foreignLimit - 1)) >= COALESCE("
                + "(SELECT CAST(value AS INTEGER) FROM setting WHERE key = 'next_foreign'), 0)"),
    ]
}
