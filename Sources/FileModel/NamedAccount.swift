/// Whether an id stands for a user or for a group.
public enum AccountKind: UInt8, Sendable, Codable, CaseIterable {
    case user = 0
    case group = 1
}

/// A user or group of a site that a volume keeps by name, since the volume's own ids do not hold it (decision 0087).
public struct NamedAccount: Hashable, Sendable {
    /// The volume ids of named users and groups. No site gives ids in this range (systemd's UIDS-GIDS.md), and no volume id
    /// of a subordinate id reaches it.
    public static let firstID: UInt32 = 0xF000_0000
    /// As many as a volume keeps: more than the groups and colleagues of one person, and little memory.
    public static let limit: UInt32 = 1 << 16

    public var id: UInt32
    public var kind: AccountKind
    public var name: String

    public init(id: UInt32, kind: AccountKind, name: String) {
        self.id = id
        self.kind = kind
        self.name = name
    }

    /// Whether a volume id is that of a named user or group.
    @inlinable
    public static func isOne(_ id: UInt32) -> Bool { id >> 16 == firstID >> 16 }

    /// Whether a name service can have it: directory services allow blanks, backslashes and any letter, and the files of
    /// `/etc` no colon and no end of a line.
    public static func isName(_ name: String) -> Bool {
        let bytes = name.utf8
        return !bytes.isEmpty && bytes.count <= 255 && bytes.allSatisfy { $0 >= 0x20 && $0 != 0x7F && $0 != 0x3A }
    }
}
