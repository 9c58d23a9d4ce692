import FileModel
import Metadata

/// What the first part of an extended attribute's name says (xattr(7)). Names of no name space are nobody's.
///
/// The kernel has checked who may (`xattr_permission`, and `cap_inode_setxattr` for `security`): it asks for write
/// permission of the file for `user`, and for rights over the mount's user namespace for `security` and `trusted`.
enum AttributeNamespace: Equatable {
    case user
    case security
    case trusted
    /// `system.posix_acl_access` and `system.posix_acl_default`: all that there is of `system`.
    case accessControl

    private static let prefixes: [(bytes: [UInt8], space: AttributeNamespace)] = [
        (Array("security.".utf8), .security), (Array("user.".utf8), .user), (Array("trusted.".utf8), .trusted),
    ]

    /// Nil for a name that no file may have: see `refusal`.
    init?(of name: [UInt8]) {
        if name == AccessControlList.accessAttribute || name == AccessControlList.defaultAttribute {
            self = .accessControl
            return
        }
        guard name.count <= FileSystem.maximumAttributeName,
            let found = Self.prefixes.first(where: { name.starts(with: $0.bytes) }), name.count > found.bytes.count
        else { return nil }
        self = found.space
    }

    /// What ext4 answers for a name without a name space: EINVAL where nothing follows the prefix, else EOPNOTSUPP.
    static func refusal(of name: [UInt8]) -> Errno {
        prefixes.contains { $0.bytes == name } ? .invalidArgument : .notSupported
    }

    /// `user` is for what users may write to: anybody may write to some devices, and nobody reads a link's mode.
    func isOf(_ kind: FileKind) -> Bool { self != .user || kind == .regular || kind == .directory }
}

extension FileSystem {
    /// `linux/limits.h`: XATTR_NAME_MAX, XATTR_SIZE_MAX, and XATTR_LIST_MAX, past which nobody could list them; bytes.
    static let maximumAttributeName = 255
    static let maximumAttributeValue = 65_536
    static let maximumAttributeList: UInt64 = 65_536
    /// Names and values of one inode, bytes: the largest value, and as much beside it.
    static let maximumAttributes: UInt64 = 2 * 65_536

    /// Whether an inode can have an attribute beside those it has, or in the place of an old value. One that does not
    /// grow always can.
    static func fits(_ name: [UInt8], _ value: [UInt8], replacing old: [UInt8]?, _ sizes: AttributeSizes) -> Bool {
        if let old {
            return value.count <= old.count
                || sizes.bytes + UInt64(value.count) - UInt64(old.count) <= maximumAttributes
        }
        return sizes.bytes + UInt64(name.count + value.count) <= maximumAttributes
            && sizes.listBytes + UInt64(name.count + 1) <= maximumAttributeList
    }
}
