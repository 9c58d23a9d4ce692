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
    /// The proof that a path is this session's root; `Control.SessionMarker` tells clients the same name.
    public static let sessionAttribute = [UInt8]("berth.session".utf8)
    /// Its second half, shown once.
    public static let proofAttribute = [UInt8]("berth.proof".utf8)

    /// The value of an extended attribute. Answers ENODATA where there is none, and EOPNOTSUPP for a name that no file
    /// may have, unless an older program set it.
    public func attribute(_ name: [UInt8], of id: InodeID, session: Session) throws(Errno) -> [UInt8] {
        if id == .root && name == Self.sessionAttribute { return Array(session.name.utf8) }
        if id == .root && name == Self.proofAttribute, let secret = session.takeSecret() { return Array(secret.utf8) }
        guard hasAttributes.load(ordering: .relaxed) else { throw Self.absence(of: name) }
        let value = try read { transaction throws(Errno) in
            guard let value = try transaction.attribute(name, of: id) else {
                // A list that says no more than the mode is not stored, and the kernel takes ENODATA for it.
                throw Self.absence(of: name)
            }
            return value
        }
        guard isAccessControl(name), let list = AccessControlList(decoding: value) else { return value }
        return shown(list, session).encoded()
    }

    private static func absence(of name: [UInt8]) -> Errno {
        AttributeNamespace(of: name) == nil ? AttributeNamespace.refusal(of: name) : .noAttribute
    }

    /// The names of all extended attributes.
    public func attributeNames(of id: InodeID) throws(Errno) -> [[UInt8]] {
        guard hasAttributes.load(ordering: .relaxed) else { return [] }
        return try read { transaction throws(Errno) in
            try transaction.attributeNames(of: id)
        }
    }

    /// Sets an extended attribute. An ACL changes the mode with it. Answers EOPNOTSUPP for a name of no name space, and
    /// ENOSPC past what an inode may have of them and past the volume's size, EDQUOT past a quota.
    public func setAttribute(
        _ name: [UInt8], to value: [UInt8], of id: InodeID, mode: AttributeMode, caller: Caller
    ) throws(Errno) {
        guard !name.isEmpty, name.count <= Self.maximumAttributeName else { throw .outOfRange }
        guard value.count <= Self.maximumAttributeValue else { throw .tooBig }
        guard name != Self.sessionAttribute, name != Self.proofAttribute else { throw .notPermitted }
        guard let space = AttributeNamespace(of: name) else { throw AttributeNamespace.refusal(of: name) }
        try requireRoom()
        let list = space == .accessControl ? try decodeList(name, value, of: id, caller.session) : nil
        let keepsGroup = name == AccessControlList.accessAttribute ? try keepsSetGroupID(id, caller) : true
        let now = configuration.now()
        try makingRoom(bytes: UInt64(name.count + value.count)) { () throws(Errno) in
            try write(caller.session) { transaction throws(Errno) in
                try place(name, space, value, list, of: id, mode, keepsGroup, now, transaction)
            }
        }
        hasAttributes.store(true, ordering: .relaxed)
        announce(caller.session, [.attributes(id)])
    }

    private func place(
        _ name: [UInt8], _ space: AttributeNamespace, _ value: [UInt8], _ list: AccessControlList?, of id: InodeID,
        _ mode: AttributeMode, _ keepsGroup: Bool, _ now: Timestamp, _ transaction: any MetadataTransaction
    ) throws(Errno) {
        guard var inode = try transaction.inode(id) else { throw .stale }
        guard space.isOf(inode.kind) else { throw .notPermitted }
        let old = try transaction.attribute(name, of: id)
        if mode == .create && old != nil { throw .alreadyExists }
        if mode == .replace && old == nil { throw .noAttribute }
        if name == AccessControlList.defaultAttribute && !inode.isDirectory { throw .accessDenied }
        inode.changed = now
        if name == AccessControlList.accessAttribute, let list {
            inode.permissions = inode.permissions & ~0o777 | list.mode
            if !keepsGroup { inode.permissions &= ~0o2000 }
        }
        if let list, list.isMinimal, name == AccessControlList.accessAttribute {
            if old != nil { inode.grow(by: try transaction.removeAttribute(name, of: id)) }
        } else {
            let value = list?.encoded() ?? value
            guard Self.fits(name, value, replacing: old, try transaction.attributeSizes(of: id)) else { throw .noSpace }
            let more = value.count + (old == nil ? name.count : 0) - (old?.count ?? 0)
            if more > 0 { try checkGrowth(of: inode, by: UInt64(more), transaction) }
            inode.grow(by: try transaction.setAttribute(name, to: value, of: id))
        }
        try transaction.update(inode)
        if try transaction.setting(SettingKey.hasAttributes) == nil {
            try transaction.setSetting(SettingKey.hasAttributes, to: "1")
        }
    }

    /// Removes an extended attribute. Answers ENODATA where there is none. One that nobody could set today, from an older
    /// program, goes by its file's owner: anybody could set it then.
    public func removeAttribute(_ name: [UInt8], of id: InodeID, caller: Caller) throws(Errno) {
        let now = configuration.now()
        try write(caller.session) { transaction throws(Errno) in
            guard var inode = try transaction.inode(id) else { throw .stale }
            guard try transaction.attribute(name, of: id) != nil else {
                // Removing an ACL that the mode alone expresses is no error (acl(5), removexattr of local systems).
                if isAccessControl(name) { return }
                throw Self.absence(of: name)
            }
            let isForOwner = AttributeNamespace(of: name) == nil
            guard !isForOwner || caller.isSuperuser || caller.userID == inode.userID else { throw .notPermitted }
            inode.grow(by: try transaction.removeAttribute(name, of: id))
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
        // As long as before: the record counts it already.
        _ = try transaction.setAttribute(AccessControlList.accessAttribute, to: list.encoded(), of: inode.id)
    }

    private func isAccessControl(_ name: [UInt8]) -> Bool {
        name == AccessControlList.accessAttribute || name == AccessControlList.defaultAttribute
    }

    private func decodeList(
        _ name: [UInt8], _ value: [UInt8], of id: InodeID, _ session: Session
    ) throws(Errno) -> AccessControlList {
        guard let list = AccessControlList(decoding: value) else { throw .invalidArgument }
        guard hasAttributes.load(ordering: .relaxed) else { return try stored(list, over: nil, session) }
        let old = try read { transaction throws(Errno) in try transaction.attribute(name, of: id) }
        return try stored(list, over: old.flatMap { AccessControlList(decoding: $0) }, session)
    }
}
