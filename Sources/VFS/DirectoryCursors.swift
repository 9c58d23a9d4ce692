import FileModel
import LinuxSystem
import Metadata

/// Remembers which name a directory offset stands for.
///
/// A listing goes on after a name, and an offset is a hash of the name, so entries that come and go move
/// nothing: what stays through a whole listing is listed once. The offsets handed out last are kept here;
/// an older one (seekdir far back, a restart) is found by walking the directory.
///
/// Invariants
/// - `names` and `order` hold the same offsets; at most `limit`.
// SAFETY: mutable members are guarded by `monitor`.
final class DirectoryCursors: @unchecked Sendable {
    struct Key: Hashable {
        var directory: InodeID
        var offset: UInt64
    }

    /// 65,536 names: about 90 replies of 128 KiB, more than listings under way at once need.
    private static let limit = 65_536

    private let monitor = Monitor()
    private var names: [Key: FileName] = [:]
    private var order: [Key] = []
    private var oldest = 0

    /// The offset after an entry: FNV-1a of its name, 62 bits, clear of "." and "..". Kernel and libc pass
    /// it on as a positive off_t.
    static func offset(of name: FileName) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in name.bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        // FNV mixes upward: fold the upper bits in before cutting them off.
        hash ^= hash >> 32
        return hash & (1 << 62 - 1) | 1 << 61
    }

    func remember(_ entries: ArraySlice<DirectoryEntry>, of directory: InodeID) {
        monitor.lock()
        defer { monitor.unlock() }
        for entry in entries {
            let key = Key(directory: directory, offset: Self.offset(of: entry.name))
            guard names.updateValue(entry.name, forKey: key) == nil else { continue }
            if order.count < Self.limit {
                order.append(key)
            } else {
                names[order[oldest]] = nil
                order[oldest] = key
                oldest = (oldest + 1) % Self.limit
            }
        }
    }

    func name(at offset: UInt64, in directory: InodeID) -> FileName? {
        monitor.withLock { names[Key(directory: directory, offset: offset)] }
    }
}
