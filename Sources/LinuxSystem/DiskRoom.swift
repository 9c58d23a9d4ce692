import Glibc

/// What a file system says of its size, and what its user may still write: bytes. Some say what no disk has.
public struct DiskRoom: Equatable, Sendable {
    public var total: UInt64
    public var free: UInt64

    /// Of the file system that a path is on; nil where it does not tell.
    public init?(of path: String) {
        var status = statvfs()
        guard statvfs(path, &status) == 0 else { return nil }
        self.init(unit: UInt64(status.f_frsize), blocks: UInt64(status.f_blocks), available: UInt64(status.f_bavail))
    }

    package init(unit: UInt64, blocks: UInt64, available: UInt64) {
        total = Self.product(blocks, unit)
        free = Self.product(available, unit)
    }

    private static func product(_ blocks: UInt64, _ unit: UInt64) -> UInt64 {
        let (bytes, overflow) = blocks.multipliedReportingOverflow(by: unit)
        return overflow ? UInt64(Int64.max) : min(bytes, UInt64(Int64.max))
    }
}
