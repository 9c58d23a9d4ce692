import CSimulation
import FileModel
import Glibc
import LinuxSystem
import MetadataCopies
import Metadata
import ObjectStorage
import Packs
import SQLiteMetadata
import TestSupport
import VFS

/// What is done to a volume beside what programs do.
extension SimulatedVolume {
    private static func names(_ path: String) throws(Errno) -> [FileName] {
        var names: [FileName] = []
        for part in path.split(separator: "/") { names.append(try FileName(String(part))) }
        return names
    }

    /// 0, or the errno of the refusal.
    func perform(_ change: Change) -> Int32 {
        do throws(Errno) {
            switch change {
            case .tree(let operation): return tree.perform(operation)
            case .restoreDeleted(let path):
                let outcome = try fileSystem.restore(RestoreOrder(path: try Self.names(path)))
                if let ended = outcome.ended { throw ended }
            case .emptyTrash: try emptyTrash()
            case .expireTrash: try expireTrash()
            case .setQuota(let bytes, let inodes):
                let limits = QuotaLimits(bytes: bytes, inodes: inodes)
                _ = try fileSystem.setQuota(bytes == nil && inodes == nil ? nil : limits, of: .root)
            case .adopt(let path): try adopt(path)
            default: try keep(change)
            }
            return 0
        } catch {
            return error.rawValue
        }
    }

    private func keep(_ change: Change) throws(Errno) {
        switch change {
        case .createSnapshot(let name): try fileSystem.createSnapshot(name)
        case .removeSnapshot(let name): try fileSystem.removeSnapshot(name)
        case .restoreVolume(let name):
            fileSystem.detach(caller.session)
            defer { fileSystem.attach(caller.session) }
            try fileSystem.restoreAll(from: name)
        case .restorePath(let source, let name, let target):
            let order = SnapshotRestoreOrder(
                source: try Self.names(source), target: try Self.names(target), replaces: false)
            try withSnapshot(name) { view, _ throws(Errno) in _ = try fileSystem.restore(order, from: view) }
        case .makeClone(let name): try makeClone(name)
        case .releaseClone(let name): try fileSystem.releaseClone(name)
        default: break
        }
    }

    private func emptyTrash() throws(Errno) {
        var last: UInt64? = 0
        while let after = last {
            last = try fileSystem.emptyTrash(below: [], before: place.clock.now(), after: after).next
        }
    }

    /// By keeping nothing for longer than a moment, until housekeeping has looked often enough.
    private func expireTrash() throws(Errno) {
        let settings = fileSystem.trashSettings
        let (kept, isCounted, keepsTruncated) = (
            settings.retentionNanoseconds, settings.countsInLimits, settings.keepsTruncated
        )
        settings.set(retentionNanoseconds: 1, countsInLimits: isCounted, keepsTruncated: keepsTruncated)
        for _ in 0..<20 {
            simulation_sleep(6_000_000_000)
            if try fileSystem.trash(below: [], after: 0).items.isEmpty { break }
        }
        settings.set(retentionNanoseconds: kept, countsInLimits: isCounted, keepsTruncated: keepsTruncated)
        guard try fileSystem.trash(below: [], after: 0).items.isEmpty else { throw .io }
    }

    private func adopt(_ path: String) throws(Errno) {
        let work = FileImport(into: [], of: fileSystem)
        defer { work.end() }
        let source = try work.source("file://\(place.source)", options: "")
        var status = stat()
        guard stat("\(place.source)/file", &status) == 0 else { throw .current }
        var entries: [ImportedEntry] = []
        var failure: Errno?
        do {
            try ForeignDirectory(root: place.source).list(below: []) { page in
                for entry in page {
                    guard case .object(let size, let tag) = entry.content else { continue }
                    let object = ForeignObject(
                        source: source.id, key: entry.key, size: size, tag: tag, modified: entry.modified)
                    do throws(Errno) {
                        entries.append(
                            ImportedEntry(
                                path: try Self.names(path), content: .data(of: object, at: 0, count: size),
                                permissions: 0o644, modified: entry.modified))
                    } catch {
                        failure = error
                    }
                }
                return true
            }
        } catch {
            throw .io
        }
        if let failure { throw failure }
        _ = try work.add(entries)
    }

