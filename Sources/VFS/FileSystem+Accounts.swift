import FileModel
import Metadata

/// Whose files are: a session's ids and the volume's (decisions 0005, 0087). Ids that the volume's own do not hold are kept
/// by name, where the session's ids are the site's.
///
/// A site may take seconds to answer. Nothing here is called with a lock held, nor in a transaction's body.
extension FileSystem {
    /// The volume's id for a session's; nil where it has none. `adding`: a user or group that has a name here gets one.
    @inline(__always)
    public func volumeID(
        of id: UInt32, _ kind: AccountKind, _ session: Session, adding: Bool
    ) throws(Errno) -> UInt32? {
        if let own = session.identity.ownID(id, kind) { return own }
        return try namedID(of: id, kind, session, adding)
    }

    private func namedID(
        of id: UInt32, _ kind: AccountKind, _ session: Session, _ adding: Bool
    ) throws(Errno) -> UInt32? {
        guard session.identity.isOfSite == true, !NamedAccount.isOne(id), let name = siteName(of: id, kind, session)
        else { return nil }
        if let known = try accounts.id(of: name, kind, load: namedAccounts) { return known }
        guard adding else { return nil }
        guard !session.isReadOnly else { throw .readOnly }
        // Not a change of the request's own: done without it, it must not look done.
        let account = try maintain { transaction throws(Errno) in try transaction.addNamedAccount(kind, name) }
        accounts.note(account)
        return account.id
    }

    private func siteName(of id: UInt32, _ kind: AccountKind, _ session: Session) -> String? {
        let name = accounts.name(of: id, kind, now: configuration.steadyNanoseconds()) {
            session.willWait()
            return configuration.site.name(of: id, kind)
        }
        return name.flatMap { NamedAccount.isName($0) ? $0 : nil }
    }

    /// The volume's id for one that the namespace of this process has, whatever the session's are.
    func machineID(_ id: UInt32, _ kind: AccountKind, _ session: Session) -> UInt32? {
        if let own = configuration.machine.ownID(id, kind) { return own }
        guard configuration.machine.isOfSite == true, let name = siteName(of: id, kind, session) else { return nil }
        return (try? accounts.id(of: name, kind, load: namedAccounts)) ?? nil
    }

    /// What a session shows for a volume id.
    @inline(__always)
    public func shownID(of id: UInt32, _ kind: AccountKind, _ session: Session) -> UInt32 {
        number(of: id, kind, session) ?? session.identity.stranger(kind)
    }

    /// A session's number for a volume id; nil where it has none.
    @inline(__always)
    func number(of id: UInt32, _ kind: AccountKind, _ session: Session) -> UInt32? {
        if NamedAccount.isOne(id) { return siteID(of: id, kind, session) }
        return kind == .user ? session.identity.users.number(id) : session.identity.groups.number(id)
    }

    private func siteID(of id: UInt32, _ kind: AccountKind, _ session: Session) -> UInt32? {
        guard session.identity.isOfSite == true, let account = account(id), account.kind == kind else { return nil }
        return accounts.number(of: account, now: configuration.steadyNanoseconds()) {
            session.willWait()
            return configuration.site.id(of: account.name, kind)
        }
    }

    /// The user or group that a volume id names; nil for the volume's own, and where the name is lost.
    public func account(_ id: UInt32) -> NamedAccount? {
        guard NamedAccount.isOne(id) else { return nil }
        return (try? accounts.account(id, load: namedAccounts)) ?? nil
    }

    /// Whether the session might show another owner of an inode soon: a name that nobody has here, or did not answer for.
    public func mayBeNamed(_ inode: Inode, _ session: Session) -> Bool {
        guard NamedAccount.isOne(inode.groupID) || NamedAccount.isOne(inode.userID), session.identity.isOfSite == true
        else { return false }
        return number(of: inode.userID, .user, session) == nil || number(of: inode.groupID, .group, session) == nil
    }

    private func namedAccounts() throws(Errno) -> [NamedAccount] {
        try read { transaction throws(Errno) in try transaction.namedAccounts() }
    }
}
