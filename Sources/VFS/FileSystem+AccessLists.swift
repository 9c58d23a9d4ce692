import FileModel

/// Access control lists between a session's ids and the volume's.
///
/// Users and groups that a session has no number for are one entry of the overflow id, with the permissions that all of
/// them have: a list with two of one id is none to programs. Written back that entry stands for all of them again. In a
/// namespace without the overflow id, where the kernel could not read it, they are not shown, and stay.
extension FileSystem {
    func shown(_ list: AccessControlList, _ session: Session) -> AccessControlList {
        var shown = list
        shown.entries = []
        for entry in list.entries {
            guard let kind = entry.kind else {
                shown.entries.append(entry)
                continue
            }
            var entry = entry
            if let id = numberInList(entry.id, kind, session) {
                entry.id = id
            } else if session.identity.strangers != nil {
                continue
            } else {
                entry.id = IdentityMap.overflowID
                if let first = shown.entries.firstIndex(where: { $0.tag == entry.tag && $0.id == entry.id }) {
                    shown.entries[first].permissions &= entry.permissions
                    continue
                }
            }
            shown.entries.append(entry)
        }
        return shown
    }

    /// What is stored for a list that a session sets over `old`, as stored. Answers EINVAL for a user or group without a
    /// name here.
    func stored(
        _ list: AccessControlList, over old: AccessControlList?, _ session: Session
    ) throws(Errno) -> AccessControlList {
        let strangers =
            old.map { old in
                old.entries.filter { entry in entry.kind.map { numberInList(entry.id, $0, session) == nil } ?? false }
            } ?? []
        var stored = list
        stored.entries = []
        for entry in list.entries {
            guard let kind = entry.kind else {
                stored.entries.append(entry)
                continue
            }
            let meant = entry.id == IdentityMap.overflowID ? meant(entry.tag, strangers, list, old, session) : []
            if session.identity.strangers == nil, !meant.isEmpty {
                stored.entries += Self.written(entry, for: meant)
                continue
            }
            guard let id = try volumeID(of: entry.id, kind, session, adding: true) else { throw .invalidArgument }
            stored.entries.append(.init(tag: entry.tag, permissions: entry.permissions, id: id))
        }
        if session.identity.strangers != nil, !list.isMinimal { stored.entries += strangers }
        var seen: Set<UInt64> = []
        stored.entries = stored.entries.filter {
            $0.kind == nil || seen.insert(UInt64($0.tag) << 32 | UInt64($0.id)).inserted
        }
        stored.sort()
        return stored
    }

    /// Whom an entry of the overflow id stands for: those without a number. Where all have one by now, those that were without when
    /// the list was read, and so are not in it.
    private func meant(
        _ tag: UInt16, _ strangers: [AccessControlList.Entry], _ list: AccessControlList, _ old: AccessControlList?,
        _ session: Session
    ) -> [AccessControlList.Entry] {
        let unknown = strangers.filter { $0.tag == tag }
        guard unknown.isEmpty, let old else { return unknown }
        return old.entries.filter { entry in
            guard entry.tag == tag, NamedAccount.isOne(entry.id), let kind = entry.kind else { return false }
            let number = numberInList(entry.id, kind, session)
            return !list.entries.contains { $0.tag == tag && $0.id == number }
        }
    }

    /// One entry stood for several: what it said of them all is what they have, unless that was changed.
    private static func written(
        _ entry: AccessControlList.Entry, for meant: [AccessControlList.Entry]
    ) -> [AccessControlList.Entry] {
        let common = meant.reduce(UInt16(7)) { $0 & $1.permissions }
        guard entry.permissions != common else { return meant }
        return meant.map { .init(tag: $0.tag, permissions: entry.permissions, id: $0.id) }
    }

    /// Nil for whom the session has no number, and for whom it calls what those are shown as.
    private func numberInList(_ id: UInt32, _ kind: AccountKind, _ session: Session) -> UInt32? {
        let number = number(of: id, kind, session)
        return number == IdentityMap.overflowID ? nil : number
    }
}

extension AccessControlList.Entry {
    /// Of entries that name a user or a group.
    var kind: AccountKind? {
        switch tag {
        case AccessControlList.Tag.user: .user
        case AccessControlList.Tag.group: .group
        default: nil
        }
    }
}

extension AccessControlList {
    /// Tags are in the order that the kernel asks for; entries of one tag stay in theirs.
    mutating func sort() {
        let order = entries.enumerated().sorted { ($0.element.tag, $0.offset) < ($1.element.tag, $1.offset) }
        entries = order.map(\.element)
    }
}
