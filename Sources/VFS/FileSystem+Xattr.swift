import FileModel
import Metadata
import Synchronization

/// `setxattr`'s flags.
public enum AttributeMode: Sendable {
    case createOrReplace
    /// XATTR_CREATE
    case create
    /// XATTR_REPLACE
    case replace
}

extension FileSystem {
    /// XATTR_NAME_MAX and XATTR_SIZE_MAX of `linux/limits.h`, bytes.
    static let maximumAttributeName = 255
    static let maximumAttributeValue = 65536
    /// The proof that a path is this session's root; `Control.SessionMarker` tells clients the same name.
    public static let sessionAttribute = [UInt8]("berth.session".utf8)
    /// Its second half, shown once.
    public static let proofAttribute = [UInt8]("berth.proof".utf8)

    /// The value of an extended attribute. Answers ENODATA where there is none.
    public func attribute(_ name: [UInt8], of id: InodeID, session: Session) throws(Errno) -> [UInt8] {
        if id == .root && name == Self.sessionAttribute { return Array(session.name.utf8) }
        if id == .root && name == Self.proofAttribute, let secret = session.takeSecret() { return Array(secret.utf8) }
        guard hasAttributes.load(ordering: .relaxed) else { throw .noAttribute }
        let value = try read { transaction throws(Errno) in
            guard let value = try transaction.attribute(name, of: id) else {
                // A list that says no more than the mode is not stored, and the kernel takes ENODATA for it.
                throw .noAttribute
            }
            return value
        }
        guard isAccessControl(name), let list = AccessControlList(decoding: value) else { return value }
        let identity = session.identity
        let mapped = list.mappingIDs(users: identity.users.sessionID, groups: identity.groups.sessionID)
        return mapped?.encoded() ?? value
    }

    /// The names of all extended attributes.
    public func attributeNames(of id: InodeID) throws(Errno) -> [[UInt8]] {
        guard hasAttributes.load(ordering: .relaxed) else { return [] }
        return try read { transaction throws(Errno) in
            try transaction.attributeNames(of: id)
        }
    }

    /// Sets an extended attribute. An ACL changes the mode with it.
    public func setAttribute(
        _ name: [UInt8], to value: [UInt8], of id: InodeID, mode: AttributeMode, caller: Caller
    ) throws(Errno) {
        guard !name.isEmpty, name.count <= Self.maximumAttributeName else { throw .outOfRange }
        guard value.count <= Self.maximumAttributeValue else { throw .tooBig }
        guard name != Self.sessionAttribute, name != Self.proofAttribute else { throw .notPermitted }
        try requireRoom()
        let list = isAccessControl(name) ? try decodeList(value, caller.session) : nil
        let now = configuration.now()
        try write(caller.session) { transaction throws(Errno) in
            guard var inode = try transaction.inode(id) else { throw .stale }
            let exists = try transaction.attribute(name, of: id) != nil
            if mode == .create && exists { throw .alreadyExists }
            if mode == .replace && !exists { throw .noAttribute }
            if name == AccessControlList.defaultAttribute && !inode.isDirectory { throw .accessDenied }
            inode.changed = now
            if name == AccessControlList.accessAttribute, let list {
                inode.permissions = inode.permissions & ~0o777 | list.mode
                // As every file system does: without CAP_FSETID a foreign group loses set-group-id.
                if !caller.isSuperuser && caller.groupID != inode.groupID { inode.permissions &= ~0o2000 }
            }
            if let list, list.isMinimal, name == AccessControlList.accessAttribute {
                if exists { try transaction.removeAttribute(name, of: id) }
            } else {
                try transaction.setAttribute(name, to: list?.encoded() ?? value, of: id)
            }
            try transaction.update(inode)
            if try transaction.setting(SettingKey.hasAttributes) == nil {
                try transaction.setSetting(SettingKey.hasAttributes, to: "1")
            }
        }
        hasAttributes.store(true, ordering: .relaxed)
        announce(caller.session, [.attributes(id)])
    }

    /// Removes an extended attribute. Answers ENODATA where there is none.
    public func removeAttribute(_ name: [UInt8], of id: InodeID, caller: Caller) throws(Errno) {
        let now = configuration.now()
        try write(caller.session) { transaction throws(Errno) in
            guard var inode = try transaction.inode(id) else { throw .stale }
            guard try transaction.attribute(name, of: id) != nil else {
                // Removing an ACL that the mode alone expresses is no error (acl(5), removexattr of local systems).
                if isAccessControl(name) { return }
                throw .noAttribute
            }
            try transaction.removeAttribute(name, of: id)
            inode.changed = now
            try transaction.update(inode)
        }
        announce(caller.session, [.attributes(id)])
    }

    /// `chmod` on a file with an access ACL changes the list, too.
    func applyModeToAccessList(_ inode: Inode, _ transaction: any MetadataTransaction) throws(Errno) {
        guard let value = try transaction.attribute(AccessControlList.accessAttribute, of: inode.id),
            var list = AccessControlList(decoding: value)
        else { return }
        list.apply(mode: inode.permissions)
        try transaction.setAttribute(AccessControlList.accessAttribute, to: list.encoded(), of: inode.id)
    }

    private func isAccessControl(_ name: [UInt8]) -> Bool {
        name == AccessControlList.accessAttribute || name == AccessControlList.defaultAttribute
    }

    private func decodeList(_ value: [UInt8], _ session: Session) throws(Errno) -> AccessControlList {
        guard let list = AccessControlList(decoding: value) else { throw .invalidArgument }
        let identity = session.identity
        guard let mapped = list.mappingIDs(users: identity.users.volumeID, groups: identity.groups.volumeID) else {
            throw .invalidArgument
        }
        return mapped
    }
}
