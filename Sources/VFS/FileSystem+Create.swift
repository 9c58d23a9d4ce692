import FileModel
import Metadata
import Synchronization

/// What a new inode is to be.
public struct NewInode: Sendable {
    public var kind: FileKind
    /// The lower 12 bits, before umask or default ACL.
    public var permissions: UInt32
    public var device: UInt32
    /// Symbolic links only.
    public var target: [UInt8]

    public init(kind: FileKind, permissions: UInt32, device: UInt32 = 0, target: [UInt8] = []) {
        self.kind = kind
        self.permissions = permissions
        self.device = device
        self.target = target
    }
}

extension FileSystem {
    /// PATH_MAX less the NUL: what Linux file systems allow for a link's target.
    static let maximumTargetLength = 4095
    /// ext4 stops at 65,000; the limit here only keeps the counter far from its end.
    static let maximumLinks: UInt32 = 1 << 30

    /// Makes a file, directory, link, fifo, socket or device. The session holds it.
    /// Answers EEXIST for a name that is taken and ENOSPC past the volume's limits.
    public func create(_ name: FileName, in parent: InodeID, _ new: NewInode, caller: Caller) throws(Errno) -> Inode {
        guard new.target.count <= Self.maximumTargetLength else { throw .nameTooLong }
        try requireRoom()
        var new = new
        new.permissions = try permissions(of: new, in: parent, caller)
        let now = configuration.now()
        let mayInherit = hasAttributes.load(ordering: .relaxed)
        let bytes = Self.bytes(of: new, mayInherit)
        let inode = try makingRoom(bytes: bytes, inodes: 1) { () throws(Errno) in
            try beforeOthersReap { () throws(Errno) in
                let inode = try make(name, parent, new, caller, mayInherit, now)
                caller.session.retain(inode.id)
                return inode
            }
        }
        announce(caller.session, [.entry(parent: parent, name: name), .listing(parent)])
        return inode
    }

    private func make(
        _ name: FileName, _ parent: InodeID, _ new: NewInode, _ caller: Caller, _ mayInherit: Bool, _ now: Timestamp
    ) throws(Errno) -> Inode {
        try write(caller.session) { transaction throws(Errno) in
            var directory = try transaction.liveDirectory(parent)
            guard try transaction.entry(name, in: parent) == nil else { throw .alreadyExists }
            if new.kind == .directory && directory.linkCount >= Self.maximumLinks { throw .tooManyLinks }
            let plan = try Self.plan(new, in: directory, caller, mayInherit, now, transaction)
            try checkRoom(forInodes: 1, transaction)
            try checkRoom(forBytes: plan.inode.allocated, transaction)
            try transaction.requireQuota([
                .init(bytes: Int64(clamping: plan.inode.allocated), inodes: 1, place: parent)
            ])
            let inode = try Self.insert(plan, transaction)
            try transaction.link(name, in: parent, to: inode.id)
            directory.touchEntries(now)
            if new.kind == .directory { directory.linkCount += 1 }
            try transaction.update(directory)
            return inode
        }
    }

    /// Makes a regular file without a name (O_TMPFILE). `link` can name it; else it goes when it is closed.
    public func createNameless(in parent: InodeID, permissions: UInt32, caller: Caller) throws(Errno) -> Inode {
        let now = configuration.now()
        let mayInherit = hasAttributes.load(ordering: .relaxed)
        var new = NewInode(kind: .regular, permissions: permissions)
        new.permissions = try self.permissions(of: new, in: parent, caller)
        try requireRoom()
        let bytes = Self.bytes(of: new, mayInherit)
        let inode = try makingRoom(bytes: bytes, inodes: 1) { () throws(Errno) in
            try write(caller.session) { transaction throws(Errno) in
                let directory = try transaction.liveDirectory(parent)
                let plan = try Self.plan(new, in: directory, caller, mayInherit, now, transaction)
                try checkRoom(forInodes: 1, transaction)
                try checkRoom(forBytes: plan.inode.allocated, transaction)
                var inode = try Self.insert(plan, transaction)
                inode.linkCount = 0
                inode.parent = nil
                try transaction.update(inode)
                try transaction.addOrphan(inode.id)
                return inode
            }
        }
        caller.session.retain(inode.id)
        orphaned(inode.id)
        return inode
    }

