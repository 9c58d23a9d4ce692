import FileModel
import Glibc
import LinuxSystem
import Synchronization
import TestSupport
import Testing
import Volumes

/// Two nodes with one data directory, whose locks do not meet: the other node is a thread that writes its lines.
@Suite("a volume on two nodes", .serialized)
struct NodeTests {
    private static let other = NodeIdentity(host: "node99", boot: "00000000-0000-4000-8000-000000000000")

    private static func put(_ path: String, _ state: LockNote.State, _ beat: UInt64) throws {
        let bytes = LockNote(state: state, processID: 4711, startedAt: 1, node: other, beat: beat).encoded
        let file = try FileDescriptor.open(path, O_WRONLY)
        guard pwrite(file.rawValue, bytes, bytes.count, 0) == bytes.count else { throw Errno.current }
        guard ftruncate(file.rawValue, off_t(bytes.count)) == 0 else { throw Errno.current }
    }

    @Test(
        "a volume in use on another machine is refused, a server whose volume was taken writes nothing more, and says who has it"
    )
    func nodes() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create v; berth mount v m; echo one > m/f; sync -f m/f")
        let lock = try site.shell.run("find ~/.local -path '*/volumes/v/lock'")
        #expect(try #require(LockNote(at: lock)).node == .current())
        try Self.put(lock, .serving, 1)
        // At the latest with the next beat.
        try site.shell.run(
            "for i in $(seq 300); do berth status | grep -q 'host node99' && exit; sleep 0.1; done; exit 1")
        #expect(try site.shell.attempt("echo two > m/f").errors.contains("Read-only file system"))
        #expect(try site.shell.run("cat m/f") == "one")
        try site.shell.run("berth umount m; berth stop --all --force || true")
        #expect(LockNote(at: lock)?.node == Self.other, "the other node's line stays")
        // It lives.
        let isOver = Atomic<Bool>(false)
        let beats = WorkerThread(name: "node99") {
            var beat: UInt64 = 2
            while !isOver.load(ordering: .relaxed) {
                try? Self.put(lock, .serving, beat)
                beat += 1
                usleep(200_000)
            }
        }
        let outcome = try site.shell.attempt("berth mount v m")
        isOver.store(true, ordering: .relaxed)
        beats.join()
        #expect(outcome.end == .exited(75) && outcome.errors.contains("host node99"), "\(outcome.errors)")
        // It ended in good order: no wait.
        try Self.put(lock, .closed, 0)
        #expect(
            try site.shell.run("berth mount v m; cat m/f; echo three > m/f; berth umount m; berth volume check v")
                .contains("whole"))
        try site.shell.run("for i in $(seq 300); do grep -q closed '\(lock)' && exit; sleep 0.1; done; exit 1")
    }
}
