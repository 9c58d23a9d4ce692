/// What a check found wrong, one line each: at most `limit` lines are kept, all are counted.
public struct Problems: Sendable, Equatable {
    /// A damaged volume can have millions; nobody reads more than a screenful.
    public static let limit = 100

    public private(set) var lines: [String] = []
    public private(set) var count: UInt64 = 0

    public init() {}

    public mutating func add(_ line: String) {
        if lines.count < Self.limit { lines.append(line) }
        count += 1
    }

    public mutating func add(_ other: Problems) {
        for line in other.lines { add(line) }
        count += other.count - UInt64(other.lines.count)
    }
}
