import Glibc
import Synchronization

/// Reads of mapped files that the disk refuses. The kernel reports them as SIGBUS, which would end the process: a server
/// whose database lies on a bad disk would take its mounts along.
///
/// Invariants
/// - A page that cannot be read becomes a page of zeros, and `failures` grows before the read goes on: whoever reads a
///   mapping looks at it before believing what was read, and maps the file anew.
public enum MappedReads {
    private static let count = Atomic<Int>(0)

    /// Grows with each page that could not be read.
    @inline(__always)
    public static var failures: Int { count.load(ordering: .relaxed) }

    /// From now on such reads do not end the process.
    public static func survive() {
        // Made now: a signal handler must not be the first to ask for it.
        _ = failures
        var action = sigaction()
        action.__sigaction_handler.sa_sigaction = { _, information, _ in
            let pageBytes = 4096
            guard let information, information.pointee.si_code == Int32(BUS_ADRERR),
                let address = information.pointee._sifields._sigfault.si_addr,
                let page = UnsafeMutableRawPointer(
                    bitPattern: UInt(bitPattern: address) & ~UInt(pageBytes - 1)),
                mmap(page, pageBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page
            else {
                signal(SIGBUS, SIG_DFL)
                return
            }
            MappedReads.count.add(1, ordering: .relaxed)
        }
        action.sa_flags = SA_SIGINFO
        sigaction(SIGBUS, &action, nil)
    }
}
