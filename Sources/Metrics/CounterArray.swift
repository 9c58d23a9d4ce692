import Glibc
import Synchronization

/// A fixed number of counters that any thread may add to: no lock, no allocation, no order among them.
// SAFETY: the memory lives as long as the object, and each cell is atomic.
public final class CounterArray: @unchecked Sendable {
    private let cells: UnsafeMutablePointer<Atomic<UInt64>>
    public let count: Int

    public init(count: Int) {
        self.count = count
        cells = .allocate(capacity: count)
        for index in 0..<count { (cells + index).initialize(to: Atomic(0)) }
    }

    deinit {
        cells.deinitialize(count: count)
        cells.deallocate()
    }

    @inline(__always)
    public func add(_ amount: UInt64, at index: Int) {
        precondition(index >= 0 && index < count, "a counter that there is not")
        cells[index].wrappingAdd(amount, ordering: .relaxed)
    }

    public func value(at index: Int) -> UInt64 {
        precondition(index >= 0 && index < count, "a counter that there is not")
        return cells[index].load(ordering: .relaxed)
    }
}

/// Nanoseconds of the clock that durations are measured with.
@inline(__always)
public func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
