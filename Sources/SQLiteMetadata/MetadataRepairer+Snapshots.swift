import FileModel

/// Who needs packs beside the extents. What a snapshot's copy names is held again by nobody: a hold that is lost is not made
/// up, because nothing here says what it held.
extension MetadataRepairer {
    /// After live bytes are counted.
    static let holds = [
        Step(
            words: "holds of nobody", sql: "DELETE FROM held WHERE hold NOT IN (SELECT id FROM hold)"),
        // As if in staging: the next opening looks for it there, and then in the store.
        Step(
            words: "packs that are held and were not recorded",
            sql:
                "INSERT INTO pack (id, state, raw, stored, live) SELECT DISTINCT pack, \(PackState.staged.rawValue), 0, 0, 0 "
                + "FROM held WHERE pack NOT IN (SELECT id FROM pack)"),
        Step(
            words: "packs that were to be deleted and are needed",
            sql: "UPDATE pack SET state = \(PackState.stored.rawValue) WHERE state = \(PackState.doomed.rawValue) "
                + "AND (live > 0 OR id IN (SELECT pack FROM held))"),
    ]
}
