import CSimulation
import FileModel
import Glibc
import LinuxSystem
import TestSupport

/// What many histories come to. Lies in memory that processes share.
struct Totals {
    var histories = 0
    var lives = 0
    var kills = 0
    var powerLosses = 0
    /// Lives that a server took over from one that was killed.
    var takeovers = 0
    var faultyLives = 0
    var operations = 0
    var steps = 0
    var switches = 0
    var simulatedSeconds = 0
    var failures = 0
    /// Of the last history.
    var fingerprint: UInt64 = 0
}

/// The lives of one volume, one after the other, and what it may be between them.
///
/// Invariants
/// - `states` holds what the volume may be once the power has failed, oldest first; those from `kept` on are what it may be
///   when only its process was killed.
struct History {
    let traits: VolumeTraits
    private(set) var place: SimulatedPlace
    let report: UnsafeMutablePointer<simulation_report>
    var states: [ModelVolume]
    var kept = 0
    /// As `kept`, once the memory that a server leaves to the next is gone, too.
    private var keptWithoutMemory = 0
    /// What the newest copy of the metadata in the bucket may hold; nil: there may be none.
    var copied: [ModelVolume?] = [nil]
    var totals = Totals()
    /// Of all that happened.
    var fingerprint: UInt64 = 0
    private var generator: SeededGenerator

    init(_ directory: String, seed: UInt64, _ traits: VolumeTraits) throws {
        self.traits = traits
        states = [ModelVolume(traits)]
        generator = SeededGenerator(seed: seed)
        place = SimulatedPlace(root: directory, legacy: try VolumeLegacy())
        guard let report = simulation_make_report() else { throw Errno.current }
        self.report = report
        for path in [directory, place.disk, place.bucket, place.source] {
            guard mkdir(path, 0o700) == 0 else { throw Errno.current }
        }
        try FileDescriptor.open("\(place.source)/file", O_WRONLY | O_CREAT, mode: 0o644).write(SimulatedPlace.adopted)
        try PowerLoss(disk: place.disk, durable: place.durable, generator: generator).settle()
    }

    /// A last life, in which nothing goes wrong.
    mutating func finish(_ before: LifePlan?) throws {
        var last = LifePlan(ending: .close, seed: 1)
        last.storesOnDisk = before?.storesOnDisk ?? false
        last.simulated.is_traced = before?.simulated.is_traced ?? 0
        let steps: [ClientStep] = [
            .look, .recover, .synchronize, .flush, .evict, .look, .reopen, .look, .collect(hours: 2), .evict, .look,
        ]
        try live(LifeScript(steps: steps, plan: last))
    }

    mutating func live(_ script: LifeScript) throws {
        report.pointee = simulation_report()
        report.pointee.matched = -1
        // One that ends before its client does anything passes the clock on as it was.
        report.pointee.clock = place.clock.nanosecondsAhead
        let child = simulation_fork()
        guard child >= 0 else { throw Errno.current }
        if child == 0 {
            Life(place, script, traits, allowed: Array(states[kept...]), copied: copied, report).run()
        }
        let status = simulation_wait(child)
        count(script, status)
        // Its own clock began with this life.
        place.clock = SimulatedClock(ahead: report.pointee.clock + report.pointee.nanoseconds)
        switch status {
        case Int32(SIMULATION_CLEAN), Int32(SIMULATION_KILLED), Int32(SIMULATION_POWER): break
        case Int32(SIMULATION_DEADLOCK): throw TestFailure("deadlock: \(message)")
        case Int32(SIMULATION_ENDLESS): throw TestFailure("it goes on for ever")
        case Int32(SIMULATION_WRONG): throw TestFailure(message)
        default: throw TestFailure("the process ended with \(status)")
        }
        let isTakenOver = status == SIMULATION_KILLED && script.plan.ending == .killedServer
        follow(script, losesNothing: isTakenOver)
        if isTakenOver {
            totals.takeovers += 1
        } else {
            place.legacy = try VolumeLegacy()
            kept = keptWithoutMemory
        }
        if status == SIMULATION_POWER {
            var loss = PowerLoss(disk: place.disk, durable: place.durable, generator: generator)
            try loss.strike()
            _ = generator.next()
            (kept, keptWithoutMemory) = (0, 0)
        }
    }

