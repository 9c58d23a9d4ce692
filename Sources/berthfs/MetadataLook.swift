import Control
import FileModel
import Glibc
import LinuxSystem
import Volumes

/// A volume's metadata for somebody who only reads it: the database itself, locked, where no server has it; else a copy
/// that the server makes.
struct MetadataLook: ~Copyable {
    /// A copy of a hundred million files.
    private static let copyTimeout = Duration.seconds(1800)

    let path: String
    /// Whether it is a copy of what is in use.
    let isCopy: Bool
    /// One of the two is held.
    private let volumeLock: VolumeLock?
    private var copyLock: FileLock?

    private init(path: String, volumeLock: consuming VolumeLock?, copyLock: consuming FileLock?) {
        self.path = path
        isCopy = copyLock != nil
        self.volumeLock = volumeLock
        self.copyLock = copyLock
    }

    /// `purpose` tells copies of different commands apart. With `again` a copy that was left is taken as it is.
    static func take(
        _ paths: VolumePaths, _ site: SitePaths, purpose: String, again: Bool = false
    ) throws(SystemFailure) -> MetadataLook {
        let refusal: SystemFailure
        do throws(SystemFailure) {
            return MetadataLook(path: paths.database, volumeLock: try VolumeLock.take(paths), copyLock: nil)
        } catch {
            guard error.errno == .busy else { throw error }
            refusal = error
        }
        let path = "\(paths.directory)/\(purpose).db"
        guard let lock = try FileLock.take("\(paths.directory)/\(purpose).lock", until: Deadline(after: .zero)) else {
            throw SystemFailure(
                "volume \"\(paths.name)\"", "is looked at by another `\(purpose)`", fix: "wait for it", errno: .busy,
                status: .temporaryFailure)
        }
        if !again || access(path, F_OK) != 0 { try copy(paths, site, to: path, or: refusal) }
        return MetadataLook(path: path, volumeLock: nil, copyLock: lock)
    }

    /// Makes the copy anew.
    borrowing func renew(_ paths: VolumePaths, _ site: SitePaths) throws(SystemFailure) {
        guard isCopy else { return }
        try Self.copy(
            paths, site, to: path,
            or: SystemFailure(
                "volume \"\(paths.name)\"", "is not served any more", fix: "try again", status: .unavailable))
    }

    /// The copy is not needed any more.
    mutating func remove() {
        guard isCopy else { return }
        unlink(path)
        if let lock = copyLock.take() { lock.remove() }
    }

    private static func copy(
        _ paths: VolumePaths, _ site: SitePaths, to path: String, or failure: SystemFailure
    ) throws(SystemFailure) {
        let supervisor = ServerSupervisor(
            paths: site, environment: ProcessEnvironment.current(),
            program: ProcessEnvironment.executablePath() ?? "berthfs")
        guard let client = try supervisor.running(paths) else { throw failure }
        let name = String(path[path.utf8.index(after: path.lastSlash ?? path.startIndex)...])
        try client.ask(.copy(name: name), timeout: copyTimeout)
    }
}
