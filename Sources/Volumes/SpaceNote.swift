import Control
import FoundationEssentials
import Glibc
import LinuxSystem

/// What a volume took when its last server ended, for those who ask while nobody serves it.
public enum SpaceNote {
    private static let limit = 4096

    public static func encoded(_ space: VolumeSpace) throws -> [UInt8] { Array(try JSONEncoder().encode(space)) }

    /// Nil where there is none.
    public static func last(of volume: VolumePaths) -> VolumeSpace? {
        guard let file = try? FileDescriptor.open(volume.space, O_RDONLY | O_NOFOLLOW),
            let bytes = try? file.readAll(limit: limit)
        else { return nil }
        return try? JSONDecoder().decode(VolumeSpace.self, from: Data(bytes))
    }
}

/// What a volume takes on this machine, beside its store: as its directories tell.
public struct LocalSpace: Sendable {
    /// Not in the store yet.
    public var staged: VolumeSpace.Amount
    /// The database, its log, snapshots and records.
    public var metadata: VolumeSpace.Amount

    public init(_ volume: VolumePaths) {
        staged = Self.taken([volume.staging])
        metadata = Self.taken([volume.directory, volume.snapshots])
    }

    /// Of the files right in these directories, on disk.
    private static func taken(_ directories: [String]) -> VolumeSpace.Amount {
        var amount = VolumeSpace.Amount(bytes: 0, files: 0)
        for directory in directories {
            for name in (try? FileTree.names(in: directory)) ?? [] {
                var status = stat()
                guard lstat("\(directory)/\(name)", &status) == 0, status.st_mode & S_IFMT == S_IFREG else { continue }
                amount.bytes += UInt64(clamping: status.st_blocks) * 512
                amount.files += 1
            }
        }
        return amount
    }
}
