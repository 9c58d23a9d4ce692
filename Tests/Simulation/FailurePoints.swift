import CSimulation
import Glibc
import LinuxSystem
import TestSupport

/// Fixed histories that come by every step between two durable states, ended at each of them in turn.
struct FailurePoints {
    let directory: String

    private struct FixedHistory {
        var name: String
        var traits = VolumeTraits()
        var waitsForStore = false
        var steps: [ClientStep]
    }

    /// Small and large files, packs sealed, stored, read back and deleted, and everything opened again.
    private static let data = FixedHistory(
        name: "data",
        steps: [
            .operation(.makeDirectory("d0")), .operation(.create("d0/a")),
            .operation(.write("d0/a", offset: 0, bytes: Array(repeating: 1, count: 5000))), .synchronize,
            .operation(.write("d0/a", offset: 100, bytes: Array(repeating: 2, count: 70_000))),
            .operation(.create("b")),
            .operation(.write("b", offset: 1_500_000, bytes: Array(repeating: 3, count: 70_000))),
            .pause(milliseconds: 150), .operation(.rename("d0/a", "c", .replace)), .flush,
            .operation(.copy("c", from: 1, to: "b", at: 3, length: 5000)), .operation(.append("c", bytes: [4, 5, 6])),
            .synchronize, .evict, .look, .operation(.remove("b")), .operation(.remove("c")),
            .pause(milliseconds: 12_000), .operation(.create("d0/e")), .pause(milliseconds: 12_000),
            .operation(.write("d0/e", offset: 0, bytes: [7])), .reopen, .operation(.create("a")), .synchronize, .flush,
            // A pack that is empty before it is stored.
            .operation(.write("a", offset: 0, bytes: Array(repeating: 8, count: 5000))), .synchronize,
            .operation(.remove("a")), .flush, .pause(milliseconds: 150),
        ])

    /// What is deleted, replaced and truncated comes back, or is discarded; under a quota; fsync waits for the store.
    private static let trash = FixedHistory(
        name: "trash", traits: VolumeTraits(keepsTrash: true, keepsTruncated: true, hasLinks: false, hasQuotas: true),
        waitsForStore: true,
        steps: [
            .change(.setQuota(bytes: 200_000, inodes: 9)), .operation(.makeDirectory("d0")),
            .operation(.makeDirectory("d0/e")), .operation(.create("d0/e/a")),
            .operation(.write("d0/e/a", offset: 0, bytes: Array(repeating: 1, count: 5000))),
            .operation(.setAttribute("d0/e/a", "x")), .synchronizeFile("d0/e/a"), .operation(.create("b")),
            .operation(.write("b", offset: 0, bytes: Array(repeating: 2, count: 70_000))),
            .operation(.rename("b", "d0/e/a", .replace)), .operation(.truncate("d0/e/a", size: 0)),
            .operation(.remove("d0/e/a")), .operation(.removeDirectory("d0/e")), .operation(.removeDirectory("d0")),
            .pause(milliseconds: 150), .change(.restoreDeleted("d0")), .look, .change(.restoreDeleted("d0/e/a")),
            .operation(.remove("d0/e/a")), .synchronize, .change(.emptyTrash), .pause(milliseconds: 12_000),
            .operation(.create("c")), .operation(.write("c", offset: 0, bytes: [3])), .operation(.remove("c")),
            .change(.expireTrash), .change(.setQuota(bytes: nil, inodes: nil)), .pause(milliseconds: 150),
        ])

    /// Snapshots, clones and copies come and go while packs are compacted and deleted, and files are imported.
    private static let kept = FixedHistory(
        name: "kept", traits: VolumeTraits(hasLinks: false, hasSnapshots: true, hasCopies: true, imports: true),
        steps: [
            .operation(.makeDirectory("d0")), .operation(.create("d0/a")),
            .operation(.write("d0/a", offset: 0, bytes: Array(repeating: 1, count: 70_000))),
            .change(.createSnapshot("s0")),
            .operation(.write("d0/a", offset: 10, bytes: Array(repeating: 2, count: 5000))),
            .change(.adopt("d0/i")), .copy, .operation(.remove("d0/a")),
            .change(.restorePath("d0/a", of: "s0", to: "b")),
            .change(.makeClone("c0")), .operation(.truncate("b", size: 4097)), .collect(hours: 0), .look,
            .change(.removeSnapshot("s0")), .change(.releaseClone("c0")), .copy, .collect(hours: 2), .recover,
            .change(.createSnapshot("s1")), .operation(.remove("b")), .change(.restoreVolume("s1")), .look,
            .change(.removeSnapshot("s1")), .operation(.remove("b")), .copy, .collect(hours: 2),
            .pause(milliseconds: 12_000), .recover,
        ])

    /// Ends at each step by `ending`. Calls `found` with what is wrong. Answers the steps by name and their number.
    func enumerate(
        _ ending: LifePlan.Ending, storesOnDisk: Bool, found: (String, String) -> Void
    ) throws -> (names: [String: UInt64], count: Int64) {
        var names: [String: UInt64] = [:]
        var count: Int64 = 0
        // What is in the trash knows nothing of where the store is.
        for history in storesOnDisk ? [Self.data, Self.kept] : [Self.data, Self.trash, Self.kept] {
            func plan(_ ending: LifePlan.Ending, _ step: Int64) -> LifePlan {
                var plan = LifePlan(ending: ending, seed: 7)
                plan.storesOnDisk = storesOnDisk
                plan.waitsForStore = history.waitsForStore
                plan.simulated.crash_step = step
                return plan
            }
            let whole = try run(history, plan(.close, 0), 0) { found("history \(history.name), to its end", $1) }
            names.merge(whole.names) { $0 + $1 }
            count += whole.count
            for step in 1...max(1, whole.count) {
                _ = try run(history, plan(ending, step), step) { point, problem in
                    found("history \(history.name), step \(step) (\(point))", problem)
                }
            }
        }
        return (names, count)
    }

    private func run(
        _ fixed: FixedHistory, _ plan: LifePlan, _ number: Int64, found: (String, String) -> Void
    ) throws -> (names: [String: UInt64], count: Int64) {
        let root = directory
        defer { FileTree.remove(root) }
        var history = try History(root, seed: UInt64(number), fixed.traits)
        defer { munmap(history.report, MemoryLayout<simulation_report>.size) }
        var names: [String: UInt64] = [:]
        var count: Int64 = 0
        var point = "-"
        do {
            defer { point = history.lastStep }
            try history.live(LifeScript(steps: fixed.steps, plan: plan))
            names = history.stepNames
            count = history.report.pointee.steps
        } catch {
            found(point, "\(error)")
            return (names, count)
        }
        do {
            try history.finish(plan)
        } catch {
            found(point, "\(error)")
        }
        return (names, count)
    }
}
