import FileModel
import Packs
import VFS
import Volumes

extension VolumeRecord {
    /// The compression of new packs.
    var packCompression: Compression {
        switch options.compression {
        case .zstd: .zstd
        case .none: .none
        }
    }

    /// What it may hold.
    func limits() -> VolumeLimits { VolumeLimits(bytes: options.size, inodes: options.inodeLimit) }

    func apply(to limits: VolumeLimits) { limits.set(bytes: options.size, inodes: options.inodeLimit) }

    /// What is kept of what is deleted.
    func trashSettings() -> TrashSettings {
        let settings = TrashSettings()
        apply(to: settings)
        return settings
    }

    func apply(to settings: TrashSettings) {
        let trash = options.trash ?? TrashOptions()
        settings.set(
            retentionNanoseconds: Int64(clamping: trash.seconds ?? TrashOptions.defaultSeconds)
                .multipliedClamped(by: 1_000_000_000),
            countsInLimits: options.countsTrash, keepsTruncated: trash.keepsTruncated ?? false)
    }
}
