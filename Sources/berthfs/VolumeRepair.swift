import FileModel
import Glibc
import LinuxSystem
import MetadataCopies
import ObjectStorage
import SQLiteMetadata
import VFS
import Volumes

/// Mends a volume that nobody has open. Its caller holds the volume's lock.
///
/// A database that is there and can be read is mended in place. One that cannot be read is set aside; the newest copy in
/// the store takes its place, and without one the packs' own record tables tell what they can.
struct VolumeRepair {
    private let record: VolumeRecord
    private let paths: VolumePaths

    private let isMounted: Bool

    /// With `isMounted` what would have to be rebuilt is refused: files of another database could have numbers by which
    /// kernels know files of this one.
    init(_ record: VolumeRecord, _ paths: VolumePaths, isMounted: Bool = false) {
        self.record = record
        self.paths = paths
        self.isMounted = isMounted
    }

    /// Answers a line for each thing that was mended.
    func run() throws(SystemFailure) -> [String] {
        // What is mended is not what the newest copy in the store has.
        unlink(paths.copiedMark)
        return try mend()
    }

    private func mend() throws(SystemFailure) -> [String] {
        if try MissingMetadata.isBlank(paths) {
            let store = try OpenVolume.store(record, paths, logger: nil)
            guard let trace = try MissingMetadata.trace(record, paths, store) else { return [] }
            try refuseWhileMounted("it is gone, and there is \(trace)")
            return try rebuild([])
        }
        let (problems, damage) = try Self.look(paths.database)
        if let damage { return try rebuild([try setAside(damage)]) }
        guard problems > 0 else { return [] }
        do {
            return try MetadataRepairer.repair(path: paths.database, now: .now())
        } catch {
            throw SystemFailure("volume \"\(record.name)\"", "\(error)", status: .dataError)
        }
    }

    private func refuseWhileMounted(_ cause: String) throws(SystemFailure) {
        guard isMounted else { return }
        throw Self.refusal(paths, cause)
    }

    /// Of a volume in use.
    static func refusal(_ paths: VolumePaths, _ cause: String) -> SystemFailure {
        SystemFailure(
            paths.database, "must be made anew: \(cause)", fix: "unmount the volume, and repair it then", errno: .busy,
            status: .dataError)
    }

    /// How much is wrong in a database, or why it cannot be mended and must be made anew.
    static func look(_ path: String) throws(SystemFailure) -> (problems: UInt64, damage: String?) {
        do {
            let report = try MetadataChecker.check(path: path)
            return (report.problems.count, report.isReadable ? nil : "its structure is damaged")
        } catch {
            guard let damage = error.damage else { throw SystemFailure(path, error.description, status: .dataError) }
            return (0, damage)
        }
    }

    /// What cannot be read now may be read by somebody who knows more: nothing is thrown away.
    private func setAside(_ cause: String) throws(SystemFailure) -> String {
        try refuseWhileMounted(cause)
        let place = "\(paths.database).damaged-\(time(nil))"
        guard rename(paths.database, place) == 0 else {
            throw SystemFailure(paths.database, "cannot be set aside", .current)
        }
        for suffix in ["-wal", "-shm"] { rename(paths.database + suffix, place + suffix) }
        return "the database is now \(place): \(cause)"
    }

    /// Works beside the database's place: a volume that is opened after this was cut short must not seem to have few files.
    private func rebuild(_ before: [String]) throws(SystemFailure) -> [String] {
        let store = try OpenVolume.store(record, paths, logger: nil)
        if record.sources == nil {
            // What a store says is adopted by no record, however old.
            let registry = VolumeRegistry(paths: SitePaths(environment: ProcessEnvironment.current()))
            try registry.replaceSources(try VolumeName(record.name), [])
        }
        let place = "\(paths.directory)/rebuilt.db"
        for suffix in ["", "-wal", "-shm"] { unlink(place + suffix) }
        var lines = before
        do throws(CopyFailure) {
            let found = try CopyReader(store: store).restore(to: place) { lines.append("passed over \($0)") }
            lines.append("the metadata is that of \(found.time), from the store's copy")
        } catch {
            guard case .none = error else {
                throw SystemFailure("volume \"\(record.name)\"", "\(error)", status: .unavailable)
            }
        }
        lines += try salvage(store, into: place)
        try explaining(paths.database, "cannot be put in its place") { () throws(Errno) in
            // A log without its database means nothing, and must not be taken for that of the new one.
            for suffix in ["-wal", "-shm"] { unlink(paths.database + suffix) }
            guard rename(place, paths.database) == 0 else { throw .current }
            try AtomicFile.synchronizeDirectory(paths.directory)
        }
        return lines
    }

    /// Files of packs that the metadata, which may be none at all, does not name.
    private func salvage(_ store: any ObjectStore, into database: String) throws(SystemFailure) -> [String] {
        do {
            try BlankMetadata.make(database)
            let metadata = try SQLiteMetadataStore(path: database)
            let salvage = Salvage(metadata: metadata, store: store, staging: paths.staging, now: .now())
            let outcome = try salvage.restore(try salvage.unknownPacks())
            try metadata.commit(prepare: {})
            try metadata.close()
            let lost = try OpenVolume.passOver(database, snapshots: paths.snapshots)
            let snapshots = lost.map { "snapshot \($0) has no copy here, and is dropped" }
            guard outcome.packs + outcome.failures.count > 0 else { return snapshots }
            return snapshots + [
                "\(outcome.files) files of \(outcome.packs) packs that no metadata named, now in lost+found (\(outcome.bytes) bytes)"
            ] + outcome.failures
        } catch let failure as SystemFailure {
            throw failure
        } catch {
            throw SystemFailure("volume \"\(record.name)\"", "cannot be rebuilt: \(error)", status: .dataError)
        }
    }
}
