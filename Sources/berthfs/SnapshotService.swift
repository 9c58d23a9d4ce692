import Control
import FUSEBridge
import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem
import Metadata
import Packs
import SQLiteMetadata
import VFS
import Volumes

/// Snapshots, clones and collections, for the server of a volume.
// SAFETY: `jobs` is guarded by `monitor`; the rest is constant.
final class SnapshotService: @unchecked Sendable {
    /// A clone's packs must be in the store.
    private static let storeSeconds = 60.0

    private let volume: String
    private let paths: VolumePaths
    private let fileSystem: FileSystem
    private let packs: PackStore
    private let monitor = Monitor()
    private var jobs = 0
    /// Those that are being read.
    let shown: OpenSnapshots
    /// `.snapshots` of the volume's sessions.
    let directory: SnapshotDirectory

    init(_ volume: String, _ paths: VolumePaths, _ opened: OpenVolume, showsDirectory: Bool) {
        self.volume = volume
        self.paths = paths
        fileSystem = opened.fileSystem
        packs = opened.packs
        let shown = OpenSnapshots(volume, opened)
        self.shown = shown
        directory = SnapshotDirectory(
            of: opened.fileSystem, isShown: showsDirectory,
            open: { name throws(Errno) in try shown.openForDirectory(name) }, close: { shown.release($0) })
    }

    /// Whether the server is needed though it may have no session.
    var isBusy: Bool { monitor.withLock { jobs > 0 } }

    func answer(_ request: SnapshotRequest, sessions: [Attachment]) throws(SystemFailure) -> SnapshotReply {
        try atWork { () throws(SystemFailure) in
            switch request {
            case .create(let name): try create(name)
            case .list: return .list(try list(sessions))
            case .remove(let name): try remove(name, sessions)
            case .restoreAll(let name):
                try wording(name) { () throws(Errno) in try fileSystem.restoreAll(from: name) }
            case .restore(let name, let path, let target, let replaces):
                return try restore(name, path, target, replaces)
            case .clone(let volume, let snapshot, let path): return try clone(volume, snapshot, path)
            case .release(let volume):
                try wording(volume) { () throws(Errno) in try fileSystem.releaseClone(volume) }
            }
            return .done
        }
    }

    private func atWork<Result>(_ body: () throws(SystemFailure) -> Result) throws(SystemFailure) -> Result {
        monitor.withLock { jobs += 1 }
        defer { monitor.withLock { jobs -= 1 } }
        return try body()
    }

    // MARK: Snapshots

    private func create(_ text: String) throws(SystemFailure) {
        let name = try SnapshotName(text).description
        try wording(name) { () throws(Errno) in try fileSystem.createSnapshot(name) }
        directory.announce(name)
    }

    private func list(_ sessions: [Attachment]) throws(SystemFailure) -> [HeldView] {
        try wording("") { () throws(Errno) in try fileSystem.holds() }.map { hold in
            let mounted = hold.kind == .snapshot ? sessions.filter { $0.snapshot == hold.name } : []
            return HeldView(
                name: hold.name, isClone: hold.kind == .clone, created: hold.created.seconds,
                files: hold.usage.files, bytes: hold.usage.bytes, mountpoints: mounted.map(\.mountpoint).sorted())
        }
    }

    private func remove(_ name: String, _ sessions: [Attachment]) throws(SystemFailure) {
        try directory.withdrawing(name) { () throws(SystemFailure) in try removeWithdrawn(name, sessions) }
    }

    private func removeWithdrawn(_ name: String, _ sessions: [Attachment]) throws(SystemFailure) {
        let places = sessions.filter { $0.snapshot == name }.map(\.mountpoint).sorted()
        let isRemoved = try shown.remove(name) { () throws(SystemFailure) in
            try wording(name) { () throws(Errno) in try fileSystem.removeSnapshot(name) }
        }
        guard isRemoved else {
            throw SystemFailure(
                "snapshot \"\(volume)@\(name)\"",
                places.isEmpty ? "is being read" : "is mounted at \(places.joined(separator: ", "))",
                fix: "unmount it first", errno: .busy, status: .temporaryFailure)
        }
    }

    private func restore(
        _ name: String, _ path: [UInt8], _ target: [UInt8], _ replaces: Bool
    ) throws(SystemFailure) -> SnapshotReply {
        let order: SnapshotRestoreOrder
        do {
            order = SnapshotRestoreOrder(
                source: try Self.names(path), target: try Self.names(target), replaces: replaces)
        } catch {
            throw SystemFailure("the path", "is none of a volume", error, status: .usage)
        }
        let view = try shown.open(name)
        defer { shown.release(name) }
        do {
            let made = try fileSystem.restore(order, from: view)
            return .restored(files: made.files, bytes: made.bytes)
        } catch {
            throw Self.restoreFailure(error, volume, name, path, target)
        }
    }

    private static func names(_ path: [UInt8]) throws(Errno) -> [FileName] {
        try path.split(separator: 0x2F).map { part throws(Errno) in try FileName(Array(part)) }
    }

    private static func restoreFailure(
        _ error: Errno, _ volume: String, _ name: String, _ path: [UInt8], _ target: [UInt8]
    ) -> SystemFailure {
        let place = "\(volume):/\(String(decoding: target, as: UTF8.self))"
        return switch error {
        case .alreadyExists:
            SystemFailure(
                place, "exists", fix: "restore beside it with --to /PATH, or replace it with --force", errno: error,
                status: .cannotCreate)
        case .noEntry:
            SystemFailure(
                "\(volume)@\(name):/\(String(decoding: path, as: UTF8.self))",
                "is not in the snapshot, or the directory of \(place) is not there", errno: error, status: .noInput)
        default: SystemFailure(place, "cannot be restored", error)
        }
    }

