import CLinux
import FileModel
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

    /// A descriptor that can be read when somebody asks the process to end.
    static func descriptor() throws(Errno) -> FileDescriptor {
        var set = terminating()
        let number = berth_signal_descriptor(&set)
        guard number >= 0 else { throw .current }
        return FileDescriptor(owning: number)
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
