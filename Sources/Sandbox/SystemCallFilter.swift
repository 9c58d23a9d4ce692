import CSeccomp
import FileModel
import Glibc

/// The system calls a volume's server may make. Anything else ends the process: a bug in a decoder must not
/// become a shell with the user's rights.
public enum SystemCallFilter {
    /// What the process must get at beside its descriptors.
    public enum Reach: Sendable {
        /// Files, and what connects to its control sockets.
        case files
        /// A store in the network, too.
        case network
    }

    /// Enters the filter for every thread of the process, for good. Programs cannot be started, nothing can be mounted or
    /// traced, nothing listened on, no unix socket made, and without `network` nothing connected to. Which files can be
    /// opened is not for it to say: `Landlock` does, where the kernel has it.
    public static func enter(_ reach: Reach) throws(SandboxFailure) {
        guard let context = seccomp_init(killProcess) else { throw SandboxFailure("init", Errno(ENOMEM)) }
        defer { seccomp_release(context) }
        // Threads started before (the logger's, the commit thread) come under the filter, too.
        try check("tsync", seccomp_attr_set(context, SCMP_FLTATR_CTL_TSYNC, 1))
        for name in allowed { try add(context, allow, name) }
        // Refused, and not the end: the resolver asks for the name service's daemon, and goes on without. With such a
        // socket beside the network's `connect` the user's session bus could be reached, and so any program.
        try add(
            context, refuse, "socket", [scmp_arg_cmp(arg: 0, op: SCMP_CMP_EQ, datum_a: UInt64(AF_UNIX), datum_b: 0)])
        for rule in restricted { try add(context, allow, rule.name, rule.conditions) }
        if reach == .network {
            for name in networkCalls { try add(context, allow, name) }
            for rule in networkSockets { try add(context, allow, rule.name, rule.conditions) }
        }
        // glibc falls back to clone, whose flags can be looked at.
        try add(context, notImplemented, "clone3")
        try check("load", seccomp_load(context))
    }

    // SCMP_ACT_* of `seccomp.h`: macros that Swift does not import.
    private static let killProcess: UInt32 = 0x8000_0000
    private static let allow: UInt32 = 0x7fff_0000
    private static let notImplemented: UInt32 = 0x0005_0000 | UInt32(ENOSYS)
    private static let refuse: UInt32 = 0x0005_0000 | UInt32(EACCES)

    private struct Rule {
        var name: String
        var conditions: [scmp_arg_cmp]
    }

    private static let cloneThread: UInt64 = 0x10000
    private static let terminalAttributes: UInt64 = 0x5401
    private static let setName: UInt64 = 15
    private static let cloneFile: UInt64 = 0x4004_9409

    private static let restricted = [
        // Threads, never processes.
        Rule(
            name: "clone",
            conditions: [scmp_arg_cmp(arg: 0, op: SCMP_CMP_MASKED_EQ, datum_a: cloneThread, datum_b: cloneThread)]),
        // isatty
        Rule(
            name: "ioctl", conditions: [scmp_arg_cmp(arg: 1, op: SCMP_CMP_EQ, datum_a: terminalAttributes, datum_b: 0)]),
        // A snapshot's copy that shares blocks (FICLONE)
        Rule(name: "ioctl", conditions: [scmp_arg_cmp(arg: 1, op: SCMP_CMP_EQ, datum_a: cloneFile, datum_b: 0)]),
        // Names of threads
        Rule(name: "prctl", conditions: [scmp_arg_cmp(arg: 0, op: SCMP_CMP_EQ, datum_a: setName, datum_b: 0)]),
        // A fifo of an export, no device.
        Rule(
            name: "mknodat",
            conditions: [
                scmp_arg_cmp(arg: 2, op: SCMP_CMP_MASKED_EQ, datum_a: UInt64(S_IFMT), datum_b: UInt64(S_IFIFO))
            ]),
        // Signals to ourselves: abort.
        Rule(
            name: "tgkill", conditions: [scmp_arg_cmp(arg: 0, op: SCMP_CMP_EQ, datum_a: UInt64(getpid()), datum_b: 0)]),
    ]

