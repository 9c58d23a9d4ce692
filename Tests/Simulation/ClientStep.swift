import TestSupport

/// What the client of a simulated volume does next.
enum ClientStep {
    case operation(Operation)
    /// fsync: what was done before it may not be lost by anything.
    case synchronize
    /// The client is idle, and the threads of the volume are not.
    case pause(milliseconds: Int64)
    /// Everything is read and held against the model.
    case look
    /// The cache is emptied.
    case evict
    /// Every pack goes to the store.
    case flush
    /// The volume is closed in order, and opened again.
    case reopen

    static func random(_ generator: inout SeededGenerator) -> ClientStep {
        switch Int.random(in: 0..<100, using: &generator) {
        case 0..<72: .operation(Operation.random(&generator))
        case 72..<80: .synchronize
        case 80..<88: .pause(milliseconds: [1, 60, 150, 3000, 12_000].randomElement(using: &generator) ?? 1)
        case 88..<92: .look
        case 92..<94: .evict
        case 94..<97: .flush
        default: .reopen
        }
    }
}

/// What the two sides of a history agree on: one script for each life.
struct LifeScript {
    var steps: [ClientStep]
    var plan: LifePlan

    var operations: [Operation] {
        steps.compactMap { if case .operation(let operation) = $0 { operation } else { nil } }
    }

    static func random(_ generator: inout SeededGenerator) -> LifeScript {
        let count = Int.random(in: 4..<50, using: &generator)
        return LifeScript(
            steps: (0..<count).map { _ in ClientStep.random(&generator) },
            plan: LifePlan.random(&generator, stepCount: count))
    }
}
