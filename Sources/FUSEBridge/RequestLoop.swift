import CFUSE
import CLinux
import FileModel
import Glibc
import LinuxSystem
import Metrics
import Synchronization

/// Receives one session's requests and has them answered with few wake-ups, which are the price of a request.
///
/// One thread at a time leads: it waits for requests and answers each itself. Before it does anything slow (a fetch
/// from the store, a sync, a large copy) it passes the lead on, so that a slow request holds up no other. After a
/// request the leader looks for the next one for a moment before it sleeps: being woken on another core costs more
/// than most requests.
///
/// Invariants
/// - `followers` are the threads that wait for the lead, or were made to. Where there is none, passing on makes one.
/// - At most one thread leads. Only the leader receives, and only it passes the lead on.
/// - No thread sleeps in a read: the descriptor does not block, and `stop` ends every wait.
// SAFETY: `handle` and the descriptors outlive the threads; `leader` is atomic, the rest is guarded by `monitor`.
package final class RequestLoop: @unchecked Sendable {
    /// Threads there are from the start. Another is made when all of them wait for something: a store that is away
    /// holds up who writes, not who reads.
    private static let threadCount = 4
    /// Each costs little but its stack. Past it requests wait for one another.
    private static let threadLimit = 256
    /// How long the leader looks for another request before it sleeps. About what two wake-ups cost; so short that
    /// an idle mount costs nothing, and it yields to whoever wants the core.
    private static let patienceNanoseconds: UInt64 = 20_000
    /// A transfer of this size takes longer than a wake-up: others go on meanwhile, where there are cores for it.
    private static let largeTransferBytes = sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 2 ? 64 << 10 : Int.max

    private let handle: OpaquePointer
    private let device: Int32
    private let wakeup: Int32
    private let meter: RequestMeter
    private let nextShard = Atomic<Int>(0)
    private let slots: RequestSlots?
    /// The session's name in the slots.
    private let session: UInt64
    private let monitor = Monitor()
    private let leader = Atomic<UInt>(nobody)
    private var isStopping = false
    private var threads: [WorkerThread] = []
    /// Threads that wait for the lead.
    private var followers = 0

    private static let nobody: UInt = 0

    /// Takes a libfuse session whose descriptor is `device`. Nothing is received before `run`. In `slots` it notes
    /// which request each thread answers.
    package init(
        _ handle: OpaquePointer, device: Int32, meter: RequestMeter = RequestMeter(), slots: RequestSlots? = nil,
        session: UInt64 = 0
    ) throws(Errno) {
        self.handle = handle
        self.device = device
        self.meter = meter
        self.slots = slots
        self.session = session
        wakeup = berth_event_descriptor()
        guard wakeup >= 0 else { throw .current }
        _ = berth_set_nonblocking(device, 1)
    }

    deinit { close(wakeup) }

    /// Serves until the connection ends or `stop` is called. Blocks.
    package func run() {
        monitor.lock()
        for _ in 1..<Self.threadCount { addThread() }
        monitor.unlock()
        work(isCounted: false)
        // No thread is added any more once the loop is stopping.
        for thread in monitor.withLock({ threads }) { thread.join() }
    }

    /// Under the monitor.
    private func addThread() {
        let thread = WorkerThread(name: "berth-request") { [unowned self] in self.work(isCounted: true) }
        guard thread.isRunning else { return }
        threads.append(thread)
        // It counts before it waits: two that pass the lead on at once need two.
        followers += 1
    }

    /// Ends `run` once the requests under way are answered. Safe from any thread, before `run` too.
    package func stop() {
        fuse_session_exit(handle)
        _ = berth_event_raise(wakeup)
    }

    /// Called by a thread that answers a request, before it waits for something: another one leads from here on.
    package func passOn() {
        guard leader.load(ordering: .relaxed) == Self.thisThread else { return }
        monitor.lock()
        leader.store(Self.nobody, ordering: .relaxed)
        if followers == 0 && !isStopping && threads.count < Self.threadLimit { addThread() }
        monitor.signalOne()
        monitor.unlock()
    }

    private func work(isCounted: Bool) {
        let own = Self.thisThread
        var isCounted = isCounted
        var buffer = fuse_buf()
        defer { free(buffer.mem) }
        let shard = nextShard.wrappingAdd(1, ordering: .relaxed).oldValue % RequestMeter.shards
        let note = ReplyNote()
        defer { note.end() }
        slots?.enter()
        defer { slots?.leave() }
        while takeLead(own, isCounted) {
            isCounted = false
            repeat {
                guard receive(&buffer) else { return end() }
                if Self.isSlow(buffer) { passOn() }
                noteSlot(buffer)
                let start = monotonicNanoseconds()
                let opcode = Self.opcode(buffer)
                note.clear()
                fuse_session_process_buf(handle, &buffer)
                meter.record(note.answered(opcode, monotonicNanoseconds() &- start), shard: shard)
            } while leader.load(ordering: .relaxed) == own
        }
    }

    private func takeLead(_ own: UInt, _ isCounted: Bool) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        if !isCounted { followers += 1 }
        defer { followers -= 1 }
        while leader.load(ordering: .relaxed) != Self.nobody && !isStopping { monitor.wait() }
        guard !isStopping else { return false }
        leader.store(own, ordering: .relaxed)
        return true
    }

    private func end() {
        monitor.lock()
        leader.store(Self.nobody, ordering: .relaxed)
        isStopping = true
        monitor.signalAll()
        monitor.unlock()
    }

    /// The next request. False when the connection or the loop has ended.
    private func receive(_ buffer: inout fuse_buf) -> Bool {
        var deadline: UInt64?
        while fuse_session_exited(handle) == 0 {
            let count = fuse_session_receive_buf(handle, &buffer)
            if count > 0 { return true }
            guard count == -EAGAIN || count == -EINTR else { return false }
            let now = monotonicNanoseconds()
            let end = deadline ?? now + Self.patienceNanoseconds
            deadline = end
            if now < end { sched_yield() } else { sleep() }
        }
        return false
    }

    private func sleep() {
        var sources = (
            pollfd(fd: device, events: Int16(POLLIN), revents: 0), pollfd(fd: wakeup, events: Int16(POLLIN), revents: 0)
        )
        withUnsafeMutableBytes(of: &sources) {
            _ = poll($0.baseAddress?.assumingMemoryBound(to: pollfd.self), 2, -1)
        }
    }

    private static func opcode(_ buffer: fuse_buf) -> UInt32 {
        let offset = MemoryLayout<UInt32>.size
        guard let start = buffer.mem, buffer.size >= MemoryLayout<fuse_in_header>.size else { return 0 }
        return start.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
    }

    /// FUSE_UNIQUE_RESEND of `linux/fuse.h` 7.40: the kernel has asked this before.
    private static let asksAgain = UInt64(1) << 63

    @inline(__always)
    private func noteSlot(_ buffer: fuse_buf) {
        guard let slots, let start = buffer.mem, buffer.size >= MemoryLayout<fuse_in_header>.size else { return }
        let unique = start.loadUnaligned(as: fuse_in_header.self).unique
        let isRepeated = unique & Self.asksAgain != 0 && slots.mayRepeat
        slots.begin(
            unique & ~Self.asksAgain, of: session,
            repeated: isRepeated ? UnsafeRawBufferPointer(start: start, count: buffer.size) : nil)
    }

    private static func isSlow(_ buffer: fuse_buf) -> Bool {
        guard let start = buffer.mem, buffer.size >= MemoryLayout<fuse_in_header>.size else { return false }
        let header = start.loadUnaligned(as: fuse_in_header.self)
        let body = MemoryLayout<fuse_in_header>.size
        switch header.opcode {
        case FUSE_WRITE.rawValue:
            return buffer.size >= largeTransferBytes
        case FUSE_READ.rawValue:
            guard buffer.size >= body + MemoryLayout<fuse_read_in>.size else { return false }
            return start.loadUnaligned(fromByteOffset: body, as: fuse_read_in.self).size >= largeTransferBytes
        case FUSE_FSYNC.rawValue, FUSE_FSYNCDIR.rawValue, FUSE_FALLOCATE.rawValue, FUSE_COPY_FILE_RANGE.rawValue:
            return true
        default:
            return false
        }
    }

    private static var thisThread: UInt { UInt(pthread_self()) }
}
