import FileModel
import Glibc

/// Which requests have changed something and may still be unanswered, in memory that outlives the process: where the
/// kernel asks one again of the next server, it must be answered and not done twice.
///
/// Each thread that answers requests has a slot, with the request it answers now. What a slot held when its process
/// died is carried over into a list, which the next server and those after it ask. A request that was being answered when
/// servers died of a fault, one after the other, is a suspect: it is refused before it ends the next.
///
/// Invariants
/// - A slot belongs to one thread from `enter` to `leave`. A slot's request is written before its first change.
/// - A slot says `isApplied` only after the log of changes has the end of the request's change.
/// - The carried list is complete before the slots are cleared, so that a death in between loses nothing.
// SAFETY: `taken` is guarded by `monitor`; a slot is written by its own thread; `carried` is constant after `settle`,
// which runs before the first thread enters.
public final class RequestSlots: @unchecked Sendable {
    /// Sessions of a volume times threads of a session are far fewer.
    private static let slotLimit = 16_384
    private static let slotBytes = 32
    private static let carriedLimit = 4096
    private static let carriedBytes = 24
    private static let carriedStart = 4096 + slotLimit * slotBytes
    private static let suspectStart = carriedStart + carriedLimit * carriedBytes
    private static let suspectLimit = 1024
    /// So many servers may die while they answer the same request.
    private static let suspicionLimit: UInt64 = 2
    public static let byteCount = suspectStart + suspectLimit * carriedBytes

    /// A request of a session. Each kernel connection numbers its own.
    public struct Request: Hashable, Sendable {
        public var session: UInt64
        public var unique: UInt64

        public init(session: UInt64, unique: UInt64) {
            self.session = session
            self.unique = unique
        }
    }

    private final class Occupant {
        let slot: Int
        /// The bytes of the request that is being answered, while it is one that was asked before.
        var repeated: UnsafeRawBufferPointer?

        init(_ slot: Int) { self.slot = slot }
    }

    private let memory: SharedMemory
    private var key = pthread_key_t()
    private let monitor = Monitor()
    private var free: [Int] = []
    private var fresh = 0
    private var carried: [Request: UInt64] = [:]
    /// Requests that are answered with an error. Constant after `settle`.
    public private(set) var refused: Set<Request> = []

    public init(_ memory: SharedMemory) {
        self.memory = memory
        pthread_key_create(&key, nil)
    }

    deinit { pthread_key_delete(key) }

    /// Whether any request of an earlier server may be asked again.
    public var mayRepeat: Bool { !carried.isEmpty || !refused.isEmpty }

    // MARK: A thread that answers requests

    /// Gives this thread a slot until `leave`. Without one nothing of it is remembered.
    public func enter() {
        let slot = monitor.withLock { () -> Int? in
            if let used = free.popLast() { return used }
            guard fresh < Self.slotLimit else { return nil }
            defer { fresh += 1 }
            return fresh
        }
        guard let slot else { return }
        pthread_setspecific(key, Unmanaged.passRetained(Occupant(slot)).toOpaque())
    }

    public func leave() {
        guard let pointer = pthread_getspecific(key) else { return }
        pthread_setspecific(key, nil)
        let slot = Unmanaged<Occupant>.fromOpaque(pointer).takeRetainedValue().slot
        monitor.withLock { free.append(slot) }
    }

    /// This thread answers a request from now on. `repeated` are its bytes where the kernel has asked it before; they
    /// must stay until the next call.
    @inline(__always)
    public func begin(_ unique: UInt64, of session: UInt64, repeated: UnsafeRawBufferPointer?) {
        guard let pointer = pthread_getspecific(key) else { return }
        Unmanaged<Occupant>.fromOpaque(pointer)._withUnsafeGuaranteedRef { occupant in
            let place = place(occupant.slot)
            memory.store(0, at: place + 24)
            memory.store(unique, at: place + 8)
            memory.store(session, at: place)
            occupant.repeated = repeated
        }
    }

    /// The slot of this thread and the request in it; nil for a thread that answers none.
    public func current() -> (slot: Int, request: Request)? {
        guard let pointer = pthread_getspecific(key) else { return nil }
        let slot = Unmanaged<Occupant>.fromOpaque(pointer)._withUnsafeGuaranteedRef { $0.slot }
        return (slot, request(slot))
    }

    private func request(_ slot: Int) -> Request {
        Request(session: memory.word(at: place(slot)), unique: memory.word(at: place(slot) + 8))
    }

