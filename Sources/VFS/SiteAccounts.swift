import FileModel

/// The users, groups and processes of the machine that a volume is used on. It is asked in rare cases alone: the answer may
/// come from a directory service in the network.
public protocol SiteAccounts: Sendable {
    func name(of id: UInt32, _ kind: AccountKind) -> SiteAnswer<String>
    func id(of name: String, _ kind: AccountKind) -> SiteAnswer<UInt32>
    /// Whose rights a thread has; nil where nobody can tell.
    func credentials(ofThread thread: Int32) -> ThreadCredentials?
}

public enum SiteAnswer<Value: Sendable>: Sendable {
    case found(Value)
    /// The site has no such user or group.
    case absent
    /// Nobody answered.
    case unknown

    var value: Value? { if case .found(let value) = self { value } else { nil } }
}

/// The ids that Linux checks a thread's access to files with, as this process sees them.
public struct ThreadCredentials: Equatable, Sendable {
    public var userID: UInt32
    public var groupID: UInt32
    /// Supplementary groups.
    public var groups: [UInt32]

    public init(userID: UInt32, groupID: UInt32, groups: [UInt32]) {
        self.userID = userID
        self.groupID = groupID
        self.groups = groups
    }
}

/// Of a volume that is opened without a site: nobody is known.
public struct NoSite: SiteAccounts {
    public init() {}

    public func name(of id: UInt32, _ kind: AccountKind) -> SiteAnswer<String> { .absent }
    public func id(of name: String, _ kind: AccountKind) -> SiteAnswer<UInt32> { .absent }
    public func credentials(ofThread thread: Int32) -> ThreadCredentials? { nil }
}
