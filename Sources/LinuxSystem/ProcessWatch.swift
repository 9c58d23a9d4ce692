import CLinux
import Glibc

/// The end of a process that need not be a child.
public enum ProcessWatch {
    /// Blocks until the process has ended; at once where there is none. False when time ran out.
    @discardableResult
    public static func waitForEnd(of process: Int32, timeout: Duration? = nil) -> Bool {
        let number = berth_pidfd_open(process)
        guard number >= 0 else { return true }
        return (try? FileDescriptor(owning: number).waitReadable(until: Deadline(after: timeout))) ?? true
    }
}
