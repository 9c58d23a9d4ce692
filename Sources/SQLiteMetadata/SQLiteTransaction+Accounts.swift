import CSQLite
import FileModel
import Metadata

/// Users and groups by name. There are few, and they change seldom: no statement is kept for them.
extension SQLiteTransaction {
    func namedAccounts() throws(Errno) -> [NamedAccount] {
        let statement = try prepared("SELECT id, kind, name FROM account ORDER BY id")
        return try all(statement) { row in
            // What damage or another program left there names nobody.
            AccountKind(rawValue: UInt8(truncatingIfNeeded: row.integer(1))).flatMap { kind in
                UInt32(exactly: row.integer(0)).map { NamedAccount(id: $0, kind: kind, name: row.text(2) ?? "") }
            }
        }.compactMap { $0 }
            .filter { NamedAccount.isOne($0.id) && NamedAccount.isName($0.name) }
    }

    func addNamedAccount(_ kind: AccountKind, _ name: String) throws(Errno) -> NamedAccount {
        guard NamedAccount.isName(name) else { throw .invalidArgument }
        if let known = try namedAccounts().first(where: { $0.kind == kind && $0.name.isBytes(of: name) }) {
            return known
        }
        let last = try namedAccounts().last?.id ?? 0
        // Beside the table: access control lists may name ids whose rows damage took.
        let noted = try setting(Self.nextAccountKey).flatMap { UInt32($0) } ?? 0
        let next = max(last + 1, noted, nextAccount)
        guard NamedAccount.isOne(next) else { throw .noSpace }
        let account = NamedAccount(id: next, kind: kind, name: name)
        try add(account)
        return account
    }

    private static let nextAccountKey = "next_account"

    func add(_ account: NamedAccount) throws(Errno) {
        changed(.addNamedAccount(account))
        nextAccount = max(nextAccount, account.id &+ 1)
        try putSetting(Self.nextAccountKey, "\(nextAccount)")
        let statement = try prepared("INSERT OR REPLACE INTO account (id, kind, name) VALUES (?, ?, ?)")
        statement.bind(1, Int64(account.id))
        statement.bind(2, Int64(account.kind.rawValue))
        statement.bind(3, account.name)
        try run(statement)
    }
}
