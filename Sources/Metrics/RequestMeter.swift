/// What the kernel asks of a file system. Numbers are those of `linux/fuse.h`.
public enum FileOperation: String, CaseIterable, Sendable {
    case lookup, forget, getattr, setattr, readlink, symlink, mknod, mkdir, unlink, rmdir, rename, link, open, read
    case write, statfs, release, fsync, setxattr, getxattr, listxattr, removexattr, flush, opendir, readdir, create,
        fallocate
    case lseek
    case copyFileRange = "copy_file_range"
    /// The start and the end of a session, interrupts, and what Berth has no verb for.
    case other

    init(opcode: UInt32) {
        self =
            switch opcode {
            case 1: .lookup
            case 2, 42: .forget
            case 3: .getattr
            case 4: .setattr
            case 5: .readlink
            case 6: .symlink
            case 8: .mknod
            case 9: .mkdir
            case 10: .unlink
            case 11: .rmdir
            case 12, 45: .rename
            case 13: .link
            case 14: .open
            case 15: .read
            case 16: .write
            case 17: .statfs
            case 18, 29: .release
            case 20, 30: .fsync
            case 21: .setxattr
            case 22: .getxattr
            case 23: .listxattr
            case 24: .removexattr
            case 25: .flush
            case 27: .opendir
            case 28, 44: .readdir
            case 35, 51: .create
            case 43: .fallocate
            case 46: .lseek
            case 47: .copyFileRange
            default: .other
            }
    }
}

/// One request that was answered.
public struct AnsweredRequest: Sendable {
    public var opcode: UInt32
    public var nanoseconds: UInt64
    /// The errno of the answer, or 0.
    public var errno: Int32
    public var bytesRead: UInt64
    public var bytesWritten: UInt64

    @inline(__always)
    public init(opcode: UInt32, nanoseconds: UInt64, errno: Int32, bytesRead: UInt64, bytesWritten: UInt64) {
        self.opcode = opcode
        self.nanoseconds = nanoseconds
        self.errno = errno
        self.bytesRead = bytesRead
        self.bytesWritten = bytesWritten
    }
}

/// Counts and times the requests of a volume's sessions.
public final class RequestMeter: Sendable {
    /// Threads of a request loop that record at once; more share.
    public static let shards = 8
    private static let opcodeLimit: UInt32 = 64
    private static let inputOutputError: Int32 = 5
    /// What programs ask to find out, and the kernel to learn what there is no verb for: ENOENT, ENXIO, EEXIST, ERANGE,
    /// ENOSYS, ENODATA, EOPNOTSUPP. Nothing is wrong with such an answer.
    private static let ordinaryAnswers: UInt128 = [2, 6, 17, 34, 38, 61, 95].reduce(0) { $0 | 1 << $1 }

    private enum Total: Int, CaseIterable {
        case bytesRead, bytesWritten, faults
    }

    /// A cache line.
    private static let totalStride = 8

    private let operations = OperationMeter(kinds: FileOperation.allCases.count, shards: shards)
    private let totals = CounterArray(count: totalStride * shards)
    /// The place of each opcode among the operations.
    private let kinds: [UInt8]

    public init() {
        let places = Dictionary(
            uniqueKeysWithValues: FileOperation.allCases.enumerated().map { ($0.element, UInt8($0.offset)) })
        kinds = (0...Self.opcodeLimit).map { places[FileOperation(opcode: $0)] ?? 0 }
    }

    @inline(__always)
    public func record(_ request: AnsweredRequest, shard: Int) {
        let kind = Int(kinds[Int(min(request.opcode, Self.opcodeLimit))])
        operations.record(kind, nanoseconds: request.nanoseconds, isError: isError(request.errno), shard: shard)
        let start = shard * Self.totalStride
        if request.bytesRead > 0 { totals.add(request.bytesRead, at: start + Total.bytesRead.rawValue) }
        if request.bytesWritten > 0 { totals.add(request.bytesWritten, at: start + Total.bytesWritten.rawValue) }
        if request.errno == Self.inputOutputError { totals.add(1, at: start + Total.faults.rawValue) }
    }

    private func isError(_ errno: Int32) -> Bool {
        guard errno != 0 else { return false }
        return errno < 0 || errno > 127 || Self.ordinaryAnswers >> UInt128(errno) & 1 == 0
    }

    public func statistics() -> RequestStatistics {
        func total(_ which: Total) -> UInt64 {
            (0..<Self.shards).reduce(0) { $0 + totals.value(at: $1 * Self.totalStride + which.rawValue) }
        }
        var found: [String: OperationStatistics] = [:]
        for (kind, operation) in FileOperation.allCases.enumerated() {
            let statistics = operations.statistics(kind)
            if statistics.latency.count > 0 { found[operation.rawValue] = statistics }
        }
        return RequestStatistics(
            operations: found, bytesRead: total(.bytesRead), bytesWritten: total(.bytesWritten), faults: total(.faults))
    }
}
