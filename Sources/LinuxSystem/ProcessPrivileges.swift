import CLinux
import Glibc

/// What a process gives up for good, and what `/proc` tells of that.
public enum ProcessPrivileges {
    private static let setDumpable: Int32 = 4
    private static let getDumpable: Int32 = 3
    private static let setNoNewPrivileges: Int32 = 38

    /// Keeps other processes of the same user out of this one's memory, descriptors and environment (ptrace(2),
    /// `/proc/PID/mem`), and writes no core dump. The program that an exec starts must call it again.
    public static func closeMemory() { _ = berth_prctl(setDumpable, 0) }

    /// No program that this process starts gets more rights than it has, not even a set-user-id one; inherited.
    public static func forgoNewPrivileges() { _ = berth_prctl(setNoNewPrivileges, 1) }

    /// Whether others of the same user can get at this process's memory.
    public static var isMemoryOpen: Bool { berth_prctl(getDumpable, 0) == 1 }

    /// Threads of this process.
    public static var threadCount: Int {
        var status = stat()
        guard stat("/proc/self/task", &status) == 0 else { return 0 }
        // Of a directory: "." and its name are two.
        return Int(status.st_nlink) - 2
    }
}

public enum KernelFeatures {
    /// 0 where the kernel has no Landlock, or it is switched off.
    public static var landlockVersion: Int { max(0, Int(berth_landlock_version())) }
}
