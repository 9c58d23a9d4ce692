import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem

/// The user's volumes: one directory each, made and removed in one step.
///
/// Invariants
/// - A directory in `volumes/` whose name is a volume name is a whole volume: it is made under another name
///   and renamed, and renamed away before it is taken apart.
public struct VolumeRegistry: Sendable {
    public let paths: SitePaths

    public init(paths: SitePaths) {
        self.paths = paths
    }

    /// Makes a volume. One with the same options that exists already is answered as it is. `prepareBucket` claims the
    /// volume's place in a bucket; it gets the path of the new record.
    public func create(
        _ name: VolumeName, _ options: VolumeOptions, now: String,
        prepareBucket: (String) throws(SystemFailure) -> Void = Self.knowsNoBuckets
    ) throws(SystemFailure) -> VolumeRecord {
        if let existing = try find(name) {
            guard existing.options == options else { throw Self.differs(existing, options) }
            return existing
        }
        let record = VolumeRecord(name: name, createdAt: now, options: options)
        do throws(SystemFailure) {
            try make(record) { path throws(SystemFailure) in
                try preparePlace(of: record, path, prepareBucket)
            }
        } catch {
            // Another process was faster: then the volume is there.
            if let existing = try find(name), existing.options == options { return existing }
            throw error
        }
        return record
    }

    /// Makes a volume of a store that has one. `fill` brings back what belongs beside the record, whose path it gets, and
    /// may write the record anew. `trusted` are the foreign sources that may be opened.
    func adopt(
        _ name: VolumeName, _ options: VolumeOptions, trusted: [SourceEntry], now: String,
        fill: (String) throws(SystemFailure) -> Void
    ) throws(SystemFailure) {
        guard try find(name) == nil else {
            throw SystemFailure(
                "volume \"\(name)\"", "exists here",
                fix:
                    "mend it with `berth volume check --repair \(name)`, or remove it first with `berth volume rm --keep-data \(name)`",
                errno: .alreadyExists, status: .cannotCreate)
        }
        var record = VolumeRecord(name: name, createdAt: now, options: options)
        _ = record.add(trusted)
        try make(record, prepare: fill)
    }

    /// Makes the volume's place in its store. `path` is that of the record.
    func preparePlace(
        of record: VolumeRecord, _ path: String, _ prepareBucket: (String) throws(SystemFailure) -> Void
    ) throws(SystemFailure) {
        switch record.place(paths.volume(record.name)) {
        case .bucket: try prepareBucket(path)
        case .directory(let directory):
            guard record.options.store != nil else { return }
            try StoreTrust.judge(
                directory, isShared: record.options.isStoreShared == true, volume: record.name)
            try makeStore(directory, recovery: record.recoveryCommand(paths.volume(record.name)))
        }
    }

    /// Makes a volume's directory in one step. `prepare` gets the path of the new record, and may write it anew.
    func make(
        _ record: VolumeRecord, prepare: (String) throws(SystemFailure) -> Void
    ) throws(SystemFailure) {
        try paths.prepare()
        let volume = paths.volume(record.name)
        try UnixSocket.checkPath(volume.controlSocket)
        let temporary = "\(paths.volumes)/.new-\(record.name)-\(getpid())-\(UInt32.random(in: .min ... .max))"
        try SecureDirectory.make(temporary)
        do throws(SystemFailure) {
            try AtomicFile.replace("\(temporary)/volume.json", try Self.encode(record))
            try prepare("\(temporary)/volume.json")
            guard rename(temporary, volume.directory) == 0 else {
                throw SystemFailure(volume.directory, "cannot be made", .current, status: .cannotCreate)
            }
        } catch {
            FileTree.remove(temporary)
            throw error
        }
    }

    /// The record of a volume. A name that nobody made is an error that says how to make it.
    public func record(_ name: VolumeName) throws(SystemFailure) -> VolumeRecord {
        guard let record = try find(name) else {
            throw SystemFailure(
                "volume \"\(name)\"", "does not exist",
                fix:
                    "make it with `berth volume create \(name)`, or bring it back with `berth volume recover` and its store's URL",
                errno: .noEntry, status: .noInput)
        }
        return record
    }

    /// The record, or nil where there is no such volume.
    public func find(_ name: VolumeName) throws(SystemFailure) -> VolumeRecord? {
        let path = paths.volume(name.description).record
        guard let record = try decode(path, of: name) else { return nil }
        // A record says what is opened and removed.
        try TrustedPath.judge(paths.volumes)
        return record
    }

