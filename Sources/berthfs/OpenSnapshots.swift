import FileModel
import LinuxSystem
import Packs
import SQLiteMetadata
import VFS

/// The snapshots of a volume that are being read: each is opened once.
///
/// Invariants
/// - A snapshot's database is open as long as it has users: sessions that show it, `.snapshots`, a restore.
/// - One that is being removed is not open, and is opened by nobody.
// SAFETY: `shown` and `going` are guarded by `monitor`; the rest is constant.
final class OpenSnapshots: @unchecked Sendable {
    private struct Shown {
        var fileSystem: FileSystem
        var metadata: SQLiteSnapshot
        var users: Int
    }

    private let volume: String
    private let fileSystem: FileSystem
    private let packs: PackStore
    private let configuration: FileSystemConfiguration
    private let monitor = Monitor()
    private var shown: [String: Shown] = [:]
    private var going: Set<String> = []

    init(_ volume: String, _ opened: OpenVolume) {
        self.volume = volume
        fileSystem = opened.fileSystem
        packs = opened.packs
        configuration = opened.configuration
    }

    /// Runs the removal of a snapshot, which nobody can open from now on. False where somebody has it open.
    func remove(_ name: String, _ removal: () throws(SystemFailure) -> Void) throws(SystemFailure) -> Bool {
        let mayGo = monitor.withLock { shown[name] == nil && going.insert(name).inserted }
        guard mayGo else { return false }
        defer { monitor.withLock { _ = going.remove(name) } }
        try removal()
        return true
    }

    /// The file system that shows a snapshot. Give it back with `release`.
    func open(_ name: String) throws(SystemFailure) -> FileSystem {
        monitor.lock()
        defer { monitor.unlock() }
        if let found = shown[name] {
            shown[name]?.users += 1
            return found.fileSystem
        }
        guard !going.contains(name) else { throw Self.missing(name, of: volume) }
        let path: String
        do {
            path = try fileSystem.database(ofSnapshot: name)
        } catch {
            if error == .noEntry { throw Self.missing(name, of: volume) }
            throw SystemFailure("snapshot \"\(volume)@\(name)\"", "failed", error, fix: "see `berth log \(volume)`")
        }
        let metadata: SQLiteSnapshot
        do {
            metadata = try SQLiteSnapshot(path: path)
        } catch {
            throw SystemFailure("snapshot \"\(volume)@\(name)\"", error.description, status: .dataError)
        }
        let view = FileSystem(snapshot: metadata, packs: packs, configuration: configuration)
        shown[name] = Shown(fileSystem: view, metadata: metadata, users: 1)
        return view
    }

    func release(_ name: String) {
        monitor.lock()
        defer { monitor.unlock() }
        guard let found = shown[name] else { return }
        shown[name]?.users -= 1
        guard found.users == 1 else { return }
        shown[name] = nil
        try? found.metadata.close()
    }

    /// As `open`, with what a program is answered; the log says the rest.
    func openForDirectory(_ name: String) throws(Errno) -> FileSystem {
        do throws(SystemFailure) {
            return try open(name)
        } catch {
            if error.errno != .noEntry { configuration.report(error.message) }
            throw error.errno ?? .io
        }
    }

    static func missing(_ name: String, of volume: String) -> SystemFailure {
        SystemFailure(
            "snapshot \"\(volume)@\(name)\"", "does not exist", fix: "see `berth snapshot ls \(volume)`",
            errno: .noEntry, status: .noInput)
    }
}
