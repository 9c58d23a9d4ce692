import Testing
import VFS

@Suite("the pace of work that nobody waits for")
struct PaceTests {
    private func seconds(_ policy: SpacePolicy?, _ body: (inout Pace) -> Void) -> Double {
        let start = ContinuousClock.now
        var pace = Pace(policy, until: { false })
        body(&pace)
        return start.duration(to: .now) / .seconds(1)
    }

    /// Keeps a core busy.
    private func work(_ duration: Duration) {
        let start = ContinuousClock.now
        while start.duration(to: .now) < duration {}
    }

    @Test("it moves no more bytes a second than it may, in pieces of any size", arguments: [1 << 20, 5000])
    func bandwidth(piece: Int) {
        var policy = SpacePolicy()
        policy.bytesPerSecond = 20 * 1024 * 1024
        policy.busyShare = 1
        let bytes = 10 << 20
        let taken = seconds(policy) { pace in
            for _ in 0..<bytes / piece { pace.spend(piece) }
        }
        #expect(taken > 0.48)
        #expect(seconds(nil) { pace in pace.spend(bytes) } < 0.3, "whoever asks for it does not wait")
    }

    @Test("it is at work for its share of the time, and rests for the other")
    func share() {
        var policy = SpacePolicy()
        policy.bytesPerSecond = .infinity
        policy.busyShare = 0.25
        let taken = seconds(policy) { pace in
            for _ in 0..<20 {
                work(.milliseconds(5))
                pace.spend(1)
            }
        }
        #expect(taken > 0.39, "a tenth of a second of work")
    }
}
