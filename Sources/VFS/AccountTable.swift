import FileModel
import Synchronization

/// What is known of the users and groups that a volume keeps by name: their rows, and what the site calls them.
///
/// Invariants
/// - `rows` are those of the metadata, or nil until they are read. A fault that takes rows back is followed by `forget`.
/// - The site is asked outside the lock; an answer is believed for a time.
final class AccountTable: Sendable {
    /// Sites rename and renumber seldom, and a person who waits for it can mount again.
    static let answerNanoseconds: Int64 = 60_000_000_000
    /// A service that did not answer is not asked with every request.
    static let silenceNanoseconds: Int64 = 5_000_000_000
    private static let answerLimit = 4096

    private struct Key<Value: Hashable & Sendable>: Hashable, Sendable {
        var kind: AccountKind
        var value: Value
    }

    private struct Answer<Value: Sendable>: Sendable {
        var value: Value?
        var until: Int64
    }

    private struct State {
        var rows: [UInt32: NamedAccount]?
        /// By the name's bytes: texts that Unicode calls the same are two names.
        var ids: [Key<[UInt8]>: UInt32] = [:]
        /// By volume id, what the site calls it.
        var numbers: [UInt32: Answer<UInt32>] = [:]
        /// By the site's id.
        var names: [Key<UInt32>: Answer<String>] = [:]

        mutating func add(_ account: NamedAccount) {
            // Not read yet: it comes with the rows, if no fault takes it back.
            guard rows != nil else { return }
            rows?[account.id] = account
            ids[Key(kind: account.kind, value: Array(account.name.utf8))] = account.id
        }
    }

    private let state = Mutex(State())

    func forget() { state.withLock { $0 = State() } }

    func note(_ account: NamedAccount) { state.withLock { $0.add(account) } }

    /// The name of a volume id. `load` reads the rows, once.
    func account(_ id: UInt32, load: () throws(Errno) -> [NamedAccount]) throws(Errno) -> NamedAccount? {
        try prepare(load)
        return state.withLock { $0.rows?[id] }
    }

    func id(of name: String, _ kind: AccountKind, load: () throws(Errno) -> [NamedAccount]) throws(Errno) -> UInt32? {
        try prepare(load)
        return state.withLock { $0.ids[Key(kind: kind, value: Array(name.utf8))] }
    }

    private func prepare(_ load: () throws(Errno) -> [NamedAccount]) throws(Errno) {
        guard state.withLock({ $0.rows == nil }) else { return }
        let rows = try load()
        state.withLock { state in
            // Those that came meanwhile stay.
            if state.rows == nil { state.rows = [:] }
            for row in rows { state.add(row) }
        }
    }

    /// The site's id for a volume id; asks where no answer is fresh.
    func number(of account: NamedAccount, now: Int64, ask: () -> SiteAnswer<UInt32>) -> UInt32? {
        if let known = state.withLock({ $0.numbers[account.id] }), known.until > now { return known.value }
        let said = ask()
        let answer = state.withLock { state in
            let answer = Self.answer(said, now, before: state.numbers[account.id]?.value)
            state.numbers[account.id] = answer
            return answer
        }
        return answer.value
    }

    /// The site's name for its id.
    func name(of id: UInt32, _ kind: AccountKind, now: Int64, ask: () -> SiteAnswer<String>) -> String? {
        let key = Key(kind: kind, value: id)
        if let known = state.withLock({ $0.names[key] }), known.until > now { return known.value }
        let said = ask()
        let answer = state.withLock { state in
            let answer = Self.answer(said, now, before: state.names[key]?.value)
            if state.names.count >= Self.answerLimit { state.names.removeAll() }
            state.names[key] = answer
            return answer
        }
        return answer.value
    }

    /// A service that is silent takes back nothing that it said.
    private static func answer<Value>(_ answer: SiteAnswer<Value>, _ now: Int64, before: Value?) -> Answer<Value> {
        if case .unknown = answer { return Answer(value: before, until: now + silenceNanoseconds) }
        return Answer(value: answer.value, until: now + answerNanoseconds)
    }
}
