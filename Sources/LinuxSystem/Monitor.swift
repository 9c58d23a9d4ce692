import Glibc

/// A lock with a condition to wait on: what `Mutex` cannot do. Adaptive: a waiter spins a little before
/// it sleeps, because sections here last microseconds and a wake-up costs more than most of them.
// SAFETY: the two pthread objects are made once, never move, and are only used through their own calls.
public final class Monitor: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>

    public init() {
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        var mutexAttributes = pthread_mutexattr_t()
        pthread_mutexattr_init(&mutexAttributes)
        pthread_mutexattr_settype(&mutexAttributes, Int32(PTHREAD_MUTEX_ADAPTIVE_NP))
        pthread_mutex_init(mutex, &mutexAttributes)
        pthread_mutexattr_destroy(&mutexAttributes)
        var conditionAttributes = pthread_condattr_t()
        pthread_condattr_init(&conditionAttributes)
        // Monotonic: a change of the wall clock must not stretch a wait.
        pthread_condattr_setclock(&conditionAttributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &conditionAttributes)
        pthread_condattr_destroy(&conditionAttributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    @inline(__always)
    public func lock() { pthread_mutex_lock(mutex) }

    @inline(__always)
    public func unlock() { pthread_mutex_unlock(mutex) }

    public func withLock<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        lock()
        defer { unlock() }
        return try body()
    }

    /// As `withLock`; calls `beforeWaiting` where somebody else holds the lock.
    public func withLock<Result, Failure: Error>(
        beforeWaiting: () -> Void, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        if pthread_mutex_trylock(mutex) != 0 {
            beforeWaiting()
            lock()
        }
        defer { unlock() }
        return try body()
    }

    /// Waits for a signal; the lock is held before and after. Wakes for no reason, too.
    public func wait() { pthread_cond_wait(condition, mutex) }

    /// Waits for a signal or until `seconds` have passed. False when the time ran out.
    public func wait(seconds: Double) -> Bool {
        var deadline = timespec()
        clock_gettime(CLOCK_MONOTONIC, &deadline)
        // Rounded up: who waits for a moment that is less than a nanosecond away must not find that no time has passed.
        let total = Double(deadline.tv_nsec) + max((seconds * 1e9).rounded(.up), 1)
        deadline.tv_sec += Int(total / 1e9)
        deadline.tv_nsec = Int(total.truncatingRemainder(dividingBy: 1e9))
        return pthread_cond_timedwait(condition, mutex, &deadline) == 0
    }

    /// As `wait`, until the deadline at most. False once it has passed. For a loop whose whole wait is bounded, however
    /// often it is woken.
    public func wait(until deadline: Deadline) -> Bool {
        let left = deadline.remainingMilliseconds
        guard left != 0 else { return false }
        if left < 0 { wait() } else { _ = wait(seconds: Double(left) / 1000) }
        return true
    }

    /// Wakes one waiter: for conditions that only one can use.
    public func signalOne() { pthread_cond_signal(condition) }

    public func signalAll() { pthread_cond_broadcast(condition) }
}