    /// What belongs to a new inode takes so much at most.
    private static func bytes(of new: NewInode, _ mayInherit: Bool) -> UInt64 {
        UInt64(new.target.count) + (mayInherit ? maximumAttributes : 0)
    }

    /// An inode that is to be made, with what belongs to it.
    private struct Plan {
        /// Without its number.
        var inode: Inode
        var target: [UInt8]
        var attributes: [(name: [UInt8], value: [UInt8])] = []
    }

    private static func plan(
        _ new: NewInode, in directory: Inode, _ caller: Caller, _ mayInherit: Bool, _ now: Timestamp,
        _ transaction: any MetadataTransaction
    ) throws(Errno) -> Plan {
        let inherited =
            mayInherit && new.kind != .symbolicLink
            ? try transaction.attribute(AccessControlList.defaultAttribute, of: directory.id) : nil
        var permissions = new.permissions
        var attributes: [(name: [UInt8], value: [UInt8])] = []
        if let inherited, var list = AccessControlList(decoding: inherited) {
            // POSIX 1003.1e draft 17, 23.1.2: a default ACL replaces the umask.
            permissions = list.restrict(to: permissions)
            if !list.isMinimal { attributes.append((AccessControlList.accessAttribute, list.encoded())) }
        } else if new.kind != .symbolicLink {
            permissions &= ~caller.umask
        }
        var groupID = caller.groupID
        if directory.permissions & 0o2000 != 0 {
            groupID = directory.groupID
            if new.kind == .directory { permissions |= 0o2000 }
        }
        if let inherited, new.kind == .directory { attributes.append((AccessControlList.defaultAttribute, inherited)) }
        let bytes = attributes.reduce(new.target.count) { $0 + $1.name.count + $1.value.count }
        let inode = Inode(
            id: directory.id, kind: new.kind, permissions: permissions & 0o7777, userID: caller.userID,
            groupID: groupID, linkCount: new.kind == .directory ? 2 : 1, size: UInt64(new.target.count),
            allocated: UInt64(bytes), time: now, device: new.device, parent: directory.id)
        return Plan(inode: inode, target: new.target, attributes: attributes)
    }

    private static func insert(_ plan: Plan, _ transaction: any MetadataTransaction) throws(Errno) -> Inode {
        var inode = plan.inode
        inode.id = try transaction.allocateInodeID()
        try transaction.insert(inode)
        // The record counts them already.
        if inode.kind == .symbolicLink { _ = try transaction.setLinkTarget(plan.target, of: inode.id) }
        for (name, value) in plan.attributes { _ = try transaction.setAttribute(name, to: value, of: inode.id) }
        return inode
    }

    /// Gives an inode one more name. Answers EPERM for a directory.
    public func link(
        _ id: InodeID, as name: FileName, in parent: InodeID, caller: Caller
    ) throws(Errno) -> Inode {
        try requireRoom()
        let now = configuration.now()
        let (inode, wasOrphan) = try write(caller.session) { transaction throws(Errno) in
            var directory = try transaction.liveDirectory(parent)
            guard try transaction.entry(name, in: parent) == nil else { throw .alreadyExists }
            guard var inode = try transaction.inode(id) else { throw .stale }
            guard !inode.isDirectory else { throw .notPermitted }
            guard inode.linkCount < Self.maximumLinks else { throw .tooManyLinks }
            guard !inode.isInTrash else { throw .noEntry }
            let wasOrphan = inode.linkCount == 0
            if !wasOrphan { try checkRoom(forLinks: 1, transaction) }
            if wasOrphan {
                try transaction.requireQuota([
                    .init(bytes: Int64(clamping: inode.allocated), inodes: 1, place: parent)
                ])
            } else if let place = inode.parent {
                try transaction.requireSameQuotas(place, parent)
            }
            try transaction.nameAdded(to: &inode, in: parent)
            inode.linkCount += 1
            inode.changed = now
            try transaction.update(inode)
            // Only an O_TMPFILE gets here without a name: the kernel refuses others.
            if wasOrphan { try transaction.removeOrphan(id) }
            try transaction.link(name, in: parent, to: id)
            directory.touchEntries(now)
            try transaction.update(directory)
            return (inode, wasOrphan)
        }
        if wasOrphan { named(id) }
        caller.session.retain(id)
        announce(caller.session, [.entry(parent: parent, name: name), .listing(parent), .attributes(id)])
        return inode
    }
}
