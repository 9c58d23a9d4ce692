import CSimulation
import TestSupport

/// What goes wrong in one life, and how it ends.
struct LifePlan {
    enum Ending {
        /// Closed in order.
        case close
        case kill
        /// The server alone: its keeper holds the memory that the next takes over.
        case killedServer
        case powerLoss
    }

    var ending: Ending
    /// For the disk and the order of the threads.
    var simulated: simulation_plan
    /// Bytes the cache may hold.
    var cacheLimit = 1 << 30
    /// The store is a directory of the simulated disk, and not a bucket of its own.
    var storesOnDisk = false
    /// fsync of a file waits for the store.
    var waitsForStore = false
    /// What goes wrong on the way to the bucket.
    var bucket = BucketPlan()
    /// The database is checked before it is opened.
    var checksFirst = false

    init(ending: Ending, seed: UInt64) {
        self.ending = ending
        simulated = simulation_plan()
        simulated.seed = seed
        simulated.quantum = 1000
        simulated.crash_kind = Int32(ending == .powerLoss ? SIMULATION_POWER : SIMULATION_KILLED)
    }

    static func random(_ generator: inout SeededGenerator, stepCount: Int) -> LifePlan {
        let endings: [Ending] = [.close, .kill, .killedServer, .killedServer, .powerLoss, .powerLoss]
        var plan = LifePlan(ending: endings.randomElement(using: &generator) ?? .kill, seed: generator.next())
        plan.cacheLimit = [1 << 30, 1 << 17].randomElement(using: &generator) ?? 0
        plan.checksFirst = Int.random(in: 0..<4, using: &generator) == 0
        plan.waitsForStore = Int.random(in: 0..<4, using: &generator) == 0
        if Bool.random(using: &generator) { plan.bucket.refusedPuts = UInt64.random(in: 1...6, using: &generator) }
        plan.simulated.quantum = [5, 50, 500, 5000].randomElement(using: &generator) ?? 1
        if plan.ending != .close {
            // Often in the midst of opening.
            let last = Bool.random(using: &generator) ? 60 : 60 + 8 * stepCount
            plan.simulated.crash_step = Int64.random(in: 1...Int64(last), using: &generator)
        }
        if Bool.random(using: &generator) { plan.simulated.write_back_one_in = 4 }
        if Bool.random(using: &generator) { plan.simulated.short_one_in = 20 }
        if Int.random(in: 0..<10, using: &generator) == 0 {
            plan.simulated.jump_step = Int64.random(in: 1...200, using: &generator)
            plan.simulated.jump_nanoseconds = Bool.random(using: &generator) ? 86_400_000_000_000 : -86_400_000_000_000
        }
        plan.addFaults(&generator)
        return plan
    }

    private static let classes: [UInt32] = [
        UInt32(SIMULATION_STAGING), UInt32(SIMULATION_STAGING), UInt32(SIMULATION_CACHE), UInt32(SIMULATION_STORE),
        UInt32(SIMULATION_DATABASE | SIMULATION_LOG), UInt32(SIMULATION_LOG),
    ]

    private mutating func addFaults(_ generator: inout SeededGenerator) {
        let chosen = Self.classes.randomElement(using: &generator) ?? 0
        switch Int.random(in: 0..<8, using: &generator) {
        case 0:
            simulated.error_classes = chosen
            simulated.error_one_in = [3, 40, 200].randomElement(using: &generator) ?? 1
        case 1:
            simulated.full_classes = chosen
            simulated.full_from = Int64.random(in: 0...150, using: &generator)
            simulated.full_until = simulated.full_from + Int64.random(in: 1...150, using: &generator)
        case 2:
            // Of the store as well as of what is here; a flipped bit in staging would be what was written.
            simulated.read_classes = UInt32(SIMULATION_STAGING | SIMULATION_CACHE | SIMULATION_STORE)
            simulated.read_error_one_in = [3, 30].randomElement(using: &generator) ?? 1
            bucket.refusedGets = UInt64(simulated.read_error_one_in)
        case 3:
            // Half of them of the cache alone, where nobody may notice.
            let isOfStore = Bool.random(using: &generator)
            simulated.read_classes = UInt32(isOfStore ? SIMULATION_CACHE | SIMULATION_STORE : SIMULATION_CACHE)
            simulated.flip_one_in = [2, 20].randomElement(using: &generator) ?? 1
            bucket.flippedGets = isOfStore ? UInt64(simulated.flip_one_in) : 0
        default: break
        }
    }

    /// Whether the store must take everything.
    var storeTakesAll: Bool { bucket.refusedPuts != 1 }
}
