import TestSupport

/// What the client of a simulated volume does next.
enum ClientStep {
    case change(Change)
    /// fsync: what was done before it may not be lost by anything.
    case synchronize
    /// fsync of one file, which may wait for the store.
    case synchronizeFile(String)
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
    /// Room is given back, at once or some hours later.
    case collect(hours: Int64)
    /// The metadata is copied into the bucket.
    case copy
    /// Another machine looks at what the newest copy says.
    case recover
    /// A bit of a cached copy turns over on the disk.
    case damageCache

    static func operation(_ operation: Operation) -> ClientStep { .change(.tree(operation)) }

    static func random(_ traits: VolumeTraits, _ generator: inout SeededGenerator) -> ClientStep {
        switch Int.random(in: 0..<106, using: &generator) {
        case 0..<72: .change(Change.random(traits, &generator))
        case 72..<78: .synchronize
        case 78, 79: .synchronizeFile(["a", "b", "d0/a"].randomElement(using: &generator) ?? "")
        case 80..<88: .pause(milliseconds: [1, 60, 150, 3000, 12_000].randomElement(using: &generator) ?? 1)
        case 88..<92: .look
        case 92..<94: .evict
        case 94..<97: .flush
        case 97..<99: .collect(hours: Bool.random(using: &generator) ? 0 : 2)
        case 99..<102: .copy
        case 102: .recover
        case 103: .damageCache
        default: .reopen
        }
    }
}

/// What the two sides of a history agree on: one script for each life.
struct LifeScript {
    var steps: [ClientStep]
    var plan: LifePlan

    var changes: [Change] {
        steps.compactMap { if case .change(let change) = $0 { change } else { nil } }
    }

    static func random(_ traits: VolumeTraits, _ generator: inout SeededGenerator) -> LifeScript {
        let count = Int.random(in: 4..<50, using: &generator)
        return LifeScript(
            steps: (0..<count).map { _ in ClientStep.random(traits, &generator) },
            plan: LifePlan.random(&generator, stepCount: count))
    }
}