    // MARK: Clones

    private func clone(_ clone: String, _ snapshot: String?, _ path: String) throws(SystemFailure) -> SnapshotReply {
        _ = try VolumeName(clone)
        let records: [PackRecord]
        do {
            records = try fileSystem.prepareClone(clone, of: snapshot, at: path, storeSeconds: Self.storeSeconds)
        } catch {
            if error == Errno(EAGAIN) {
                throw SystemFailure(
                    "volume \"\(volume)\"", "has data that its store did not take in \(Int(Self.storeSeconds)) s",
                    fix: "see `berth sync \(volume) --wait`, then try again", errno: error, status: .temporaryFailure)
            }
            throw words(snapshot ?? clone, error)
        }
        do {
            try ClonedDatabase.settle(path, packs: records)
        } catch {
            try? fileSystem.releaseClone(clone)
            throw SystemFailure("the clone's metadata", error.description, status: .cannotCreate)
        }
        return .cloned(lastEpoch: packs.epoch)
    }

    /// Clones that are recorded here and whose volumes are gone: a removal that could not tell us.
    private func releaseLostClones() throws(SystemFailure) {
        let old = Int64(time(nil)) - 3600
        for hold in try list([]) where hold.isClone && hold.created < old {
            guard access(paths.sibling(hold.name).directory, F_OK) != 0, errno == ENOENT,
                // One that an engine removed may come back.
                access(paths.sibling(hold.name).removedHolder, F_OK) != 0, errno == ENOENT
            else { continue }
            try wording(hold.name) { () throws(Errno) in try fileSystem.releaseClone(hold.name) }
        }
    }

    // MARK: Room

    /// Gives room back and writes a line of JSON about each pack into `lines`.
    func collect(dryRun: Bool, lines: consuming FileDescriptor?) throws(SystemFailure) -> CollectionSummary {
        guard let file = lines.take() else {
            throw SystemFailure("the file for the report", "did not come", status: .dataError)
        }
        return try atWork { () throws(SystemFailure) in
            if !dryRun { try releaseLostClones() }
            let report: CollectionReport
            do throws(Errno) {
                report = try fileSystem.collect(dryRun: dryRun)
            } catch {
                throw SystemFailure("volume \"\(volume)\"", "no room can be given back", error)
            }
            do {
                try file.write(Self.lines(report))
            } catch {
                throw SystemFailure("the report", "cannot be written: \(error)", status: .inputOutputError)
            }
            return Self.summary(report, dryRun)
        }
    }

    private static func lines(_ report: CollectionReport) throws(Errno) -> [UInt8] {
        let packs = report.packs.map { verdict in
            CollectionLine(
                pack: "\(verdict.record.id)", stored: verdict.record.storedLength, raw: verdict.record.rawLength,
                live: verdict.record.liveBytes, action: verdict.action.rawValue, reason: verdict.reason)
        }
        let unnamed = report.unnamed.map { object in
            CollectionLine(
                pack: object.name.words(at: "/").last.map(String.init) ?? object.name, stored: object.bytes,
                raw: 0, live: 0, action: object.action.rawValue, reason: object.reason)
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var bytes: [UInt8] = []
        for line in packs + unnamed {
            guard let data = try? encoder.encode(line) else { throw .io }
            bytes += Array(data) + [0x0A]
        }
        return bytes
    }

    private static func summary(_ report: CollectionReport, _ dryRun: Bool) -> CollectionSummary {
        var summary = CollectionSummary(isDryRun: dryRun)
        summary.packs = report.packs.count
        summary.kept = report.packs.count { $0.action == .keep }
        summary.toCompact = report.packs.count { $0.action == .compact }
        summary.toDelete = report.packs.count { $0.action == .delete }
        summary.storedBytes = report.packs.reduce(0) { $0 + $1.record.storedLength }
        summary.liveBytes = report.packs.reduce(0) { $0 + $1.record.liveBytes }
        summary.movedBytes = report.movedBytes
        summary.deletedPacks = report.deletedPacks
        summary.waitingPacks = report.waitingPacks
        summary.unnamedObjects = report.unnamed.count
        summary.deletedObjects = report.deletedObjects
        summary.freedBytes = report.freedBytes
        summary.leftovers = report.leftovers
        summary.failures = report.failures
        return summary
    }

    // MARK: Words

    private func wording<Result>(
        _ name: String, _ body: () throws(Errno) -> Result
    ) throws(SystemFailure) -> Result {
        do {
            return try body()
        } catch {
            throw words(name, error)
        }
    }

    private func words(_ name: String, _ error: Errno) -> SystemFailure {
        let subject = "snapshot \"\(volume)@\(name)\""
        return switch error {
        case .alreadyExists:
            SystemFailure(
                subject, "exists", fix: "use another name, or remove it first", errno: error, status: .cannotCreate)
        case .noEntry:
            OpenSnapshots.missing(name, of: volume)
        case .noSpace:
            SystemFailure(
                subject, "there is no room for its metadata", fix: "make room below \(paths.directory)", errno: error,
                status: .cannotCreate)
        default: SystemFailure(subject, "failed", error, fix: "see `berth log \(volume)`")
        }
    }
}
