import FoundationEssentials
import Glibc
import LinuxSystem
import Logging
import Volumes

/// Mends the metadata of a volume in use: its server leaves it, with the sessions, to a new one that mends it first.
struct Mending {
    private let record: VolumeRecord
    private let paths: VolumePaths
    private let logger: Logger

    init(_ record: VolumeRecord, _ paths: VolumePaths, logger: Logger) {
        self.record = record
        self.paths = paths
        self.logger = logger
    }

    private struct Outcome: Codable {
        var lines: [String] = []
        var failure: String?
    }

    /// The new server's part, before it opens anything. True where something was mended.
    func runIfAsked() -> Bool {
        // Gone before the work begins: what kills a server must not kill each that follows.
        guard unlink(paths.mendMark) == 0 else { return false }
        var outcome = Outcome()
        do throws(SystemFailure) {
            outcome.lines = try VolumeRepair(record, paths, isMounted: true).run()
        } catch {
            outcome.failure = error.message
            logger.error("not mended", metadata: ["volume": "\(record.name)", "cause": "\(error.message)"])
        }
        for line in outcome.lines {
            logger.notice("mended", metadata: ["volume": "\(record.name)", "cause": "\(line)"])
        }
        do {
            try AtomicFile.replace(paths.mended, Array(try JSONEncoder().encode(outcome)))
        } catch {
            logger.error("what was mended cannot be told", metadata: ["cause": "\(error)"])
        }
        return !outcome.lines.isEmpty
    }

    /// The part of who asks. Answers a line for each thing that was mended; nil where the database must be made anew and
    /// nothing was mounted any more: then the server has ended.
    static func ask(_ paths: VolumePaths, _ site: SitePaths) throws(SystemFailure) -> [String]? {
        let mounts = MountService(
            paths: site, environment: ProcessEnvironment.current(),
            program: ProcessEnvironment.executablePath() ?? "berthfs")
        // Not after the server has gone: the next one could not open such a database, and the mounts would end.
        if let cause = try damageBeyondMending(paths, site) {
            guard try mounts.status(of: paths)?.sessions.isEmpty ?? true else {
                throw VolumeRepair.refusal(paths, cause)
            }
            try mounts.stopServer(paths)
            return nil
        }
        unlink(paths.mended)
        guard try mounts.restartServer(paths, mending: true) != nil else {
            throw SystemFailure(
                "volume \"\(paths.name)\"", "is in use by another process", fix: "try again", errno: .busy,
                status: .temporaryFailure)
        }
        defer { unlink(paths.mended) }
        guard let bytes = try AtomicFile.read(paths.mended),
            let outcome = try? JSONDecoder().decode(Outcome.self, from: Data(bytes))
        else {
            throw SystemFailure(
                "volume \"\(paths.name)\"", "could not be mended while it is mounted",
                fix: "see \(paths.log); unmount it, and try again", status: .dataError)
        }
        if let failure = outcome.failure {
            throw SystemFailure(
                "volume \"\(paths.name)\"", "is mounted, and could not be mended: \(failure)", status: .dataError)
        }
        return outcome.lines
    }

    private static func damageBeyondMending(_ paths: VolumePaths, _ site: SitePaths) throws(SystemFailure) -> String? {
        // Its server has the file locked, and may go on with one that has no name any more.
        var status = stat()
        guard stat(paths.database, &status) == 0, status.st_size > 0 else { return "it is gone" }
        var look = try MetadataLook.take(paths, site, purpose: "check")
        defer { look.remove() }
        return try VolumeRepair.look(look.path).damage
    }
}
