import LinuxSystem

/// The thread that looks after a volume's room, every few seconds, whether anything changes or not.
// SAFETY: every mutable member is guarded by `monitor`.
final class SpaceKeeper: @unchecked Sendable {
    /// Twice this long a pack that nobody needs stays, so that no reader that found it is under way.
    private static let interval = Duration.seconds(5)

    private let monitor = Monitor()
    private var isStopping = false
    private var thread: WorkerThread?

    func start(_ body: @escaping @Sendable () -> Void) {
        thread = WorkerThread(name: "berth-space") {
            while self.wait() { body() }
        }
    }

    /// Waits for the end of what is under way.
    func stop() {
        monitor.lock()
        isStopping = true
        monitor.signalAll()
        monitor.unlock()
        thread?.join()
        thread = nil
    }

    /// False at the end.
    private func wait() -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        let deadline = Deadline(after: Self.interval)
        while !isStopping && monitor.wait(until: deadline) {}
        return !isStopping
    }
}