    // MARK: Snapshots and clones

    func withSnapshot<Result>(
        _ name: String, _ body: (FileSystem, Caller) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        try withCopy(try fileSystem.database(ofSnapshot: name), body)
    }

    private func withCopy<Result>(
        _ path: String, _ body: (FileSystem, Caller) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        let copy: SQLiteSnapshot
        do {
            copy = try SQLiteSnapshot(path: path)
        } catch {
            simulation_note("\(error)")
            throw .io
        }
        defer { try? copy.close() }
        let view = FileSystem(snapshot: copy, packs: packs, configuration: configuration)
        let session = Session(name: "look", identity: .oneToOne, isReadOnly: true, invalidate: { _, _ in })
        view.attach(session)
        return try body(view, Caller(session: session, userID: 0, groupID: 0, isSuperuser: true, umask: 0))
    }

    func picture(ofSnapshot name: String) throws -> Picture {
        try picture(of: try fileSystem.database(ofSnapshot: name))
    }

    /// Nil where a crash came before its database had its name.
    func picture(ofClone name: String) throws -> Picture? {
        let path = place.clone(name)
        return access(path, F_OK) == 0 ? try picture(of: path) : nil
    }

    private func picture(of path: String) throws -> Picture {
        var result: Result<Picture, any Error> = .success([:])
        try withCopy(path) { view, caller throws(Errno) in
            result = Result { try VolumeTree(view, caller).picture() }
        }
        return try result.get()
    }

    private func makeClone(_ name: String) throws(Errno) {
        let path = place.clone(name)
        unlink(path)
        unlink(path + ".part")
        let records = try fileSystem.prepareClone(name, of: nil, at: path + ".part", storeSeconds: 600)
        do {
            try ClonedDatabase.settle(path + ".part", packs: records)
            guard rename(path + ".part", path) == 0 else { throw Errno.current }
            try AtomicFile.synchronizeDirectory(place.disk)
        } catch {
            // As the command does: without its database there is no clone.
            try? fileSystem.releaseClone(name)
            throw (error as? Errno) ?? .io
        }
    }

    // MARK: Copies of the metadata

    /// All data into the store, then the metadata.
    func copyMetadata() throws {
        let reached = fileSystem.changeCount
        if let failure = packs.flush(seconds: 600) { throw TestFailure(failure) }
        unlink(place.copy)
        try fileSystem.copyMetadata(to: place.copy)
        defer { unlink(place.copy) }
        try copier?.copy(place.copy, at: place.clock.now())
        fileSystem.noteCopied(reached)
    }

    /// What another machine would find that has nothing but the store.
    static func recovered(_ place: SimulatedPlace, _ plan: LifePlan) throws -> Picture {
        let other = place.recovery
        FileTree.remove(other)
        guard mkdir(other, 0o700) == 0 else { throw Errno.current }
        defer { FileTree.remove(other) }
        let store = try place.store(plan)
        _ = try CopyReader(store: store).restore(to: "\(other)/meta.db") { simulation_note($0) }
        let metadata = try SQLiteMetadataStore(path: "\(other)/meta.db")
        defer { try? metadata.close() }
        let packs = try PackStore(
            PackStoreConfiguration(
                stagingDirectory: "\(other)/staging", cacheDirectory: "\(other)/cache", cacheLimit: 1 << 30,
                compression: .zstd, epoch: .max, foreignOpener: place.opener), store: store)
        // Only looked at: a snapshot is never changed.
        let view = FileSystem(
            snapshot: metadata, packs: packs, configuration: FileSystemConfiguration(report: { simulation_note($0) }))
        let session = Session(name: "look", identity: .oneToOne, isReadOnly: true, invalidate: { _, _ in })
        view.attach(session)
        return try VolumeTree(view, Caller(session: session, userID: 0, groupID: 0, isSuperuser: true, umask: 0))
            .picture()
    }
}
