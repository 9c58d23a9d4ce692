import Glibc
import LinuxSystem

/// Signals of a server. They are blocked in every thread and taken by one that waits for them.
enum Signals {
    /// Call it before the first thread starts.
    static func prepare() {
        signal(SIGPIPE, SIG_IGN)
        var set = terminating()
        pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    /// Runs `body` when somebody asks the process to end.
    static func onTermination(_ body: @escaping @Sendable () -> Void) {
        _ = WorkerThread(name: "berth-signal") {
            while true {
                var set = terminating()
                var number: Int32 = 0
                guard sigwait(&set, &number) == 0 else { return }
                body()
            }
        }
    }

    private static func terminating() -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in [SIGTERM, SIGINT, SIGHUP] { sigaddset(&set, number) }
        return set
    }
}