    /// Every kind of step of the last life, and how often it came.
    var stepNames: [String: UInt64] {
        var names: [String: UInt64] = [:]
        for number in 0..<Int32(SIMULATION_STEP_KINDS) {
            let name = String(cString: simulation_kind(report, number))
            if !name.isEmpty { names[name] = simulation_kind_count(report, number) }
        }
        return names
    }

    /// The last step of the last life: its kind, and the how manieth of that it was.
    var lastStep: String { "\(String(cString: simulation_last_step(report))) \(report.pointee.last_count)" }

    private var message: String {
        String(cString: simulation_message(report))
    }

    private mutating func count(_ script: LifeScript, _ status: Int32) {
        totals.lives += 1
        if status == SIMULATION_KILLED { totals.kills += 1 }
        if status == SIMULATION_POWER { totals.powerLosses += 1 }
        if report.pointee.is_faulty != 0 { totals.faultyLives += 1 }
        totals.operations += Int(report.pointee.completed)
        totals.steps += Int(report.pointee.steps)
        totals.switches += Int(report.pointee.switches)
        totals.simulatedSeconds += Int(report.pointee.nanoseconds / 1_000_000_000)
        fingerprint = (fingerprint ^ report.pointee.fingerprint) &* 0x100_0000_01B3
    }

    /// Does in the model what the life did.
    private mutating func follow(_ script: LifeScript, losesNothing: Bool) {
        guard report.pointee.matched >= 0 else { return }
        var state = states[kept + Int(report.pointee.matched)]
        var after = [state]
        // What was under way may have happened, or not, or in part.
        var underWay: [ModelVolume] = []
        for (number, change) in script.changes.prefix(Int(report.pointee.issued)).enumerated() {
            let isOver = number < Int(report.pointee.completed)
            let refusal = isOver ? simulation_result(report, Int32(number)) : 0
            var next = state
            let (result, between) = next.perform(change)
            if isOver && refusal == 0 { state = next }
            if isOver { after.append(state) }
            // So it is with the last one, where it was made and could not be made safe.
            underWay = isOver && ![EIO, ENOSPC].contains(refusal) ? [] : between + (result == 0 ? [next] : [])
        }
        followCopies(after)
        states = Array(after[Int(report.pointee.durable)...]) + underWay
        // A disk that failed may have taken bytes with it.
        let last = losesNothing && report.pointee.is_faulty == 0 ? report.pointee.completed : report.pointee.committed
        kept = max(0, Int(last) - Int(report.pointee.durable))
        keptWithoutMemory = max(0, Int(report.pointee.committed) - Int(report.pointee.durable))
    }

    /// A copy that did not end may be there all the same.
    private mutating func followCopies(_ after: [ModelVolume]) {
        let (begun, ended) = (report.pointee.copies_begun, report.pointee.copies_ended)
        if ended > 0 { copied = [] }
        for number in max(0, ended - 1)..<max(begun, 0) {
            copied.append(after[Int(simulation_copy(report, number))])
        }
    }
}

extension History {
    /// The scripts that a seed stands for.
    static func scripts(seed: UInt64, isTraced: Bool) -> (VolumeTraits, [LifeScript]) {
        var generator = SeededGenerator(seed: seed ^ 0xB37)
        let storesOnDisk = Bool.random(using: &generator)
        let traits = VolumeTraits.random(&generator)
        let scripts = (0..<Int.random(in: 1...5, using: &generator)).map { _ in
            var script = LifeScript.random(traits, &generator)
            script.plan.storesOnDisk = storesOnDisk
            // What is deleted within two seconds of its making is not kept: the model knows no clock that goes back.
            if traits.keepsTrash { script.plan.simulated.jump_step = 0 }
            script.plan.simulated.is_traced = isTraced ? 1 : 0
            return script
        }
        return (traits, scripts)
    }
}
