import FileModel
import LinuxSystem

/// The name of a snapshot: it becomes a file's name, and follows an '@'.
public struct SnapshotName: Hashable, Sendable, CustomStringConvertible {
    public let description: String

    /// Checks a name somebody typed: the rules of volumes' names.
    public init(_ text: String) throws(SystemFailure) {
        do {
            description = try VolumeName(text).description
        } catch {
            throw SystemFailure(
                "snapshot name \"\(text.prefix(80))\"", "is not allowed", fix: error.fix, status: .usage)
        }
    }
}

/// `NAME`, or `NAME@SNAPSHOT`.
public struct VolumeReference: Hashable, Sendable, CustomStringConvertible {
    public let volume: VolumeName
    public let snapshot: SnapshotName?

    public init(_ text: String) throws(SystemFailure) {
        let parts = text.parts(at: "@", atMost: 1).map(String.init)
        volume = try VolumeName(parts[0])
        snapshot = try parts.count > 1 ? SnapshotName(parts[1]) : nil
    }

    public init(_ volume: VolumeName) {
        self.volume = volume
        snapshot = nil
    }

    public var description: String { volume.description + (snapshot.map { "@\($0)" } ?? "") }
}