    /// What libcurl, OpenSSL and glibc's resolver need. An address cannot be looked at here: where `connect` goes is
    /// bounded by the kinds of sockets. `bind` is for netlink; without `listen` nothing comes in.
    private static let networkCalls = ["connect", "setsockopt", "getpeername", "sendmmsg", "bind"]

    private static let networkSockets =
        [AF_INET, AF_INET6, AF_NETLINK].map { family in
            Rule(
                name: "socket",
                conditions: [scmp_arg_cmp(arg: 0, op: SCMP_CMP_EQ, datum_a: UInt64(family), datum_b: 0)])
        } + [
            // By which libcurl wakes itself up. Such a pair stays a pair; one of datagrams could be connected elsewhere.
            Rule(
                name: "socketpair",
                conditions: [
                    scmp_arg_cmp(arg: 0, op: SCMP_CMP_EQ, datum_a: UInt64(AF_UNIX), datum_b: 0),
                    scmp_arg_cmp(arg: 1, op: SCMP_CMP_MASKED_EQ, datum_a: 0xF, datum_b: 1),
                ]),
            // The resolver asks how much has come.
            Rule(
                name: "ioctl",
                conditions: [scmp_arg_cmp(arg: 1, op: SCMP_CMP_EQ, datum_a: UInt64(FIONREAD), datum_b: 0)]),
        ]

    private static let allowed =
        files + directories + memory
        + [
            // Threads and time
            "exit", "exit_group", "futex", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "gettid",
            "getpid", "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time",
            "restart_syscall", "setpriority", "getpriority", "sched_getparam", "sched_getscheduler", "membarrier",
            // Signals
            "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigpending",
            "sigaltstack",
            // Waiting, and the control socket
            "poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait",
            "epoll_pwait", "eventfd2", "pipe2", "accept", "accept4", "recvmsg", "sendmsg", "recvfrom", "sendto",
            "shutdown", "getsockopt", "getsockname",
            // Who and where we are
            "getuid", "geteuid", "getgid", "getegid", "getppid", "getcwd", "uname", "sysinfo", "getrusage", "times",
            "getrandom", "prlimit64", "umask",
        ]

    private static let files = [
        "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "open",
        "openat", "openat2", "close", "close_range", "fstat", "stat", "lstat", "newfstatat", "statx", "lseek", "fsync",
        "fdatasync", "sync_file_range", "ftruncate", "fallocate", "fadvise64", "readahead", "copy_file_range", "fcntl",
        "flock", "dup", "dup2", "dup3", "fchmod", "fchown", "fstatfs", "statfs", "utimensat", "getxattr", "lgetxattr",
        "fsetxattr",
    ]

    private static let directories = [
        "getdents64", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2", "link",
        "linkat", "symlinkat", "readlink", "readlinkat", "access", "faccessat", "faccessat2",
    ]

    private static let memory = ["mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "mincore", "msync"]

    private static func add(
        _ context: scmp_filter_ctx, _ action: UInt32, _ name: String, _ conditions: [scmp_arg_cmp] = []
    ) throws(SandboxFailure) {
        let number = seccomp_syscall_resolve_name(name)
        // A call this architecture never had (open on arm64) needs no rule.
        guard number >= 0 else { return }
        try check(name, seccomp_rule_add_array(context, action, number, UInt32(conditions.count), conditions))
    }

    private static func check(_ step: String, _ result: Int32) throws(SandboxFailure) {
        guard result == 0 else { throw SandboxFailure(step, Errno(-result)) }
    }
}

/// Why the filter, or the domain, could not be entered.
public struct SandboxFailure: Error, CustomStringConvertible, Sendable {
    public let description: String

    init(_ step: String, _ errno: Errno) {
        description = "the seccomp filter cannot be entered: \(step): \(errno)"
    }

    init(domain step: String, _ errno: Errno) {
        description = "the Landlock domain cannot be entered: \(step): \(errno)"
    }
}
