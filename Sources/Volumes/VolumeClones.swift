import Control
import FileModel
import Glibc
import LinuxSystem

/// Volumes that share another one's packs.
extension MountService {
    /// Copying the metadata of very many files, and storing what is not stored yet.
    private static let cloneTimeout = Duration.seconds(3600)

    /// A clone's metadata, with the process that makes it; what a crash leaves is removed by the next clone.
    private static let draftPrefix = "clone-"

    private func removeOldDrafts(_ volume: VolumePaths) {
        for name in (try? FileTree.names(in: volume.directory)) ?? [] where name.hasPrefix(Self.draftPrefix) {
            let process = name.dropFirst(Self.draftPrefix.count).prefix { $0 != "-" }
            if let number = Int32(process), kill(number, 0) == 0 { continue }
            unlink("\(volume.directory)/\(name)")
        }
    }

    /// Makes a writable volume of what another one, or its snapshot, holds now. Nothing is copied but metadata. It has
    /// the original's options but for the path.
    public func clone(
        _ original: VolumeReference, as name: VolumeName, now: String
    ) throws(SystemFailure) -> VolumeRecord {
        let parent = try registry.record(original.volume)
        guard try registry.find(name) == nil else {
            throw SystemFailure(
                "volume \"\(name)\"", "exists", fix: "use another name, or remove it first", errno: .alreadyExists,
                status: .cannotCreate)
        }
        // Its original knows clones by name: two of one name would share one hold.
        if try trash.clones(of: original.volume).contains(where: { $0.record.name == name.description }) {
            throw SystemFailure(
                "clone \"\(name)\"", "is kept, as podman removed it",
                fix: "use another name, `berth volume restore \(name)`, or `berth volume rm --removed \(name)`",
                errno: .alreadyExists, status: .cannotCreate)
        }
        let client = try supervisor.client(for: registry.paths.volume(parent.name))
        removeOldDrafts(registry.paths.volume(parent.name))
        do throws(SystemFailure) {
            return try registry.makeClone(
                name, of: parent, now: now,
                prepareBucket: { record throws(SystemFailure) in try supervisor.askBucket("claim", record) },
                fill: { database throws(SystemFailure) in
                    // In the original's own directory: its server writes nowhere else.
                    let draft = "\(registry.paths.volume(parent.name).directory)/\(Self.draftPrefix)\(getpid())"
                    defer { for suffix in ["", "-wal", "-shm", "-journal"] { unlink(draft + suffix) } }
                    let request = SnapshotRequest.clone(
                        volume: name.description, snapshot: original.snapshot?.description, path: draft)
                    guard
                        case .snapshot(.cloned(let epoch)) = try client.ask(
                            .snapshot(request), timeout: Self.cloneTimeout)
                    else { throw client.confused }
                    guard rename(draft, database) == 0 else {
                        throw SystemFailure(database, "cannot be made", .current, status: .cannotCreate)
                    }
                    return epoch
                })
        } catch {
            // One that another process made at the same moment keeps its hold.
            if (try? registry.find(name)) == .some(nil) { release(name.description, from: client) }
            throw error
        }
    }

    /// Refuses what would take packs away from clones.
    func refuseWhileCloned(_ name: VolumeName) throws(SystemFailure) {
        let clones = try registry.list().records.filter { record in
            record.bases?.contains { $0.volume == name.description } == true
        }
        if let removed = try trash.clones(of: name).first?.record.name, clones.isEmpty {
            throw SystemFailure(
                "volume \"\(name)\"",
                "shares its packs with its clone \(removed), which podman removed and which is kept",
                fix: "remove that for good first: `berth volume rm --removed \(removed)`", errno: .busy,
                status: .temporaryFailure)
        }
        guard !clones.isEmpty else { return }
        let names = clones.map(\.name).joined(separator: ", ")
        throw SystemFailure(
            "volume \"\(name)\"", "shares its packs with \(clones.count == 1 ? "its clone" : "its clones") \(names)",
            fix: "remove \(clones.count == 1 ? "that" : "those") first", errno: .busy, status: .temporaryFailure)
    }

    /// Tells the original of a clone that is gone. Where it cannot be told, `berth gc` of it finds out.
    func release(_ clone: VolumeRecord) {
        guard let base = clone.bases?.last, let name = try? VolumeName(base.volume),
            let parent = (try? registry.find(name)) ?? nil,
            let client = try? supervisor.client(for: registry.paths.volume(parent.name))
        else { return }
        release(clone.name, from: client)
    }

    private func release(_ clone: String, from client: ServerClient) {
        _ = try? client.ask(.snapshot(.release(volume: clone)), timeout: Self.syncTimeout)
    }
}

extension VolumeRegistry {
    /// Makes a volume's directory with metadata in it. `fill` writes them to the path it gets, and answers the last epoch
    /// whose packs are the original's.
    func makeClone(
        _ name: VolumeName, of parent: VolumeRecord, now: String,
        prepareBucket: (String) throws(SystemFailure) -> Void, fill: (String) throws(SystemFailure) -> UInt32
    ) throws(SystemFailure) -> VolumeRecord {
        var options = parent.options
        options.path = nil
        var record = VolumeRecord(name: name, createdAt: now, options: options)
        try make(record) { path throws(SystemFailure) in
            let epoch = try fill("\(path.dropLast("volume.json".utf8.count))meta.db")
            let base = VolumeBase(volume: parent.name, lastEpoch: epoch, options: parent.options)
            record.bases = (parent.bases ?? []) + [base]
            record.reachesBuckets = parent.reachesBuckets
            record.sources = parent.sources
            try AtomicFile.replace(path, try Self.encode(record))
            try preparePlace(of: record, path, prepareBucket)
        }
        return record
    }
}
