/// What went wrong lately: it is told for as long as it may last, and each cause is logged once in a while.
public struct RecentTrouble {
    private var said: [String: Int] = [:]
    /// The last failure and its second; nil since it is over.
    private var last: (line: String, second: Int)?
    private static let lifetime = 60
    private static let quiet = 600
    private static let saidLimit = 1000

    public init() {}

    /// What is wrong, as far as the last minute has shown.
    public var current: String? {
        last.flatMap { abs(PackCache.now() - $0.second) < Self.lifetime ? $0.line : nil }
    }

    public mutating func note(_ line: String) { last = (line, PackCache.now()) }
    public mutating func isOver() { last = nil }

    /// Whether this was not said in the last ten minutes.
    public mutating func firstTime(_ what: String) -> Bool {
        let now = PackCache.now()
        if let last = said[what], abs(now - last) < Self.quiet { return false }
        // A store that lost everything: better a line twice than memory for each.
        if said.count >= Self.saidLimit { said.removeAll() }
        said[what] = now
        return true
    }
}
