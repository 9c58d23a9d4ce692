import Control
import LinuxSystem
import Metadata
import VFS
import Volumes

extension VolumeSpace {
    init(_ taken: SpaceTaken) {
        func amount(_ usage: Usage) -> Amount { Amount(bytes: usage.bytes, files: usage.files) }
        self.init(
            live: amount(taken.live), trash: amount(taken.trash),
            stored: Amount(bytes: taken.packBytes, files: taken.packs))
    }

    /// Leaves it for those who ask while nobody serves the volume. It is no loss where it cannot be written.
    static func note(_ taken: SpaceTaken?, in paths: VolumePaths) {
        guard let taken, let bytes = try? SpaceNote.encoded(VolumeSpace(taken)) else { return }
        try? AtomicFile.replace(paths.space, bytes)
    }
}
