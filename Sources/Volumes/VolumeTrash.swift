import FileModel
import Glibc
import LinuxSystem

/// Volumes that a container engine removed: kept for a while, as `podman system prune --volumes` removes every volume that no
/// container uses (decision 0083).
///
/// Invariants
/// - A volume goes in, and comes back, by one rename: after a crash it is in one of the two places, whole.
/// - `volumes/.removed/NAME/SECONDS-DIGITS` is what was the directory of volume NAME until SECONDS of the wall clock.
public struct VolumeTrash: Sendable {
    public struct Entry: Sendable {
        /// Tells apart volumes that had the same name.
        public var id: String
        /// Seconds since 1970.
        public var removedAt: Int64
        /// As the volume had it, its name included.
        public var record: VolumeRecord
        /// Where it lies now.
        public var directory: String

        /// Where it comes back under another name: what lies in a store has the name in its path, and an original knows its
        /// clones by name.
        var mayBeRenamed: Bool { record.options.store == nil && record.bases == nil }

        /// Whether nothing goes with what lies here that is nowhere else: of a named store only `berth volume rm` takes away.
        public var mayExpire: Bool {
            if record.options.store == nil { return true }
            let isCopied = access("\(directory)/copied", F_OK) == 0
            // Snapshots are here only, and packs that they alone need go with them.
            let snapshots = "\(directory)/snapshots"
            let hasSnapshots = access(snapshots, F_OK) == 0 && (try? FileTree.names(in: snapshots))?.isEmpty != true
            return isCopied && !hasSnapshots && record.bases == nil
                && StagedData(staging: "\(directory)/staging").packs == 0
        }
    }

    private let registry: VolumeRegistry
    private var paths: SitePaths { registry.paths }

    public init(_ registry: VolumeRegistry) {
        self.registry = registry
    }

    // MARK: Looking

    /// All of them, the latest last, and what is wrong with those that cannot be read.
    public func list() throws(SystemFailure) -> (entries: [Entry], failures: [SystemFailure]) {
        guard access(paths.removedVolumes, F_OK) == 0 else { return ([], []) }
        try TrustedPath.judge(paths.removedVolumes)
        var entries: [Entry] = []
        var failures: [SystemFailure] = []
        for text in try FileTree.names(in: paths.removedVolumes).sorted() {
            guard let name = try? VolumeName(text) else { continue }
            do throws(SystemFailure) { entries += try self.entries(of: name) } catch { failures.append(error) }
        }
        return (entries.sorted { ($0.removedAt, $0.id) < ($1.removedAt, $1.id) }, failures)
    }

    /// Those that had a name, the latest last.
    public func entries(of name: VolumeName) throws(SystemFailure) -> [Entry] {
        let holder = paths.volume(name.description).removedHolder
        var status = stat()
        guard lstat(holder, &status) == 0 else { return [] }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw SystemFailure(
                holder, "is not a directory", fix: "remove it", errno: .notDirectory, status: .dataError)
        }
        // A record says what is opened and removed.
        try TrustedPath.judge(holder)
        var found: [Entry] = []
        for id in try FileTree.names(in: holder) {
            let directory = "\(holder)/\(id)"
            guard let seconds = id.words(at: "-").first.flatMap({ Int64($0) }), lstat(directory, &status) == 0,
                status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(),
                var record = try registry.decode("\(directory)/volume.json")
            else { continue }
            // A restoration that a crash cut short may have given it its new one.
            record.name = name.description
            found.append(Entry(id: id, removedAt: seconds, record: record, directory: directory))
        }
        return found.sorted { ($0.removedAt, $0.id) < ($1.removedAt, $1.id) }
    }

    /// The latest of a name, or the one with an id.
    public func entry(_ name: VolumeName, id: String?) throws(SystemFailure) -> Entry {
        let entries = try entries(of: name)
        if let found = id.map({ id in entries.first { $0.id == id } }) ?? entries.last { return found }
        throw SystemFailure(
            "volume \"\(name)\"",
            "no container engine removed one of this name\(id.map { " with the id \($0)" } ?? ""), or its time is over",
            fix: "see `berth volume ls --removed`", errno: .noEntry, status: .noInput)
    }

    /// Clones of a volume that are here.
    func clones(of name: VolumeName) throws(SystemFailure) -> [Entry] {
        try list().entries.filter { entry in
            entry.record.bases?.contains { $0.volume == name.description } == true
        }
    }

    // MARK: Moving

    /// Takes in a volume that nobody uses and that no server has open.
    func take(_ record: VolumeRecord, now: Int64) throws(SystemFailure) -> Entry {
        let volume = paths.volume(record.name)
        try SecureDirectory.make(volume.removedHolder)
        let digits = String(UInt32.random(in: .min ... .max), radix: 16)
        let entry = Entry(
            id: "\(now)-\(digits)", removedAt: now, record: record,
            directory: "\(volume.removedHolder)/\(now)-\(digits)")
        guard rename(volume.directory, entry.directory) == 0 else {
            throw SystemFailure(volume.directory, "cannot be moved to the volumes that were removed", .current)
        }
        try? AtomicFile.synchronizeDirectory(volume.removedHolder)
        return entry
    }

    /// Brings a volume back, under its name or another that no volume has.
    public func restore(_ entry: Entry, as other: VolumeName?) throws(SystemFailure) -> VolumeRecord {
        var record = entry.record
        if let other { record.name = other.description }
        let name = try VolumeName(record.name)
        guard record.name == entry.record.name || entry.mayBeRenamed else {
            throw SystemFailure(
                "volume \"\(entry.record.name)\"",
                "comes back under its own name only: \(entry.record.bases == nil ? "its data lies in its store by that name" : "its original knows it by that name")",
                fix: Self.command(entry.record.name), status: .usage)
        }
        guard try registry.find(name) == nil else { throw Self.exists(entry, name) }
        let volume = paths.volume(record.name)
        try UnixSocket.checkPath(volume.controlSocket)
        // First the record: after a crash in between it is still here, and has its name from the directory.
        if record.name != entry.record.name {
            try AtomicFile.replace("\(entry.directory)/volume.json", try VolumeRegistry.encode(record))
        }
        guard rename(entry.directory, volume.directory) == 0 else {
            throw SystemFailure(volume.directory, "cannot be made", .current, status: .cannotCreate)
        }
        forget(entry)
        return record
    }

    /// Takes the directory of a name away where nothing is in it any more.
    func forget(_ entry: Entry) { rmdir(paths.volume(entry.record.name).removedHolder) }

    private static func command(_ name: String) -> String { "run `berth volume restore \(name)`" }

    private static func exists(_ entry: Entry, _ name: VolumeName) -> SystemFailure {
        let fix =
            entry.mayBeRenamed
            ? "restore it under another name: `berth volume restore \(entry.record.name) --id \(entry.id) --as OTHER`"
            : "remove that one first (`berth volume rm \(name)`): this one comes back under its own name only"
        return SystemFailure("volume \"\(name)\"", "exists", fix: fix, errno: .alreadyExists, status: .cannotCreate)
    }
}
