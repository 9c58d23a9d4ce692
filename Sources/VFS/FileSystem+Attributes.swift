import FileModel
import Metadata
import Synchronization

/// What `chmod`, `chown`, `truncate` and `utimensat` change. Nil leaves a field alone.
public struct AttributeChange: Sendable {
    public var permissions: UInt32?
    public var userID: UInt32?
    public var groupID: UInt32?
    public var size: UInt64?
    public var accessed: Timestamp?
    public var modified: Timestamp?
    /// The caller changed the owner, even to what it was: set-id bits go (CAP_HANDLE_KILLPRIV).
    public var killsSetID = false

    public init() {}

    var isOwnerChange: Bool { userID != nil || groupID != nil || killsSetID }
}

extension FileSystem {
    /// The largest file: what `off_t` can say.
    static let maximumFileSize = UInt64(Int64.max)

    /// Changes attributes and answers the new ones. The kernel has checked that the caller may.
    public func setAttributes(
        of id: InodeID, _ change: AttributeChange, caller: Caller
    ) throws(Errno) -> Inode {
        var inode = try apply(change, to: id, caller, losesGroup: nil)
        // The caller's groups are asked for outside of transactions, and only of a file that has the bit.
        if inode == nil { inode = try apply(change, to: id, caller, losesGroup: losesSetGroupID(id, change, caller)) }
        guard let inode else { throw .io }
        announce(caller.session, [change.size == nil ? .attributes(id) : .data(id)])
        return inode
    }

    /// Nil, and nothing done, where `losesGroup` is nil and makes a difference: whether set-group-id goes from a file that its group
    /// may not execute.
    private func apply(
        _ change: AttributeChange, to id: InodeID, _ caller: Caller, losesGroup: Bool?
    ) throws(Errno) -> Inode? {
        let now = configuration.now()
        let mayHaveAttributes = hasAttributes.load(ordering: .relaxed)
        return try write(caller.session) { transaction throws(Errno) in
            guard var inode = try transaction.inode(id) else { throw .stale }
            if losesGroup == nil, Self.mayLoseSetGroupID(inode, change, caller) { return nil }
            if let size = change.size {
                guard inode.kind == .regular else { throw inode.isDirectory ? .isDirectory : .invalidArgument }
                guard size <= Self.maximumFileSize else { throw .fileTooLarge }
                try self.resize(&inode, to: size, caller, now, transaction)
            }
            if losesGroup == true { inode.permissions &= ~0o2000 }
            let isOwnerChange = change.isOwnerChange
            if let userID = change.userID { inode.userID = userID }
            if let groupID = change.groupID { inode.groupID = groupID }
            if isOwnerChange && change.permissions == nil { inode.dropSetID() }
            if let permissions = change.permissions {
                inode.permissions = permissions & 0o7777
                if mayHaveAttributes { try self.applyModeToAccessList(inode, transaction) }
            }
            if let accessed = change.accessed { inode.accessed = accessed }
            if let modified = change.modified { inode.modified = modified }
            inode.changed = now
            if mayHaveAttributes && (isOwnerChange || change.size != nil) {
                try self.dropCapabilities(&inode, transaction)
            }
            try transaction.update(inode)
            return inode
        }
    }

    private func resize(
        _ inode: inout Inode, to size: UInt64, _ caller: Caller, _ now: Timestamp,
        _ transaction: any MetadataTransaction
    ) throws(Errno) {
        if size == 0 && inode.size > 0 && configuration.trash.isOn && configuration.trash.keepsTruncated,
            try transaction.firstExtent(of: inode.id, from: 0) != nil, try mayKeepContent(of: inode, transaction)
        {
            try keepContent(of: inode, caller, now, transaction)
        }
        if size < inode.size {
            let growth = try transaction.replaceExtents(of: inode.id, in: size..<Self.maximumFileSize, with: [])
            inode.grow(by: growth)
        }
        inode.size = size
        inode.modified = now
        if !caller.isSuperuser { inode.dropSetID() }
    }

    /// A changed file or owner loses its file capabilities, as on local file systems. The caller updates the record.
    func dropCapabilities(_ inode: inout Inode, _ transaction: any MetadataTransaction) throws(Errno) {
        guard inode.kind == .regular, hasAttributes.load(ordering: .relaxed),
            try transaction.attribute(Self.capabilityAttribute, of: inode.id) != nil
        else { return }
        inode.grow(by: try transaction.removeAttribute(Self.capabilityAttribute, of: inode.id))
    }

    static let capabilityAttribute = [UInt8]("security.capability".utf8)
}

extension Inode {
    /// Drops set-user-id, and set-group-id where it means execution: without group execution it marks
    /// mandatory locking. Directories keep theirs, which mean inheritance.
    mutating func dropSetID() {
        guard !isDirectory else { return }
        permissions &= ~0o4000
        if permissions & 0o0010 != 0 { permissions &= ~0o2000 }
    }
}
