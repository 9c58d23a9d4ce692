import Glibc

/// Which file it is: its inode, and on which device.
///
///     INODE           of a version that recorded no device
///     INODE:0         on the device of the source's directory
///     INODE:DEVICE    on another one, which is mounted below it; hexadecimal
///
/// The number of a device is the kernel's for the time that it is mounted, where no disk is behind it (NFS, Lustre, FUSE):
/// the directory's own device is therefore recorded as such, and one of those below it fits any other of its kind.
struct FileTag: Equatable, CustomStringConvertible {
    private enum Device: Equatable {
        case unknown
        case root
        case other(UInt64)
    }

    private let inode: UInt64
    private let device: Device

    /// Nil for text that is no tag of a file.
    init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let inode = UInt64(parts[0]) else { return nil }
        self.inode = inode
        guard parts.count == 2 else {
            device = .unknown
            return
        }
        guard let number = UInt64(parts[1], radix: 16) else { return nil }
        device = number == 0 ? .root : .other(number)
    }

    init(_ status: Glibc.stat, below rootDevice: UInt64) {
        inode = UInt64(status.st_ino)
        let number = UInt64(status.st_dev)
        device = number == rootDevice ? .root : .other(number)
    }

    var description: String {
        switch device {
        case .unknown: "\(inode)"
        case .root: "\(inode):0"
        case .other(let number): "\(inode):\(String(number, radix: 16))"
        }
    }

    func fits(_ status: Glibc.stat, below rootDevice: UInt64) -> Bool {
        guard UInt64(status.st_ino) == inode else { return false }
        let number = UInt64(status.st_dev)
        return switch device {
        case .unknown: true
        case .root: number == rootDevice
        case .other(let known):
            number == known || number != rootDevice && Self.isUnnumbered(known) && Self.isUnnumbered(number)
        }
    }

    /// Major number 0 (linux/kdev_t.h): numbers that are given out at each mount.
    private static func isUnnumbered(_ device: UInt64) -> Bool { device >> 8 & 0xFFF == 0 && device >> 32 == 0 }
}
