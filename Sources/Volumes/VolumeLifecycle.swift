import Control
import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem

extension MountService {
    /// A server that ends stores its last packs first.
    private static let closeTimeout = Duration.seconds(60)
    /// Of a hundred million files.
    private static let mendTimeout = Duration.seconds(3600)

    /// Makes a volume. A bucket is asked at once: what is wrong with it is said here, and not at the first file.
    public func create(
        _ name: VolumeName, _ options: VolumeOptions, now: String
    ) throws(SystemFailure) -> VolumeRecord {
        let new = VolumeRecord(name: name, createdAt: now, options: options)
        try cachePlaces(of: new).judge()
        return try registry.create(name, options, now: now) { record throws(SystemFailure) in
            try supervisor.askBucket("claim", record)
        }
    }

    /// The tables of a hundred thousand packs are read one by one.
    private static let recoverTimeout = Duration.seconds(24 * 3600)

    /// Brings a volume back from its store, where no volume of that name is here. `fromPacks`: without names, where the store
    /// has no copy of the metadata.
    public func recover(
        _ name: VolumeName, _ options: VolumeOptions, trusted: [SourceEntry], fromPacks: Bool, now: String
    ) throws(SystemFailure) -> Recovery {
        var answer = ""
        try registry.adopt(name, options, trusted: trusted, now: now) { record throws(SystemFailure) in
            answer = try supervisor.askStore(
                ["recover", record] + (fromPacks ? ["--from-packs"] : []), timeout: Self.recoverTimeout)
        }
        do {
            return try JSONDecoder().decode(Recovery.self, from: Data(answer.utf8))
        } catch {
            throw SystemFailure("berthfs", "gave no report of what it recovered", status: .software)
        }
    }

    /// Ends a volume's server and waits until it has closed the volume. Its mounts end with it.
    /// With `storeSeconds` it stores for so long at most, and all that is staged then.
    public func stopServer(_ volume: VolumePaths, storeSeconds: Double? = nil) throws(SystemFailure) {
        guard let client = try supervisor.running(volume) else { return }
        let process = try client.status().lastProcessID
        try Self.tellToEnd(client, .stop(seconds: storeSeconds), timeout: .seconds(5))
        let patience = Self.closeTimeout + .seconds(storeSeconds ?? 0)
        guard ProcessWatch.waitForEnd(of: process, timeout: patience) else {
            throw SystemFailure(
                "the server of volume \"\(volume.name)\"", "still stores data (pid \(process))",
                fix: "wait, and try again", status: .temporaryFailure)
        }
    }

    /// Has a volume's server replaced by one of the program that is installed now, while its mounts go on. Answers the
    /// new server's status; nil where none ran. With `mending` the new one mends the metadata before it opens it.
    public func restartServer(_ volume: VolumePaths, mending: Bool = false) throws(SystemFailure) -> ServerStatus? {
        guard let client = try supervisor.running(volume) else { return nil }
        let before = try client.status()
        guard before.handover == Handover.format else {
            throw SystemFailure(
                "the server of volume \"\(volume.name)\"",
                "(version \(before.version)) cannot hand over to this version",
                fix: "unmount the volume; its next mount starts the new program", errno: .notSupported,
                status: .unavailable)
        }
        let keeper = ProcessIdentity(of: before.lastProcessID)
        try Self.tellToEnd(client, mending ? .mend : .restart, timeout: .seconds(10))
        let patience = mending ? Self.mendTimeout : Self.closeTimeout
        let deadline = Deadline(after: patience)
        while !deadline.hasPassed {
            if let status = (try? self.status(of: volume)) ?? nil, status.processID != before.processID {
                return status
            }
            if let keeper, !keeper.isRunning {
                throw SystemFailure(
                    "the server of volume \"\(volume.name)\"", "could not be replaced, and its mounts have ended",
                    fix: "see \(volume.log); unmount the volume, and mount it again", status: .unavailable)
            }
            usleep(5_000)
        }
        throw SystemFailure(
            "the server of volume \"\(volume.name)\"", "was not replaced within \(patience)",
            fix: "see \(volume.log)", status: .temporaryFailure)
    }

    /// A server that ends at once may be gone before its answer is sent.
    private static func tellToEnd(
        _ client: ServerClient, _ request: ServerRequest, timeout: Duration
    ) throws(SystemFailure) {
        do throws(SystemFailure) {
            try client.ask(request, timeout: timeout)
        } catch {
            guard error.isHangUp else { throw error }
        }
    }

    /// What the volume's server says, or nil where none runs.
    public func status(of volume: VolumePaths) throws(SystemFailure) -> ServerStatus? {
        try supervisor.running(volume)?.status()
    }
}
