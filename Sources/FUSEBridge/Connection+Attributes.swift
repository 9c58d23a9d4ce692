import CFUSE
import FileModel
import Glibc
import VFS

extension Connection {
    static func addAttributes(_ table: inout fuse_lowlevel_ops) {
        table.setattr = { request, number, status, valid, _ in
            answer(request) { bridge throws(Errno) in
                guard let status else { throw .invalidArgument }
                let change = try bridge.change(status.pointee, valid)
                return .attributes(
                    try bridge.fileSystem.setAttributes(
                        of: try bridge.changeable(number), change, caller: bridge.caller(of: request)))
            }
        }
        table.getxattr = { request, number, text, size in
            answer(request) { bridge throws(Errno) in
                guard bridge.snapshots(number) == nil else { throw .noAttribute }
                let place = try bridge.place(number)
                let value = try place.fileSystem.attribute(try bytes(text), of: place.inode, session: place.session)
                return try Connection.sized(value, size)
            }
        }
        table.listxattr = { request, number, size in
            answer(request) { bridge throws(Errno) in
                guard bridge.snapshots(number) == nil else { return try Connection.sized([], size) }
                let place = try bridge.place(number)
                let names = try place.fileSystem.attributeNames(of: place.inode)
                return try Connection.sized(Array(names.map { $0 + [0] }.joined()), size)
            }
        }
        table.setxattr = { request, number, text, value, size, flags in
            answer(request) { bridge throws(Errno) in
                try bridge.fileSystem.setAttribute(
                    try bytes(text), to: [UInt8](UnsafeRawBufferPointer(start: value, count: size)),
                    of: try bridge.changeable(number),
                    mode: try Connection.attributeMode(flags), caller: bridge.caller(of: request))
                return .done
            }
        }
        table.removexattr = { request, number, text in
            answer(request) { bridge throws(Errno) in
                try bridge.fileSystem.removeAttribute(
                    try bytes(text), of: try bridge.changeable(number), caller: bridge.caller(of: request))
                return .done
            }
        }
    }

    /// A size of 0 asks how long the value is.
    private static func sized(_ value: [UInt8], _ size: Int) throws(Errno) -> Reply {
        if size == 0 { return .length(value.count) }
        guard value.count <= size else { throw .outOfRange }
        return .bytes(value)
    }

    private static func attributeMode(_ flags: Int32) throws(Errno) -> AttributeMode {
        // XATTR_CREATE and XATTR_REPLACE of `linux/xattr.h`.
        switch flags {
        case 0: .createOrReplace
        case 1: .create
        case 2: .replace
        default: throw .invalidArgument
        }
    }

    private func change(_ status: stat, _ valid: Int32) throws(Errno) -> AttributeChange {
        var change = AttributeChange()
        if valid & FUSE_SET_ATTR_MODE != 0 { change.permissions = status.st_mode & 0o7777 }
        if valid & FUSE_SET_ATTR_UID != 0 {
            change.userID = try volumeID(of: status.st_uid, .user)
        }
        if valid & FUSE_SET_ATTR_GID != 0 {
            change.groupID = try volumeID(of: status.st_gid, .group)
        }
        if valid & FUSE_SET_ATTR_SIZE != 0 { change.size = try unsigned(status.st_size) }
        if valid & FUSE_SET_ATTR_ATIME_NOW != 0 {
            change.accessed = Timestamp.now()
        } else if valid & FUSE_SET_ATTR_ATIME != 0 {
            change.accessed = Timestamp(status.st_atim)
        }
        if valid & FUSE_SET_ATTR_MTIME_NOW != 0 {
            change.modified = Timestamp.now()
        } else if valid & FUSE_SET_ATTR_MTIME != 0 {
            change.modified = Timestamp(status.st_mtim)
        }
        // chown(-1, -1): nothing changes but the set-id bits. libfuse 3.14 hands no bit on for it.
        let named =
            FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_ATIME
            | FUSE_SET_ATTR_MTIME
        change.killsSetID = valid & named == 0
        return change
    }

    /// That the caller may name it, the kernel has checked: the owner, of the groups that they are in (default_permissions).
    private func volumeID(of id: UInt32, _ kind: AccountKind) throws(Errno) -> UInt32 {
        guard let found = try fileSystem.volumeID(of: id, kind, session, adding: true) else { throw .invalidArgument }
        return found
    }
}

extension Timestamp {
    init(_ time: timespec) {
        self.init(seconds: Int64(time.tv_sec), nanoseconds: Int64(time.tv_nsec))
    }
}
