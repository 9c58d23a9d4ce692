import Glibc

/// `/dev/fuse`.
public enum FUSEDevice {
    /// Linux's number of it: misc devices are major 10, and fuse is minor 229.
    private static let number: dev_t = 10 << 8 | 229

    /// Whether a descriptor is one of it.
    public static func isOne(_ descriptor: Int32) -> Bool {
        var status = stat()
        return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFCHR && status.st_rdev == number
    }
}
