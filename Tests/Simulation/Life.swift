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
    let place: SimulatedPlace
    let script: LifeScript
    private let traits: VolumeTraits
    /// What the volume may be found to be.
    private let allowed: [ModelVolume]
    let report: UnsafeMutablePointer<simulation_report>
    private(set) var model: ModelVolume
    /// After every operation of this life what the volume may be; the first is what was found.
    private var states: [[ModelVolume]] = []
    /// What the newest copy of the metadata may hold; nil: there may be none.
    var copied: [ModelVolume?]
    private var volume: SimulatedVolume?

    init(
        _ place: SimulatedPlace, _ script: LifeScript, _ traits: VolumeTraits, allowed: [ModelVolume],
        copied: [ModelVolume?], _ report: UnsafeMutablePointer<simulation_report>
    ) {
        self.place = place
        self.script = script
        self.traits = traits
        self.allowed = allowed
        self.copied = copied
        self.report = report
        model = allowed.last ?? ModelVolume(traits)
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

    var isFaulty: Bool { report.pointee.is_faulty != 0 }

    /// What the store takes no more stays in staging.
    var mayKeepPacks: Bool { isFaulty || !script.plan.storeTakesAll }

    private func end() {
        simulation_exit(script.plan.ending == .close ? Int32(SIMULATION_CLEAN) : script.plan.simulated.crash_kind)
    }

    func fail(_ message: String) {
        simulation_set_message(report, message)
        simulation_exit(Int32(SIMULATION_WRONG))
    }

    /// The text is made in each run: what the runtime does for it must not depend on whether somebody reads it.
    func trace(_ text: String) {
        guard script.plan.simulated.is_traced != 0 else { return }
        let line = Array("\(simulation_steps()): \(text)\n".utf8)
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
        let refusesPuts = script.plan.bucket.refusedPuts > 0
        nonisolated(unsafe) let life = self
        let opened = try SimulatedVolume(place, script.plan, traits) { line in
            life.trace(line)
            let isExpected =
                refusesPuts && (line.hasPrefix("the store takes") || line.contains("not in the store yet"))
                || life.report.pointee.flips > 0
            if !isExpected && !life.isFaulty { life.fail("without a fault it was reported: \(line)") }
        }
        volume = opened
        return opened
    }

    /// Finds which of the allowed states the volume has.
    private func match(_ volume: SimulatedVolume) throws {
        let found = try volume.picture()
        guard let index = allowed.lastIndex(where: { $0.picture() == found }) else {
            let newest = allowed.last?.picture() ?? [:]
            return fail(
                "the volume is none of the \(allowed.count) states it may have; beside the newest:"
                    + Self.difference(found, newest))
        }
        model = allowed[index]
        states = [[model]]
        report.pointee.matched = Int32(index)
        trace("opened, in state \(index) of \(allowed.count)")
    }

    static func difference(_ found: Picture, _ expected: Picture) -> String {
        let paths = Set(found.keys).union(expected.keys).sorted().filter { found[$0] != expected[$0] }
        return paths.prefix(12).map { path in
            "\n  \(path) is \(found[path] ?? "missing"), and should be \(expected[path] ?? "missing")"
        }.joined()
    }

    // MARK: Working

    private func perform(_ step: ClientStep) throws {
        guard let volume else { return }
        trace("\(step)")
        place.clock.pass(seconds: 3)
        report.pointee.clock = place.clock.nanosecondsAhead
        switch step {
        case .change(let change): perform(change, volume)
        case .synchronize:
            do {
                try volume.fileSystem.synchronize()
                report.pointee.durable = report.pointee.completed
            } catch {
                if !isFaulty { throw error }
            }
        case .synchronizeFile(let path): try synchronize(path, volume)
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
            try compare(try open())
        case .collect(let hours):
            place.clock.pass(seconds: hours * 3600)
            try collect(volume)
        case .copy: try copyMetadata(volume)
        case .recover: try recover()
        case .damageCache: try damageCache(volume)
        }
    }

    private func compare(_ reopened: SimulatedVolume) throws {
        let found = try reopened.picture()
        guard found != model.picture() else { return }
        fail("closed and opened, the volume differs:" + Self.difference(found, model.picture()))
    }

    private func perform(_ change: Change, _ volume: SimulatedVolume) {
        var next = model
        let (expected, between) = next.perform(change)
        let used = model.tree.quota == nil ? nil : try? volume.rootUsage()
        report.pointee.issued += 1
        // Whoever imports looks first: what is in the way is no error.
        let isSkipped = if case .adopt = change { expected != 0 } else { false }
        let found = isSkipped ? expected : volume.perform(change)
        guard found == expected || mayRefuse(change, found) else {
            return fail("\(change) answered \(found), and should answer \(expected)")
        }
        // Of what was refused in its midst a part may be there, should the volume be read-only now.
        states.append((found == expected ? [] : between + [next]) + [found == 0 ? next : model])
        if found == 0 { model = next }
        simulation_set_result(report, report.pointee.completed, found)
        report.pointee.completed += 1
        if found == 0 && change.isDurable { report.pointee.durable = report.pointee.completed }
        if let used, case .tree = change { requireQuota(before: used, volume) }
    }

    /// Beside what the model says.
    private func mayRefuse(_ change: Change, _ found: Int32) -> Bool {
        if isFaulty && [ENOSPC, EIO, EROFS].contains(found) { return true }
        if case .makeClone = change { return found == EAGAIN && mayKeepPacks }
        // The model counts no bytes; what is there after all is looked at.
        return model.tree.quota != nil && found == EDQUOT
    }

    private func requireQuota(before: (bytes: UInt64, files: UInt64), _ volume: SimulatedVolume) {
        guard let (used, limits) = try? volume.rootQuota() else { return }
        if let most = limits.bytes, used.bytes > max(most, before.bytes) {
            fail("\(used.bytes) bytes are used, of \(most)")
        }
        if let most = limits.inodes, used.files > max(most, before.files) {
            fail("\(used.files) inodes are used, of \(most)")
        }
    }

    private func look(_ volume: SimulatedVolume) throws {
        do {
            try lookAtAll(volume)
        } catch {
            // What cannot be read is told, and not invented.
            if !isFaulty { throw error }
            trace("cannot be read: \(error)")
        }
    }

    private func lookAtAll(_ volume: SimulatedVolume) throws {
        let expected = model.picture()
        let found = try volume.picture()
        if found != expected && volume.fileSystem.readOnlyReason == nil {
            fail("the volume is not what its client made it:" + Self.difference(found, expected))
        }
        for (name, tree) in model.snapshots {
            requireSame(try volume.picture(ofSnapshot: name), tree, "snapshot \(name)")
        }
        for (name, tree) in model.clones {
            guard let found = try volume.picture(ofClone: name) else { continue }
            requireSame(found, tree, "clone \(name)")
        }
    }

    /// What was kept has the tree of its time.
    func requireSame(_ found: Picture, _ tree: ModelTree, _ name: String) {
        let expected = tree.pictureOfTree()
        if found != expected { fail("\(name) is not what it was made of:" + Self.difference(found, expected)) }
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
        let found = try volume.picture()
        let candidates = states[Int(report.pointee.durable)...].joined()
        if !candidates.contains(where: { $0.picture() == found }) {
            fail("read-only, the volume is no state since the last fsync:" + Self.difference(found, model.picture()))
        }
        // A server that is told to stop; what it says then is no longer of interest.
        if simulation_random(2) == 0 { _ = volume.close() }
    }

    // MARK: Ending

    func finish() throws {
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
