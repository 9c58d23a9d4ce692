import FileModel
import Glibc

/// A user namespace's map of ids, as `/proc/PID/uid_map` and `gid_map` show it (user_namespaces(7)).
public struct NamespaceIDs: Equatable, Sendable {
    /// `count` ids from `inside` on are those from `outside` on for whoever reads the map.
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

    public enum Kind: String, Sendable {
        case users = "uid"
        case groups = "gid"
    }

    public var ranges: [Range]

    public init(ranges: [Range]) {
        self.ranges = ranges
    }

    public init(text: String) {
        ranges = text.words(at: "\n").compactMap { line in
            let fields = line.words(at: " ").compactMap { UInt32($0) }
            return fields.count == 3 ? Range(inside: fields[0], outside: fields[1], count: fields[2]) : nil
        }
    }

    /// That of a process, or of `self`. Nil where it may not be read.
    public init?(of process: String, _ kind: Kind = .users) {
        guard let bytes = (try? AtomicFile.read("/proc/\(process)/\(kind.rawValue)_map")) ?? nil else { return nil }
        self.init(text: String(decoding: bytes, as: UTF8.self))
    }

    /// The id outside; nil where the namespace has no such id.
    public func outside(_ inside: UInt32) -> UInt32? {
        for range in ranges where inside >= range.inside && inside - range.inside < range.count {
            return range.outside + (inside - range.inside)
        }
        return nil
    }

    /// Whether ids inside are those outside, each and every one.
    public var isWhole: Bool {
        ranges.count == 1 && ranges[0].inside == 0 && ranges[0].outside == 0 && ranges[0].count >= UInt32.max - 1
    }

    /// How a session in this namespace shows a volume that `host` shows outside.
    public func inside(_ host: IdentityMap) -> IdentityMap {
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
    public static func userOutside() -> UInt32 { outside(geteuid(), own(.users)) }

    /// How a mount of this process's user namespace shows a volume's owners.
    public static func mountInOwnNamespace() -> Identity {
        let users = own(.users)
        let groups = own(.groups)
        let host = hostMount(userID: outside(geteuid(), users), groupID: outside(getegid(), groups))
        return Identity(
            users: users.inside(host.users), groups: groups.inside(host.groups),
            isOfSite: users.isWhole && groups.isWhole, strangers: strangers(groups, own: getegid()))
    }

    /// How a mount in a container engine's namespace, that of a process, shows a volume's owners: its 0 is the volume's.
    public static func engine(process: String) -> Identity {
        let groups = NamespaceIDs(of: process, .groups) ?? NamespaceIDs(ranges: [])
        return Identity(users: .oneToOne, groups: .oneToOne, strangers: strangers(groups, own: 0))
    }

    /// The own group where a namespace has no overflow id: one that an account without subordinate ids made.
    private static func strangers(_ groups: NamespaceIDs, own: UInt32) -> UInt32? {
        groups.outside(IdentityMap.overflowID) == nil && !groups.ranges.isEmpty ? own : nil
    }

    /// The same for a namespace in which there is nobody but this user and this group.
    public static func alone(userID: UInt32, groupID: UInt32) -> Identity {
        let host = hostMount(userID: userID, groupID: groupID)
        func only(_ id: UInt32, _ map: IdentityMap) -> IdentityMap {
            NamespaceIDs(ranges: [.init(inside: id, outside: id, count: 1)]).inside(map)
        }
        return Identity(users: only(userID, host.users), groups: only(groupID, host.groups), strangers: groupID)
    }

    private static func own(_ kind: NamespaceIDs.Kind) -> NamespaceIDs {
        NamespaceIDs(of: "self", kind) ?? NamespaceIDs(ranges: [])
    }

    /// An id without a place in the namespace stands for itself.
    private static func outside(_ id: UInt32, _ map: NamespaceIDs) -> UInt32 { map.outside(id) ?? id }
}
