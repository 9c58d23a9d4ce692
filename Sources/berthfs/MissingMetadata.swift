import FileModel
import LinuxSystem
import MetadataCopies
import ObjectStorage
import SQLiteMetadata
import VFS
import Volumes

/// Tells a volume that was never mounted from one whose database is gone or was emptied. Opening either would make a
/// volume without files, which only the first may be.
enum MissingMetadata {
    /// Why the volume cannot be opened, where there is data that a database should name; nil else. Looks at the store for a
    /// blank database only.
    static func refusal(
        _ record: VolumeRecord, _ paths: VolumePaths, _ store: any ObjectStore
    ) throws(SystemFailure) -> SystemFailure? {
        guard try isBlank(paths) else { return nil }
        return try trace(record, paths, store).map { found in
            SystemFailure(
                "volume \"\(record.name)\"", "its metadata is gone (\(paths.database)), and there is \(found)",
                fix: "bring the file back, or what can be known with: berth volume check --repair \(record.name)",
                errno: .io, status: .dataError)
        }
    }

    static func isBlank(_ paths: VolumePaths) throws(SystemFailure) -> Bool {
        do {
            return try SQLiteMetadataStore.isBlank(paths.database)
        } catch {
            throw SystemFailure("volume \"\(paths.name)\"", error.description, status: .dataError)
        }
    }

    /// What there is of a volume whose database is blank and that was in use, for people; nil where there is nothing.
    static func trace(
        _ record: VolumeRecord, _ paths: VolumePaths, _ store: any ObjectStore
    ) throws(SystemFailure) -> String? {
        if let base = record.bases?.last { return "what it shares with \"\(base.volume)\"" }
        if let names = try? FileTree.names(in: paths.snapshots), !names.isEmpty { return "a snapshot of it" }
        do {
            let objects = try store.list()
            if CopyReader.isCopy(among: objects) { return "a copy of it in the store" }
            let packs = Set(Salvage.packs(among: objects)).union(try Salvage.staged(paths.staging))
            return packs.isEmpty ? nil : "data of it (\(packs.count) packs)"
        } catch {
            throw SystemFailure(
                "volume \"\(record.name)\"",
                "its metadata is not there, and whether it is new cannot be seen: \(error)",
                fix: "make its store and staging readable", status: .unavailable)
        }
    }
}
