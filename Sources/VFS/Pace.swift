import Glibc

/// How fast work goes on that nobody waits for: by bytes a second, and by the share of the time it is at work.
package struct Pace {
    /// Shorter pauses gather.
    private static let leastPause = Duration.milliseconds(5)

    /// Nil: as fast as it can be.
    private let policy: SpacePolicy?
    private let isOver: () -> Bool
    private var workBegan = ContinuousClock.now
    private var owed = Duration.zero

    package init(_ policy: SpacePolicy?, until isOver: @escaping () -> Bool) {
        self.policy = policy
        self.isOver = isOver
    }

    package var goesOn: Bool { !isOver() }

    /// So much was done since the last call: rests as long as that asks for.
    package mutating func spend(_ bytes: Int) {
        guard let policy else { return }
        let worked = workBegan.duration(to: .now)
        let forTime = worked * (1 / policy.busyShare - 1)
        let forBytes = Duration.seconds(Double(bytes) / policy.bytesPerSecond) - worked
        owed += max(forTime, forBytes)
        if owed >= Self.leastPause {
            usleep(UInt32(clamping: Int64(owed / .microseconds(1))))
            owed = .zero
        }
        workBegan = .now
    }
}
