import Glibc

/// When a client started and ended, and how long each of its operations took.
struct Recorder {
    private(set) var started: UInt64 = 0
    private(set) var ended: UInt64 = 0
    private(set) var nanoseconds: [UInt32] = []
    private(set) var bytes: UInt64 = 0
    private var last: UInt64 = 0

    init(expected: Int) {
        nanoseconds.reserveCapacity(expected)
    }

    static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    mutating func start() {
        started = Self.now()
        last = started
    }

    /// The operation that begins now is not charged for what came before it.
    @inline(__always)
    mutating func begin() {
        last = Self.now()
    }

    /// An operation has ended; the next one begins.
    @inline(__always)
    mutating func done(bytes count: Int = 0) {
        let time = Self.now()
        nanoseconds.append(UInt32(truncatingIfNeeded: min(time &- last, UInt64(UInt32.max))))
        bytes += UInt64(count)
        last = time
    }

    mutating func finish() {
        ended = Self.now()
    }
}

/// What a client's process hands back, in the order it is written.
struct Report {
    var started: UInt64
    var ended: UInt64
    var bytes: UInt64
    var nanoseconds: [UInt32]
}
