import CSimulation
import Glibc
import LinuxSystem
import TestSupport

/// One fixed history that comes by every step between two durable states, ended at each of them in turn.
struct FailurePoints {
    let directory: String

    /// Small and large files, packs sealed, stored, read back and deleted, and everything opened again.
    private static let steps: [ClientStep] = [
        .operation(.makeDirectory("d0")), .operation(.create("d0/a")),
        .operation(.write("d0/a", offset: 0, bytes: Array(repeating: 1, count: 5000))), .synchronize,
        .operation(.write("d0/a", offset: 100, bytes: Array(repeating: 2, count: 70_000))),
        .operation(.create("b")), .operation(.write("b", offset: 1_500_000, bytes: Array(repeating: 3, count: 70_000))),
        .pause(milliseconds: 150), .operation(.rename("d0/a", "c", .replace)), .flush,
        .operation(.copy("c", from: 1, to: "b", at: 3, length: 5000)), .operation(.append("c", bytes: [4, 5, 6])),
        .synchronize, .evict, .look, .operation(.remove("b")), .operation(.remove("c")),
        .pause(milliseconds: 12_000), .operation(.create("d0/e")), .pause(milliseconds: 12_000),
        .operation(.write("d0/e", offset: 0, bytes: [7])), .reopen, .operation(.create("a")), .synchronize, .flush,
        // A pack that is empty before it is stored.
        .operation(.write("a", offset: 0, bytes: Array(repeating: 8, count: 5000))), .synchronize,
        .operation(.remove("a")), .flush, .pause(milliseconds: 150),
    ]

    /// Ends at each step by `ending`. Calls `found` with what is wrong. Answers the steps by name and their number.
    func enumerate(
        _ ending: LifePlan.Ending, storesOnDisk: Bool, found: (Int64, String) -> Void
    ) throws -> (names: [(String, UInt64)], count: Int64) {
        var plan = LifePlan(ending: .close, seed: 7)
        plan.storesOnDisk = storesOnDisk
        let whole = try run(plan, number: 0) { found(0, $0) }
        plan = LifePlan(ending: ending, seed: 7)
        plan.storesOnDisk = storesOnDisk
        for step in 1...max(1, whole.count) {
            plan.simulated.crash_step = step
            _ = try run(plan, number: step) { found(step, $0) }
        }
        return whole
    }

    private func run(
        _ plan: LifePlan, number: Int64, found: (String) -> Void
    ) throws -> (names: [(String, UInt64)], count: Int64) {
        let root = directory
        defer { FileTree.remove(root) }
        var history = try History(root, seed: UInt64(number))
        defer { munmap(history.report, MemoryLayout<simulation_report>.size) }
        var names: [(String, UInt64)] = []
        var count: Int64 = 0
        do {
            try history.live(LifeScript(steps: Self.steps, plan: plan))
            names = history.stepNames
            count = history.report.pointee.steps
            try history.finish(plan)
        } catch {
            found("\(error)")
        }
        return (names, count)
    }
}
