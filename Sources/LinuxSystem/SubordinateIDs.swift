import FileModel
import Glibc

/// The id ranges that `/etc/subuid` and `/etc/subgid` give a user, in the files' order.
public struct SubordinateIDs: Equatable, Sendable {
    public struct Range: Equatable, Sendable {
        public var first: UInt32
        public var count: UInt32
    }

    public var ranges: [Range]

    /// Reads a file's text. Lines are `name-or-uid:first:count`; others are skipped, as newuidmap does.
    public init(text: String, user: Account) {
        ranges = text.words(at: "\n").compactMap { line in
            let fields = line.parts(at: ":")
            guard fields.count == 3, fields[0] == user.name || fields[0] == "\(user.userID)",
                let first = UInt32(fields[1]), let count = UInt32(fields[2]), count > 0,
                !first.addingReportingOverflow(count - 1).overflow
            else { return nil }
            return Range(first: first, count: count)
        }
    }

    /// Reads the file itself; none where it is missing.
    public static func load(_ path: String, user: Account) -> SubordinateIDs {
        let bytes = (try? AtomicFile.read(path, limit: 16 << 20)) ?? nil
        return SubordinateIDs(text: String(decoding: bytes ?? [], as: UTF8.self), user: user)
    }

    /// The user's own id is the volume's 0 and the subordinate ids, in order, 1…: what podman's
    /// namespace shows them as.
    func map(own: UInt32) -> IdentityMap {
        var result = [IdentityMap.Range(session: own, volume: 0, count: 1)]
        var next: UInt32 = 1
        for range in ranges {
            let (end, overflow) = next.addingReportingOverflow(range.count)
            guard !overflow else { break }
            result.append(.init(session: range.first, volume: next, count: range.count))
            next = end
        }
        return IdentityMap(ranges: result)
    }
}

extension Identity {
    /// How a mount in the host's namespace shows a volume's owners: for real root one to one, for a user
    /// with themselves as 0 and their subordinate ids as 1….
    public static func hostMount(userID: UInt32, groupID: UInt32) -> Identity {
        if userID == 0 { return Identity(users: .oneToOne, groups: .oneToOne, isOfSite: true) }
        let user =
            Account.named(id: userID) ?? Account(name: "", userID: userID, groupID: groupID, home: "/")
        return Identity(
            users: SubordinateIDs.load("/etc/subuid", user: user).map(own: userID),
            groups: SubordinateIDs.load("/etc/subgid", user: user).map(own: groupID), isOfSite: true)
    }
}
