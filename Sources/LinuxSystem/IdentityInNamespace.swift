import FileModel
import Glibc

/// A user namespace's id map, as `/proc/self/uid_map` and `gid_map` show it (user_namespaces(7)).
public struct NamespaceMap: Equatable, Sendable {
    /// `count` ids from `inside` on are those from `outside` on in the namespace around.
    public struct Range: Equatable, Sendable {
        public var inside: UInt32
        public var outside: UInt32
        public var count: UInt32

        public init(inside: UInt32, outside: UInt32, count: UInt32) {
            self.inside = inside
            self.outside = outside
            self.count = count
        }
    }

    public var ranges: [Range]

    public init(ranges: [Range]) {
        self.ranges = ranges
    }

    public init(text: String) {
        ranges = text.split(separator: "\n").compactMap { line in
            let numbers = line.split(separator: " ").compactMap { UInt32($0) }
            return numbers.count == 3 ? Range(inside: numbers[0], outside: numbers[1], count: numbers[2]) : nil
        }
    }

    /// This process's own; `kind` is `uid` or `gid`.
    static func own(_ kind: String) -> NamespaceMap {
        let bytes = (try? AtomicFile.read("/proc/self/\(kind)_map")) ?? nil
        return NamespaceMap(text: String(decoding: bytes ?? [], as: UTF8.self))
    }

    /// The id outside; the same one where the namespace has no place for it.
    public func outside(_ id: UInt32) -> UInt32 {
        for range in ranges where id >= range.inside && id - range.inside < range.count {
            return range.outside + (id - range.inside)
        }
        return id
    }

    /// How a session in this namespace shows a volume that `host` shows outside.
    func inside(_ host: IdentityMap) -> IdentityMap {
        var result: [IdentityMap.Range] = []
        for range in ranges {
            // Outside ids stand for themselves.
            let shown =
                host.ranges.isEmpty
                ? [IdentityMap.Range(session: range.outside, volume: range.outside, count: range.count)] : host.ranges
            for part in shown {
                let first = max(range.outside, part.session)
                let end = min(UInt64(range.outside) + UInt64(range.count), UInt64(part.session) + UInt64(part.count))
                guard UInt64(first) < end else { continue }
                result.append(
                    .init(
                        session: range.inside + (first - range.outside), volume: part.volume + (first - part.session),
                        count: UInt32(end - UInt64(first))))
            }
        }
        return IdentityMap(ranges: result)
    }
}

extension Identity {
    /// The user as whom this process runs outside its user namespace: in `apptainer --fakeroot`, whoever started it.
    public static func userOutside() -> UInt32 { NamespaceMap.own("uid").outside(geteuid()) }

    /// How a mount of this process's user namespace shows a volume's owners.
    public static func mountInOwnNamespace() -> Identity {
        let users = NamespaceMap.own("uid")
        let groups = NamespaceMap.own("gid")
        let host = hostMount(userID: users.outside(geteuid()), groupID: groups.outside(getegid()))
        return Identity(users: users.inside(host.users), groups: groups.inside(host.groups))
    }

    /// The same for a namespace in which there is nobody but this user and this group.
    public static func alone(userID: UInt32, groupID: UInt32) -> Identity {
        let host = hostMount(userID: userID, groupID: groupID)
        func only(_ id: UInt32, _ map: IdentityMap) -> IdentityMap {
            NamespaceMap(ranges: [.init(inside: id, outside: id, count: 1)]).inside(map)
        }
        return Identity(users: only(userID, host.users), groups: only(groupID, host.groups))
    }
}
