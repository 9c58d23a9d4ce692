import FileModel
import Glibc
import LinuxSystem
import Metadata
import Packs

/// Snapshots: copies of the metadata, each with a hold on the packs it names.
extension FileSystem {
    /// Beside the volume's own file of metadata.
    private func path(ofSnapshot name: String) throws(Errno) -> String {
        guard let directory = configuration.snapshotDirectory, !isSnapshot else { throw .notSupported }
        return "\(directory)/\(name).db"
    }

    /// The copy of the metadata that a snapshot is. Answers ENOENT where there is no such snapshot.
    public func database(ofSnapshot name: String) throws(Errno) -> String {
        guard try hold(.snapshot, name) != nil else { throw .noEntry }
        return try path(ofSnapshot: name)
    }

    /// Snapshots and clones, the oldest first.
    public func holds() throws(Errno) -> [Hold] {
        try read { transaction throws(Errno) in try transaction.holds() }.filter { $0.state == .whole }
    }

    private func hold(_ kind: Hold.Kind, _ name: String) throws(Errno) -> Hold? {
        try holds().first { $0.kind == kind && $0.name == name }
    }

    /// Makes a snapshot: all that was done before this call is in it, and it is safe when this returns. `name` has been
    /// checked to be a file's name. Answers EEXIST for one that is taken.
    public func createSnapshot(_ name: String) throws(Errno) {
        let path = try path(ofSnapshot: name)
        try snapshotLock.withLock { () throws(Errno) in
            guard try hold(.snapshot, name) == nil else { throw .alreadyExists }
            try makeSnapshotDirectory()
            let hold = try copy(to: path, .snapshot, name)
            try complete(hold)
        }
    }

    /// Its name is durable before anything in it counts: also where a crash came between making it and that.
    private func makeSnapshotDirectory() throws(Errno) {
        guard let directory = configuration.snapshotDirectory else { return }
        guard mkdir(directory, 0o700) == 0 || errno == EEXIST else { throw .current }
        let parent = directory.parts(at: "/").dropLast()
        try AtomicFile.synchronizeDirectory(parent.joined(separator: "/"))
    }

    /// Removes a snapshot. Packs that only it held are deleted soon. Answers ENOENT where there is none.
    public func removeSnapshot(_ name: String) throws(Errno) {
        let path = try path(ofSnapshot: name)
        try snapshotLock.withLock { () throws(Errno) in
            guard let hold = try hold(.snapshot, name) else { throw .noEntry }
            try remove(hold.id)
            // Last: without the hold the copy would be worth nothing, and without the copy the hold could never go.
            FileTree.remove(path)
        }
    }

    // MARK: Clones

    /// Copies the metadata, or a snapshot's, to `path`, for a volume that is to share the packs, and holds them for it.
    /// All of them are in the store when this returns; answers their records. Answers EEXIST where a clone of that name
    /// is recorded, ENOENT for a snapshot that is not there, EAGAIN where the store does not take what is written.
    public func prepareClone(
        _ volume: String, of snapshot: String?, at path: String, storeSeconds: Double
    ) throws(Errno) -> [PackRecord] {
        try snapshotLock.withLock { () throws(Errno) in
            guard try hold(.clone, volume) == nil else { throw .alreadyExists }
            let hold: Hold
            if let snapshot {
                guard let model = try self.hold(.snapshot, snapshot) else { throw .noEntry }
                hold = try copy(self.path(ofSnapshot: snapshot), of: model, to: path, volume)
            } else {
                hold = try copy(to: path, .clone, volume)
            }
            do throws(Errno) {
                let records = try storedRecords(heldBy: hold.id, seconds: storeSeconds)
                try complete(hold)
                return records
            } catch {
                FileTree.remove(path)
                try? remove(hold.id)
                throw error
            }
        }
    }

    /// A clone is gone: its packs are needed no more. One that is not recorded is no error.
    public func releaseClone(_ volume: String) throws(Errno) {
        try snapshotLock.withLock { () throws(Errno) in
            guard let hold = try hold(.clone, volume) else { return }
            try remove(hold.id)
        }
    }

    private func copy(_ source: String, of model: Hold, to path: String, _ volume: String) throws(Errno) -> Hold {
        let now = configuration.now()
        let hold = try metadata.transaction { transaction throws(Errno) in
            try transaction.addHold(.clone, volume, created: now, like: model.id)
        }
        committer.noteChange()
        do throws(Errno) {
            try FileCopy.copy(source, to: path)
            return hold
        } catch {
            try? remove(hold.id)
            throw error
        }
    }

    private func storedRecords(heldBy id: Hold.ID, seconds: Double) throws(Errno) -> [PackRecord] {
        _ = packs.flush(seconds: seconds)
        let records = try read { transaction throws(Errno) in
            var records: [PackRecord] = []
            for pack in try transaction.packs(heldBy: id) {
                guard let record = try transaction.pack(pack) else { throw .io }
                records.append(record)
            }
            return records
        }
        guard records.allSatisfy({ $0.state == .stored }) else { throw Errno(EAGAIN) }
        return records
    }

    // MARK: Parts

    /// Copies the metadata as it is at one moment, with a hold on the packs it names.
    private func copy(to path: String, _ kind: Hold.Kind, _ name: String) throws(Errno) -> Hold {
        let now = configuration.now()
        var hold: Hold?
        do throws(Errno) {
            try metadata.copy(
                to: path,
                prepare: { () throws(Errno) in try packs.prepareCommit() },
                change: { transaction throws(Errno) in
                    hold = try transaction.addHold(kind, name, created: now, like: nil)
                })
        } catch {
            if let hold { try? remove(hold.id) }
            noteFailure()
            throw error
        }
        guard let hold else { throw .io }
        return hold
    }

    private func complete(_ hold: Hold) throws(Errno) {
        try metadata.transaction { transaction throws(Errno) in try transaction.completeHold(hold.id) }
        committer.noteChange()
        try synchronize()
    }

    private func remove(_ id: Hold.ID) throws(Errno) {
        try metadata.transaction { transaction throws(Errno) in try transaction.removeHold(id) }
        committer.noteChange()
        try synchronize()
    }

    /// Takes back what a crash cut short: nobody was told that it is there.
    func removeHalfMadeHolds() throws(Errno) {
        let half = try metadata.transaction { transaction throws(Errno) in
            let half = try transaction.holds().filter { $0.state == .making }
            for hold in half { try transaction.removeHold(hold.id) }
            return half
        }
        guard let directory = configuration.snapshotDirectory else { return }
        for hold in half where hold.kind == .snapshot { FileTree.remove("\(directory)/\(hold.name).db") }
        for name in (try? FileTree.names(in: directory)) ?? [] where name.contains(".db.new") {
            FileTree.remove("\(directory)/\(name)")
        }
    }

    // MARK: A whole volume

    /// Makes the volume what a snapshot holds, in one step. The caller has made sure that no session is there.
    public func restoreAll(from snapshot: String) throws(Errno) {
        try snapshotLock.withLock { () throws(Errno) in
            let path = try database(ofSnapshot: snapshot)
            // It may be of an older program's making, and is to stay what it is should this fail.
            try metadata.replaceContent(
                withCopyAt: path,
                prepare: { () throws(Errno) in try packs.prepareCommit() })
            hasAttributes.store(true, ordering: .relaxed)
            committer.noteChange()
            try synchronize()
        }
    }
}
