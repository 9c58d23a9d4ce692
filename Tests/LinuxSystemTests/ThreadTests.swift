import Glibc
import LinuxSystem
import Synchronization
import TestSupport
import Testing

/// Counts threads that came to their end.
private final class EndCount: Sendable {
    let value = Atomic<Int>(0)
}

@Suite("threads")
struct ThreadTests {
    private static func virtualKilobytes() throws -> Int {
        let status = String(decoding: try AtomicFile.read("/proc/self/status") ?? [], as: UTF8.self)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmSize:") })
        return try #require(line.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) })
    }

    @Test("a thread that nobody waits for gives its stack back when it ends")
    func forgotten() throws {
        let before = try Self.virtualKilobytes()
        let ended = EndCount()
        for number in 1...1000 {
            let thread = WorkerThread(name: "test") { ended.value.add(1, ordering: .relaxed) }
            try #require(thread.isRunning)
            while ended.value.load(ordering: .relaxed) < number { sched_yield() }
        }
        // A stack is 8 MiB of addresses: all of them would be 8 GiB.
        #expect(try Self.virtualKilobytes() - before < 4 << 20)
    }

    @Test("joining waits for the end")
    func joined() {
        let ended = EndCount()
        let thread = WorkerThread(name: "test") {
            usleep(20_000)
            ended.value.add(1, ordering: .relaxed)
        }
        thread.join()
        #expect(ended.value.load(ordering: .relaxed) == 1)
    }
}
