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
    private(set) var place: SimulatedPlace
    let report: UnsafeMutablePointer<simulation_report>
    var states = [ModelTree()]
    var kept = 0
    /// As `kept`, once the memory that a server leaves to the next is gone, too.
    private var keptWithoutMemory = 0
    var totals = Totals()
    /// Of all that happened.
    var fingerprint: UInt64 = 0
    private var generator: SeededGenerator

    init(_ directory: String, seed: UInt64) throws {
        generator = SeededGenerator(seed: seed)
        place = SimulatedPlace(root: directory, legacy: try VolumeLegacy())
        guard let report = simulation_make_report() else { throw Errno.current }
        self.report = report
        for path in [directory, place.disk, place.bucket] {
            guard mkdir(path, 0o700) == 0 else { throw Errno.current }
        }
        try PowerLoss(disk: place.disk, durable: place.durable, generator: generator).settle()
    }

    /// A last life, in which nothing goes wrong.
    mutating func finish(_ before: LifePlan?) throws {
        var last = LifePlan(ending: .close, seed: 1)
        last.storesOnDisk = before?.storesOnDisk ?? false
        last.simulated.is_traced = before?.simulated.is_traced ?? 0
        try live(LifeScript(steps: [.look, .synchronize, .flush, .evict, .look, .reopen, .look], plan: last))
    }

    mutating func live(_ script: LifeScript) throws {
        report.pointee = simulation_report()
        report.pointee.matched = -1
        let child = simulation_fork()
        guard child >= 0 else { throw Errno.current }
        if child == 0 { Life(place, script, allowed: Array(states[kept...]), report).run() }
        let status = simulation_wait(child)
        count(script, status)
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
    var stepNames: [(String, UInt64)] {
        (0..<Int32(SIMULATION_STEP_KINDS)).compactMap { number in
            let name = String(cString: simulation_kind(report, number))
            return name.isEmpty ? nil : (name, simulation_kind_count(report, number))
        }
    }

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
        for (number, operation) in script.operations.prefix(Int(report.pointee.issued)).enumerated() {
            let isOver = number < Int(report.pointee.completed)
            let result = simulation_result(report, Int32(number))
            // What was under way may have happened, or not.
            if !isOver || result == 0 { _ = state.perform(operation) }
            after.append(state)
        }
        states = Array(after[Int(report.pointee.durable)...])
        // A disk that failed may have taken bytes with it.
        let last = losesNothing && report.pointee.is_faulty == 0 ? report.pointee.completed : report.pointee.committed
        kept = max(0, Int(last) - Int(report.pointee.durable))
        keptWithoutMemory = max(0, Int(report.pointee.committed) - Int(report.pointee.durable))
    }
}

extension History {
    /// The scripts that a seed stands for.
    static func scripts(seed: UInt64, isTraced: Bool) -> [LifeScript] {
        var generator = SeededGenerator(seed: seed ^ 0xB37)
        let storesOnDisk = Bool.random(using: &generator)
        return (0..<Int.random(in: 1...5, using: &generator)).map { _ in
            var script = LifeScript.random(&generator)
            script.plan.storesOnDisk = storesOnDisk
            script.plan.simulated.is_traced = isTraced ? 1 : 0
            return script
        }
    }
}
