import FileModel
import Metadata

/// Who is in a group (decision 0088). The kernel checks permissions itself; what it leaves to a file system is when
/// set-group-id goes, which hangs on the caller's groups. A request names the primary one alone.
extension FileSystem {
    /// Whether the caller is in a group of the volume, as the kernel's in_group_p: primary and supplementary ones. Nil where
    /// nobody can tell. Asks the machine: not in a transaction's body, nor where every request comes by.
    func isMember(_ caller: Caller, of group: UInt32) -> Bool? {
        if caller.groupID == group { return true }
        guard caller.thread > 0 else { return nil }
        caller.session.willWait()
        guard let found = configuration.site.credentials(ofThread: caller.thread) else { return nil }
        // A number of another namespace of processes is another's here.
        guard machineID(found.userID, .user, caller.session) == caller.userID,
            machineID(found.groupID, .group, caller.session) == caller.groupID
        else { return nil }
        return found.groups.contains { machineID($0, .group, caller.session) == group }
    }

    /// Whether an inode keeps set-group-id when its list changes: without CAP_FSETID a foreign group loses it, as in every
    /// file system. Where nobody can tell it stays: in a project's directory what is lost is the group of all new files.
    func keepsSetGroupID(_ id: InodeID, _ caller: Caller) throws(Errno) -> Bool {
        guard !caller.isSuperuser, let inode = try inode(id), inode.permissions & 0o2000 != 0 else { return true }
        return isMember(caller, of: inode.groupID) ?? true
    }

    /// Whether a change of owner or size takes set-group-id also where the group may not execute the file: from who is not
    /// in its group (Linux 6.2, setattr_should_drop_sgid).
    func losesSetGroupID(_ id: InodeID, _ change: AttributeChange, _ caller: Caller) throws(Errno) -> Bool {
        guard let inode = try inode(id), Self.mayLoseSetGroupID(inode, change, caller) else { return false }
        return isMember(caller, of: inode.groupID) == false
    }

    static func mayLoseSetGroupID(_ inode: Inode, _ change: AttributeChange, _ caller: Caller) -> Bool {
        inode.permissions & 0o2010 == 0o2000 && !inode.isDirectory && !caller.isSuperuser
            && (change.isOwnerChange || change.size != nil)
    }

    /// What is asked for less set-group-id, where the new file gets the group of its directory and its maker is not in
    /// that: else anybody who may write there made programs that run as the group (Linux 6.0 does it, mode_strip_sgid).
    func permissions(of new: NewInode, in parent: InodeID, _ caller: Caller) throws(Errno) -> UInt32 {
        guard new.kind != .directory, new.permissions & 0o2010 == 0o2010, !caller.isSuperuser,
            let directory = try inode(parent), directory.permissions & 0o2000 != 0,
            isMember(caller, of: directory.groupID) == false
        else { return new.permissions }
        return new.permissions & ~0o2000
    }

    private func inode(_ id: InodeID) throws(Errno) -> Inode? {
        try read { transaction throws(Errno) in try transaction.inode(id) }
    }
}
