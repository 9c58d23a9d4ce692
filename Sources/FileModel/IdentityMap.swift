/// How one session's user or group ids stand for the volume's: in a volume 0 is its user and 1… are
/// the user's subordinate ids, whatever numbers a site gave them.
public struct IdentityMap: Equatable, Sendable, Codable {
    /// `count` ids from `session` on stand for as many volume ids from `volume` on.
    public struct Range: Equatable, Sendable, Codable {
        public var session: UInt32
        public var volume: UInt32
        public var count: UInt32

        public init(session: UInt32, volume: UInt32, count: UInt32) {
            self.session = session
            self.volume = volume
            self.count = count
        }
    }

    /// The kernel's overflow id (`/proc/sys/kernel/overflowuid`): what an id without a name here shows as.
    public static let overflowID: UInt32 = 65534

    /// Empty: every id stands for itself.
    public var ranges: [Range]

    public init(ranges: [Range]) {
        self.ranges = ranges
    }

    /// As many as a user namespace has lines at most (user_namespaces(7)).
    private static let rangeLimit = 340

    /// Whether no range leads past the largest id: what comes over a socket may be anything.
    public var isSound: Bool {
        ranges.count <= Self.rangeLimit
            && ranges.allSatisfy {
                UInt64(max($0.session, $0.volume)) + UInt64($0.count) <= UInt64(UInt32.max) + 1
            }
    }

    /// Ids stand for themselves: a mount made by real root, and podman's own namespace.
    public static let oneToOne = IdentityMap(ranges: [])

    /// The volume id for a session's id. Nil where the session's id has no place in the volume.
    @inlinable
    public func volumeID(_ session: UInt32) -> UInt32? {
        if ranges.isEmpty { return session }
        for range in ranges where session >= range.session && session - range.session < range.count {
            return range.volume + (session - range.session)
        }
        return nil
    }

    /// The session's id for a volume id; the overflow id where the session has no number for it.
    @inlinable
    public func sessionID(_ volume: UInt32) -> UInt32 { number(volume) ?? Self.overflowID }

    /// The session's id for a volume id, or nil where the session has no number for it.
    @inlinable
    public func number(_ volume: UInt32) -> UInt32? {
        if ranges.isEmpty { return volume }
        for range in ranges where volume >= range.volume && volume - range.volume < range.count {
            return range.session + (volume - range.volume)
        }
        return nil
    }
}

/// The two maps of a session.
public struct Identity: Equatable, Sendable, Codable {
    public var users: IdentityMap
    public var groups: IdentityMap
    /// The session's ids are those of the machine, so that their names mean something to the volume. Nil: they are those of
    /// a user namespace, or an older client attached.
    public var isOfSite: Bool?
    /// The group that stands for groups without a number in the session; nil: the overflow id. A namespace that has no such
    /// id could neither write nor remove what the overflow id owns (EACCES, EOVERFLOW).
    public var strangers: UInt32?

    public init(users: IdentityMap, groups: IdentityMap, isOfSite: Bool? = nil, strangers: UInt32? = nil) {
        self.users = users
        self.groups = groups
        self.isOfSite = isOfSite
        self.strangers = strangers
    }

    public static let oneToOne = Identity(users: .oneToOne, groups: .oneToOne)

    /// The volume's own id for a session's id, without asking for names.
    @inlinable
    public func ownID(_ id: UInt32, _ kind: AccountKind) -> UInt32? {
        let found = kind == .user ? users.volumeID(id) : groups.volumeID(id)
        // Nobody names these by number: they would be another's name.
        return found.flatMap { NamedAccount.isOne($0) ? nil : $0 }
    }

    /// What a user or group without a number in the session is shown as.
    public func stranger(_ kind: AccountKind) -> UInt32 {
        kind == .group ? strangers ?? IdentityMap.overflowID : IdentityMap.overflowID
    }
}
