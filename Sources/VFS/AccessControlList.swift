import FileModel

/// A POSIX access control list as the kernel passes it in `system.posix_acl_access` and
/// `system.posix_acl_default` (`linux/posix_acl_xattr.h`, version 2): a u32 version, then per entry tag u16,
/// permissions u16, id u32, little-endian.
struct AccessControlList: Equatable, Sendable {
    struct Entry: Equatable, Sendable {
        var tag: UInt16
        var permissions: UInt16
        var id: UInt32
    }

    enum Tag {
        static let ownerUser: UInt16 = 0x01
        static let user: UInt16 = 0x02
        static let ownerGroup: UInt16 = 0x04
        static let group: UInt16 = 0x08
        static let mask: UInt16 = 0x10
        static let other: UInt16 = 0x20
    }

    static let accessAttribute = [UInt8]("system.posix_acl_access".utf8)
    static let defaultAttribute = [UInt8]("system.posix_acl_default".utf8)
    private static let version: UInt32 = 2

    var entries: [Entry]

    /// Nil for bytes that are no ACL of version 2.
    init?(decoding bytes: [UInt8]) {
        guard bytes.count >= 4, (bytes.count - 4) % 8 == 0 else { return nil }
        func number(_ start: Int, _ count: Int) -> UInt32 {
            (0..<count).reduce(0) { $0 | UInt32(bytes[start + $1]) << (8 * UInt32($1)) }
        }
        guard number(0, 4) == Self.version else { return nil }
        entries = stride(from: 4, to: bytes.count, by: 8).map { start in
            Entry(
                tag: UInt16(number(start, 2)), permissions: UInt16(number(start + 2, 2)), id: number(start + 4, 4))
        }
        guard permissions(Tag.ownerUser) != nil, permissions(Tag.ownerGroup) != nil, permissions(Tag.other) != nil
        else { return nil }
    }

    func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        func put(_ number: UInt32, _ count: UInt32) {
            for byte in 0..<count { bytes.append(UInt8(truncatingIfNeeded: number >> (8 * byte))) }
        }
        put(Self.version, 4)
        for entry in entries {
            put(UInt32(entry.tag), 2)
            put(UInt32(entry.permissions), 2)
            put(entry.id, 4)
        }
        return bytes
    }

    /// Whether the mode bits alone say the same.
    var isMinimal: Bool { entries.count == 3 }

    /// The permission bits that `stat` shows: the mask stands for the group class.
    var mode: UInt32 {
        let group = permissions(Tag.mask) ?? permissions(Tag.ownerGroup) ?? 0
        return UInt32(permissions(Tag.ownerUser) ?? 0) << 6 | UInt32(group) << 3 | UInt32(permissions(Tag.other) ?? 0)
    }

    /// What the owning group may do: the mask bounds it.
    var groupPermissions: UInt32 {
        UInt32((permissions(Tag.ownerGroup) ?? 0) & (permissions(Tag.mask) ?? 7))
    }

    /// A default ACL becomes a new file's: each class loses what the mode asked for does not have. Answers the
    /// mode that results, with the bits above the nine kept.
    mutating func restrict(to permissions: UInt32) -> UInt32 {
        limit(Tag.ownerUser, to: permissions >> 6)
        limit(self.permissions(Tag.mask) == nil ? Tag.ownerGroup : Tag.mask, to: permissions >> 3)
        limit(Tag.other, to: permissions)
        return permissions & ~0o777 | mode
    }

    /// `chmod`: the owner, the mask (or the group without one) and the others get the mode's bits.
    mutating func apply(mode: UInt32) {
        set(Tag.ownerUser, to: mode >> 6)
        set(permissions(Tag.mask) == nil ? Tag.ownerGroup : Tag.mask, to: mode >> 3)
        set(Tag.other, to: mode)
    }

    private func permissions(_ tag: UInt16) -> UInt16? { entries.first { $0.tag == tag }?.permissions }

    private mutating func limit(_ tag: UInt16, to bits: UInt32) {
        guard let index = entries.firstIndex(where: { $0.tag == tag }) else { return }
        entries[index].permissions &= UInt16(bits & 7)
    }

    private mutating func set(_ tag: UInt16, to bits: UInt32) {
        guard let index = entries.firstIndex(where: { $0.tag == tag }) else { return }
        entries[index].permissions = UInt16(bits & 7)
    }
}
