import Packs
import Volumes

extension VolumeRecord {
    /// The compression of new packs.
    var packCompression: Compression {
        switch options.compression {
        case .zstd: .zstd
        case .none: .none
        }
    }
}