    /// The record in a file, of a volume of this name if one is given; nil where there is no such file.
    func decode(_ path: String, of name: VolumeName? = nil) throws(SystemFailure) -> VolumeRecord? {
        guard let bytes = try AtomicFile.read(path) else { return nil }
        let record: VolumeRecord
        do {
            record = try JSONDecoder().decode(VolumeRecord.self, from: Data(bytes))
        } catch {
            throw SystemFailure(
                path, "is not a volume's record", fix: "restore it from a copy; the volume's data is untouched",
                status: .dataError)
        }
        guard record.format == VolumeRecord.currentFormat, record.name == name?.description ?? record.name else {
            throw SystemFailure(
                path,
                "has format \(record.format) and name \"\(record.name)\", and this program reads format \(VolumeRecord.currentFormat)\(name.map { " of \"\($0)\"" } ?? "")",
                fix: "use the program that wrote it", status: .dataError)
        }
        return record
    }

    /// Changes a volume's record under the lock that all changes of records take.
    func change(
        _ name: VolumeName, _ body: (inout VolumeRecord) throws(SystemFailure) -> Void
    ) throws(SystemFailure) -> VolumeRecord {
        try paths.prepare()
        return try FileLock.holding(recordLock, within: .seconds(10)) { () throws(SystemFailure) in
            var record = try record(name)
            try body(&record)
            try replace(record)
            return record
        }
    }

    /// Guards the records of all volumes, and the user's paths of them.
    var recordLock: String { paths.recordLock }

    /// Writes a volume's record anew. A reader sees the old one or the new.
    func replace(_ record: VolumeRecord) throws(SystemFailure) {
        try AtomicFile.replace(paths.volume(record.name).record, try Self.encode(record))
    }

    /// All volumes by name, and what is wrong with those that cannot be read.
    public func list() throws(SystemFailure) -> (records: [VolumeRecord], failures: [SystemFailure]) {
        var records: [VolumeRecord] = []
        var failures: [SystemFailure] = []
        for entry in try FileTree.names(in: paths.volumes).sorted() {
            guard let name = try? VolumeName(entry) else { continue }
            do throws(SystemFailure) {
                if let record = try find(name) { records.append(record) }
            } catch {
                failures.append(error)
            }
        }
        return (records, failures)
    }

    /// For callers that never make a volume in a bucket.
    public static func knowsNoBuckets(_ record: String) throws(SystemFailure) {
        throw SystemFailure(record, "is in a bucket, and nothing here can ask one", status: .software)
    }

    /// Removes a volume: its metadata, its caches, and, but for `keepData`, its directory in the store. The caller has made
    /// sure that nobody uses it, and has cleared its bucket.
    public func remove(_ record: VolumeRecord, caches: [String], keepData: Bool = false) throws(SystemFailure) {
        let volume = paths.volume(record.name)
        try remove(record, at: volume.directory, caches: caches, keepData: keepData)
        unlink(volume.startLock)
    }

    /// The same of a volume whose directory lies elsewhere.
    func remove(
        _ record: VolumeRecord, at directory: String, caches: [String], keepData: Bool
    ) throws(SystemFailure) {
        // Proved first: where it cannot be removed, the volume stays. Removed last: a volume whose removal is cut short is gone.
        var store: HeldDirectory?
        if record.options.store != nil, !keepData, case .directory(let path) = record.place(paths.volume(record.name)) {
            store = try StoreTrust.held(path, isShared: record.options.isStoreShared == true)
        }
        let doomed = "\(paths.volumes)/.old-\(record.name)-\(getpid())-\(UInt32.random(in: .min ... .max))"
        guard rename(directory, doomed) == 0 else {
            throw SystemFailure(directory, "cannot be removed", .current)
        }
        FileTree.remove(doomed)
        if let store = store.take() {
            store.removeContents()
            rmdir(store.path)
        }
        for cache in caches { FileTree.remove(cache) }
    }

    /// Removes what a crash left of volumes half made or half removed. What a process makes now stays, and what one on another
    /// node that shares the home may be making still.
    public func sweep() {
        for entry in (try? FileTree.names(in: paths.volumes)) ?? [] {
            let path = "\(paths.volumes)/\(entry)"
            if entry.startsWithBytes(of: ".old-") || (entry.startsWithBytes(of: ".new-") && Self.isLeft(entry, path)) {
                FileTree.remove(path)
            }
        }
    }

    /// Longer than any recovery may take.
    private static let makingSeconds = 25 * 3600

    /// `entry`: `.new-NAME-PID-RANDOM`.
    private static func isLeft(_ entry: String, _ path: String) -> Bool {
        let words = entry.parts(at: "-")
        let process = words.count > 3 ? Int32(words[words.count - 2]) : nil
        if let process, process > 0, kill(process, 0) == 0 || errno == EPERM { return false }
        var status = stat()
        guard lstat(path, &status) == 0 else { return false }
        return !SharedFileSystems.mayHold(path) || status.st_mtim.tv_sec < time(nil) - makingSeconds
    }

    func makeStore(_ directory: String, recovery: String) throws(SystemFailure) {
        guard mkdir(directory, 0o700) == 0 else {
            let fix =
                errno == EEXIST
                ? "if that is a volume of yours, bring it back with `\(recovery)`, or where podman removed it with "
                    + "`berth volume restore NAME` (`berth volume ls --removed` has it); else use another name"
                : "make the store's directory first, writable for you"
            throw SystemFailure("store \(directory)", "cannot be made", .current, fix: fix, status: .cannotCreate)
        }
    }

    private static func differs(_ existing: VolumeRecord, _ options: VolumeOptions) -> SystemFailure {
        let (old, new) = (existing.options.words, options.words)
        let differences = Set(old.keys).union(new.keys).sorted().filter { old[$0] != new[$0] }
            .map { "\($0) is \(old[$0] ?? "unset"), not \(new[$0] ?? "unset")" }
        return SystemFailure(
            "volume \"\(existing.name)\"", "exists with other options: \(differences.joined(separator: ", "))",
            fix: "use another name, or remove it first", errno: .alreadyExists, status: .cannotCreate)
    }

    /// The bytes of a volume's record, for people, too.
    public static func encode(_ record: VolumeRecord) throws(SystemFailure) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        do {
            return Array(try encoder.encode(record)) + [0x0A]
        } catch {
            throw SystemFailure("volume \"\(record.name)\"", "cannot be written down: \(error)", status: .software)
        }
    }
}
