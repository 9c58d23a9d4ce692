import Glibc
import LinuxSystem

/// How often a server died, and whether it is worth starting again.
struct Deaths {
    /// One that dies so soon after its start, so often in a row, has a reason that starting it does not mend.
    private static let soon = Duration.seconds(1)
    /// A request that kills servers takes two of them, and the kernel asks for a page again in another request.
    private static let attempts = 6
    /// What keeps it from opening the volume (a disk that is full or away) may pass while programs wait.
    private static let openings = 30
    /// One that dies later, but again and again: programs would have more pauses than answers.
    private static let window = Duration.seconds(600)
    private static let windowLimit = 40

    private var killed = 0
    private var refused = 0
    private var recent: [ContinuousClock.Instant] = []

    /// It was not the first in a row.
    var isRepeated: Bool { killed + refused > 1 }

    /// Notes one that lived so long. False where it is the last.
    mutating func note(_ end: ChildEnd, after life: Duration) -> Bool {
        let now = ContinuousClock.now
        recent = recent.filter { $0.duration(to: now) < Self.window } + [now]
        if life >= Self.soon { (killed, refused) = (0, 0) }
        if case .exited = end { refused += 1 } else { killed += 1 }
        return killed < Self.attempts && refused < Self.openings && recent.count < Self.windowLimit
    }
}

extension ChildEnd {
    /// It did this to itself: a trap, or what the system call filter forbids. Not kill -9, nor the OOM killer.
    var isFault: Bool {
        guard case .killed(let signal) = self else { return false }
        return [SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS].contains(signal)
    }
}
