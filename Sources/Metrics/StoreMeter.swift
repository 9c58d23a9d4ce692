/// What is asked of a store.
public enum StoreVerb: String, CaseIterable, Sendable {
    case get, head, put, delete, list

    public var kind: Int {
        switch self {
        case .get: 0
        case .head: 1
        case .put: 2
        case .delete: 3
        case .list: 4
        }
    }
}

/// Counts and times requests to a store, each try by itself, and the bytes of their bodies.
public final class StoreMeter: Sendable {
    private enum Total: Int, CaseIterable {
        case retries, bytesSent, bytesReceived
    }

    private let requests = OperationMeter(kinds: StoreVerb.allCases.count)
    private let totals = CounterArray(count: Total.allCases.count)

    public init() {}

    public func record(_ verb: StoreVerb, nanoseconds: UInt64, isError: Bool) {
        requests.record(verb.kind, nanoseconds: nanoseconds, isError: isError)
    }

    public func measure<Result, Failure: Error>(
        _ verb: StoreVerb, isError: (Failure) -> Bool, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try requests.measure(verb.kind, isError: isError, body)
    }

    public func countRetry() { totals.add(1, at: Total.retries.rawValue) }
    public func countSent(_ bytes: Int) { totals.add(UInt64(bytes), at: Total.bytesSent.rawValue) }
    public func countReceived(_ bytes: Int) { totals.add(UInt64(bytes), at: Total.bytesReceived.rawValue) }

    public func statistics() -> StoreStatistics {
        var found: [String: OperationStatistics] = [:]
        for verb in StoreVerb.allCases { found[verb.rawValue] = requests.statistics(verb.kind) }
        return StoreStatistics(
            requests: found, retries: totals.value(at: Total.retries.rawValue),
            bytesSent: totals.value(at: Total.bytesSent.rawValue),
            bytesReceived: totals.value(at: Total.bytesReceived.rawValue))
    }
}
