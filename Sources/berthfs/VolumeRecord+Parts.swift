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

    /// What is kept of what is deleted.
    func trashSettings() -> TrashSettings {
        let settings = TrashSettings()
        apply(to: settings)
        return settings
    }

    func apply(to settings: TrashSettings) {
        let trash = options.trash ?? TrashOptions()
        settings.set(
            retentionNanoseconds: Int64(trash.seconds ?? TrashOptions.defaultSeconds) * 1_000_000_000,
            countsInLimits: trash.isCounted ?? false, keepsTruncated: trash.keepsTruncated ?? false)
    }
}
