import CLinux
import Glibc

/// A thread of the process that runs one closure to its end. The data plane blocks, so it has threads
/// where the control plane has tasks.
// SAFETY: the handle is written once, before `init` returns, and read by `join` and `deinit` alone; `isJoined` belongs to
// the one that joins, and to `deinit`, which comes after.
public final class WorkerThread: @unchecked Sendable {
    private final class Start {
        let name: String
        let body: @Sendable () -> Void

        init(_ name: String, _ body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    private var handle = pthread_t()
    private var isJoined = false
    /// False where the system had no thread for it; the closure is not run then.
    public let isRunning: Bool

    /// Starts at once. `name` (15 bytes at most) shows in ps and gdb.
    public init(name: String, _ body: @escaping @Sendable () -> Void) {
        let start = Unmanaged.passRetained(Start(name, body))
        isRunning =
            pthread_create(
                &handle, nil,
                { argument in
                    guard let argument else { return nil }
                    let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                    start.name.withCString { _ = berth_prctl(PR_SET_NAME, UInt(bitPattern: $0)) }
                    start.body()
                    return nil
                }, start.toOpaque()) == 0
        if !isRunning { start.release() }
    }

    /// One that nobody can wait for any more gives its stack back by itself when it ends.
    deinit {
        if isRunning && !isJoined { pthread_detach(handle) }
    }

    /// Waits for the closure's end. Call it once.
    public func join() {
        guard isRunning else { return }
        pthread_join(handle, nil)
        isJoined = true
    }
}