    /// The change of a slot's request is whole. `value` is what its answer needs: the inode it made.
    public func markApplied(_ slot: Int, value: UInt64) {
        memory.store(value, at: place(slot) + 16)
        memory.store(1, at: place(slot) + 24)
    }

    /// What an earlier server left of the request that this thread answers: its bytes and its value. Nil where it was
    /// not asked before, or had changed nothing.
    public func applied() -> (request: UnsafeRawBufferPointer, value: UInt64)? {
        guard let pointer = pthread_getspecific(key) else { return nil }
        return Unmanaged<Occupant>.fromOpaque(pointer)._withUnsafeGuaranteedRef { occupant in
            guard let bytes = occupant.repeated else { return nil }
            return carried[request(occupant.slot)].map { (bytes, $0) }
        }
    }

    /// Whether servers died of the request that this thread has.
    public func isRefused() -> Bool {
        guard !refused.isEmpty, let pointer = pthread_getspecific(key) else { return false }
        return Unmanaged<Occupant>.fromOpaque(pointer)._withUnsafeGuaranteedRef { occupant in
            occupant.repeated != nil && refused.contains(request(occupant.slot))
        }
    }

    // MARK: Taking over

    /// Notes what the log of changes says of a slot: a process that died may not have come to `markApplied`.
    public func noteApplied(_ slot: Int, _ request: Request, value: UInt64) {
        guard slot >= 0, slot < Self.slotLimit, self.request(slot) == request else { return }
        markApplied(slot, value: value)
    }

    /// Carries over what earlier processes left. Call it once, before the first thread enters. `afterFault`: the last one
    /// died of a fault of its own.
    public func settle(afterFault: Bool = false) {
        if afterFault { suspect() }
        let suspects = list(at: Self.suspectStart, count: 8, limit: Self.suspectLimit)
        refused = Set(suspects.filter { $0.1 >= Self.suspicionLimit }.map(\.0))
        var requests = list(at: Self.carriedStart, count: 0, limit: Self.carriedLimit)
        let old = Set(requests.map(\.0))
        for slot in 0..<Self.slotLimit where memory.word(at: place(slot) + 24) == 1 {
            let request = request(slot)
            if !old.contains(request) { requests.append((request, memory.word(at: place(slot) + 16))) }
        }
        // The oldest go first: what was not asked again by the last servers was answered.
        requests = requests.suffix(Self.carriedLimit)
        carried = Dictionary(requests, uniquingKeysWith: { $1 })
        write(requests, at: Self.carriedStart, count: 0)
        memory.discard(4096..<4096 + Self.slotLimit * Self.slotBytes)
    }

    /// Counts one more death for each request that was being answered and had not changed anything.
    private func suspect() {
        let before = Dictionary(
            list(at: Self.suspectStart, count: 8, limit: Self.suspectLimit), uniquingKeysWith: { $1 })
        var suspects: [(Request, UInt64)] = []
        for slot in 0..<Self.slotLimit where suspects.count < Self.suspectLimit {
            let request = request(slot)
            guard request.unique != 0, memory.word(at: place(slot) + 24) == 0 else { continue }
            suspects.append((request, (before[request] ?? 0) + 1))
        }
        // One that is refused already is not in a slot as it was.
        suspects += before.filter { $0.value >= Self.suspicionLimit }.map { ($0.key, $0.value) }
        write(Array(suspects.suffix(Self.suspectLimit)), at: Self.suspectStart, count: 8)
    }

    /// A list's entries; `count` is where their number lies.
    private func list(at start: Int, count: Int, limit: Int) -> [(Request, UInt64)] {
        (0..<Int(clamping: min(memory.word(at: count), UInt64(limit)))).map { index in
            let place = start + index * Self.carriedBytes
            return (
                Request(session: memory.word(at: place), unique: memory.word(at: place + 8)),
                memory.word(at: place + 16)
            )
        }
    }

    /// Where entries move to the front a death in between may lose the oldest, which nobody asks for any more.
    private func write(_ requests: [(Request, UInt64)], at start: Int, count: Int) {
        for (index, entry) in requests.enumerated() {
            let place = start + index * Self.carriedBytes
            memory.store(entry.0.session, at: place)
            memory.store(entry.0.unique, at: place + 8)
            memory.store(entry.1, at: place + 16)
        }
        memory.store(UInt64(requests.count), at: count)
    }

    private func place(_ slot: Int) -> Int { 4096 + slot * Self.slotBytes }
}
