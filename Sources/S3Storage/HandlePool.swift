import LinuxSystem

/// The handles of one store. The last one given back is taken first, so that few connections stay warm.
///
/// Invariants
/// - At most `limit` handles are out; who wants another waits. That bounds connections and parallel requests.
/// - At most `backgroundLimit` of them are for requests that nobody waits for: a reader is never behind those.
// SAFETY: every mutable member is guarded by `monitor`; a handle is in `idle` or with one thread.
final class HandlePool: @unchecked Sendable {
    /// As many as a server has threads for requests, and a few for what runs in the background.
    static let limit = 24
    private static let backgroundLimit = 16

    private let monitor = Monitor()
    private var idle: [CurlHandle] = []
    private var out = 0
    private var outInBackground = 0

    /// Runs `body` with a handle of its own; nil where there is no memory for one.
    func withHandle<Result, Failure: Error>(
        inBackground: Bool, _ body: (CurlHandle?) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        monitor.lock()
        while out >= Self.limit || (inBackground && outInBackground >= Self.backgroundLimit) { monitor.wait() }
        out += 1
        if inBackground { outInBackground += 1 }
        let kept = idle.popLast()
        monitor.unlock()
        let handle = kept ?? CurlHandle()
        defer {
            monitor.lock()
            out -= 1
            if inBackground { outInBackground -= 1 }
            if let handle { idle.append(handle) }
            // All: one that may not go on must not eat the signal of one that may.
            monitor.signalAll()
            monitor.unlock()
        }
        return try body(handle)
    }
}
