import LinuxSystem

/// A bound on bytes a second, over all connections of a store: a bucket of tokens that is filled with time.
///
/// Invariants
/// - Who takes may leave the bucket in debt by one piece, and nobody takes from a bucket in debt. So over any time no
///   more than `bytesPerSecond` of it, a tenth of a second's worth and one piece go through.
/// - What runs in the background takes nothing while somebody in the foreground waits.
// SAFETY: every mutable member is guarded by `monitor`.
final class RateLimit: @unchecked Sendable {
    /// A wait looks this often whether its request was abandoned.
    private static let longestWait = 0.25

    private let bytesPerSecond: Double
    private let monitor = Monitor()
    private var tokens: Double
    private var filled = ContinuousClock.now
    private var waitingInForeground = 0

    init(bytesPerSecond: Int) {
        self.bytesPerSecond = Double(bytesPerSecond)
        tokens = self.bytesPerSecond / 10
    }

    /// Returns when `count` bytes may go. False where the request was abandoned before.
    func take(_ count: Int, inBackground: Bool, unless isAbandoned: () -> Bool) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        if !inBackground { waitingInForeground += 1 }
        defer {
            if !inBackground { waitingInForeground -= 1 }
            monitor.signalAll()
        }
        while true {
            fill()
            if tokens > 0 && !(inBackground && waitingInForeground > 0) { break }
            if isAbandoned() { return false }
            let needed = max(0.001, -tokens / bytesPerSecond)
            _ = monitor.wait(seconds: min(needed, Self.longestWait))
        }
        tokens -= Double(count)
        return true
    }

    private func fill() {
        let now = ContinuousClock.now
        tokens = min(tokens + bytesPerSecond * (filled.duration(to: now) / .seconds(1)), bytesPerSecond / 10)
        filled = now
    }
}

/// What one request may take of the network.
struct RequestRate {
    let up: RateLimit?
    let down: RateLimit?
    let inBackground: Bool

    func takeUp(_ count: Int, unless isAbandoned: () -> Bool) -> Bool {
        up?.take(count, inBackground: inBackground, unless: isAbandoned) ?? true
    }

    func takeDown(_ count: Int, unless isAbandoned: () -> Bool) -> Bool {
        down?.take(count, inBackground: inBackground, unless: isAbandoned) ?? true
    }
}

/// What a store's user allows it of the network: bytes a second over all its connections, or nil.
public struct S3Limits: Equatable, Sendable {
    public var upload: Int?
    public var download: Int?

    public init(upload: Int? = nil, download: Int? = nil) {
        self.upload = upload
        self.download = download
    }
}
