import LinuxSystem
import SQLiteMetadata

/// The database of a volume without files, for what is found without one.
enum BlankMetadata {
    /// Makes it at `path`, where nothing is yet.
    static func make(_ path: String) throws(SystemFailure) {
        do {
            // Makes a database that has a root.
            try SQLiteMetadataStore(path: path).close()
            _ = try MetadataRepairer.repair(path: path, now: .now())
        } catch {
            throw SystemFailure(path, "cannot be made: \(error)", fix: "make room", status: .cannotCreate)
        }
    }
}
