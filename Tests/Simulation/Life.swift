import CSimulation
import FileModel
import Glibc
import Synchronization
import TestSupport
import VFS

/// One life of a volume's server, from its start to its end, in a process of its own.
///
/// Invariants
/// - `model` is what the volume holds as its client sees it. No thread but the client's touches it.
/// - What the history must know lies in `report`, which outlives the process.
final class Life {
    private let place: SimulatedPlace
    private let script: LifeScript
    /// What the volume may be found to be.
    private let allowed: [ModelTree]
    private let report: UnsafeMutablePointer<simulation_report>
    private var model: ModelTree
    /// Of every operation of this life: the first is what was found.
    private var states: [ModelTree] = []
    private var volume: SimulatedVolume?

    init(
        _ place: SimulatedPlace, _ script: LifeScript, allowed: [ModelTree],
        _ report: UnsafeMutablePointer<simulation_report>
    ) {
        self.place = place
        self.script = script
        self.allowed = allowed
        self.report = report
        model = allowed.last ?? ModelTree()
    }

    /// Does not return.
    func run() {
        var plan = script.plan.simulated
        simulation_start(place.disk, place.durable, &plan, report)
        do {
            try live()
        } catch {
            // What cannot be opened or read because of an injected fault is no finding; the next life looks again.
            if isFaulty { end() }
            fail("\(error)")
        }
        end()
    }

    private var isFaulty: Bool { report.pointee.is_faulty != 0 }

    /// What the store takes no more stays in staging.
    private var mayKeepPacks: Bool { isFaulty || script.plan.refusedPuts == 1 }

    private func end() {
        simulation_exit(script.plan.ending == .close ? Int32(SIMULATION_CLEAN) : script.plan.simulated.crash_kind)
    }

    private func fail(_ message: String) {
        simulation_set_message(report, message)
        simulation_exit(Int32(SIMULATION_WRONG))
    }

    private func trace(_ text: @autoclosure () -> String) {
        guard script.plan.simulated.is_traced != 0 else { return }
        let line = Array("\(simulation_steps()): \(text())\n".utf8)
        _ = Glibc.write(2, line, line.count)
    }

    // MARK: Opening

    private func live() throws {
        if script.plan.checksFirst && access(place.database, F_OK) == 0 { try check(data: false) }
        let volume = try open()
        try match(volume)
        for step in script.steps {
            try perform(step)
            // Not the one of before: a step may have opened it anew.
            if let reason = self.volume?.fileSystem.readOnlyReason {
                trace("read-only: \(reason)")
                return try endReadOnly(reason)
            }
        }
        if script.plan.ending == .close { try finish() }
    }

    private func open() throws -> SimulatedVolume {
        let refusesPuts = script.plan.refusedPuts > 0
        nonisolated(unsafe) let life = self
        let opened = try SimulatedVolume(place, script.plan) { line in
            life.trace(line)
            let isExpected = refusesPuts && line.hasPrefix("the store takes")
            if !isExpected && !life.isFaulty { life.fail("without a fault it was reported: \(line)") }
        }
        volume = opened
        return opened
    }

    /// Finds which of the allowed states the volume has.
    private func match(_ volume: SimulatedVolume) throws {
        let found = try volume.tree.picture()
        guard let index = allowed.lastIndex(where: { $0.picture() == found }) else {
            let newest = allowed.last?.picture() ?? [:]
            return fail(
                "the volume is none of the \(allowed.count) states it may have; beside the newest:"
                    + Self.difference(found, newest))
        }
        model = allowed[index]
        states = [model]
        report.pointee.matched = Int32(index)
        trace("opened, in state \(index) of \(allowed.count)")
    }

    private static func difference(_ found: Picture, _ expected: Picture) -> String {
        let paths = Set(found.keys).union(expected.keys).sorted().filter { found[$0] != expected[$0] }
        return paths.prefix(12).map { path in
            "\n  \(path) is \(found[path] ?? "missing"), and should be \(expected[path] ?? "missing")"
        }.joined()
    }

    // MARK: Working

    private func perform(_ step: ClientStep) throws {
        guard let volume else { return }
        trace("\(step)")
        switch step {
        case .operation(let operation): perform(operation, volume)
        case .synchronize:
            do {
                try volume.fileSystem.synchronize()
                report.pointee.durable = report.pointee.completed
            } catch {
                if !isFaulty { throw error }
            }
        case .pause(let milliseconds):
            simulation_sleep(milliseconds * 1_000_000)
            if milliseconds >= 3000 && !isFaulty { report.pointee.committed = report.pointee.completed }
        case .look: try look(volume)
        case .evict: try volume.evict()
        case .flush:
            let refused = volume.packs.flush(seconds: 600)
            if let refused, !mayKeepPacks { fail("what was to be stored was not: \(refused)") }
        case .reopen:
            try finish()
            report.pointee.durable = report.pointee.completed
            let reopened = try open()
            let found = try reopened.tree.picture()
            if found != model.picture() {
                fail("closed and opened, the volume differs:" + Self.difference(found, model.picture()))
            }
        }
    }

    private func perform(_ operation: Operation, _ volume: SimulatedVolume) {
        var next = model
        let expected = next.perform(operation)
        report.pointee.issued += 1
        let found = volume.tree.perform(operation)
        let isRefusal = [ENOSPC, EIO, EROFS].contains(found)
        guard found == expected || (isFaulty && isRefusal) else {
            return fail("\(operation) answered \(found), and should answer \(expected)")
        }
        if found == 0 { model = next }
        states.append(model)
        simulation_set_result(report, report.pointee.completed, found)
        report.pointee.completed += 1
    }

    private func look(_ volume: SimulatedVolume) throws {
        let found = try volume.tree.picture()
        let expected = model.picture()
        guard found != expected, volume.fileSystem.readOnlyReason == nil else { return }
        fail("the volume is not what its client made it:" + Self.difference(found, expected))
    }

    /// The last good commit can be read, changes are refused, and the process is ended.
    private func endReadOnly(_ reason: String) throws {
        guard isFaulty, let volume else { return fail("without a fault the volume is read-only: \(reason)") }
        let refused = volume.tree.perform(.create("refused"))
        // ESTALE: the directory itself was never committed.
        if ![EROFS, EIO, ENOSPC, ESTALE].contains(refused) {
            return fail("a read-only volume answered \(refused)")
        }
        simulation_calm()
        let found = try volume.tree.picture()
        let candidates = states[Int(report.pointee.durable)...]
        if !candidates.contains(where: { $0.picture() == found }) {
            fail("read-only, the volume is no state since the last fsync:" + Self.difference(found, model.picture()))
        }
        // A server that is told to stop; what it says then is no longer of interest.
        if simulation_random(2) == 0 { _ = volume.close() }
    }

    // MARK: Ending

    private func finish() throws {
        guard let volume else { return }
        let failure = volume.close()
        self.volume = nil
        if let failure, !mayKeepPacks { return fail("closing: \(failure)") }
        if failure != nil && isFaulty { return end() }
        report.pointee.durable = report.pointee.completed
        try check(data: simulation_random(4) == 0)
    }

    private func check(data: Bool) throws {
        let problems = try SimulatedVolume.problems(place, script.plan, data: data)
        if !problems.isEmpty && !isFaulty { fail("a check finds: \(problems.joined(separator: "; "))") }
    }
}
