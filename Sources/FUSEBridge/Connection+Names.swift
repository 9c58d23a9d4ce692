import CFUSE
import CLinux
import FileModel
import Glibc
import VFS

extension Connection {
    static func addNames(_ table: inout fuse_lowlevel_ops) {
        table.mknod = { request, parent, text, mode, device in
            answer(request) { bridge throws(Errno) in
                guard let kind = FileKind(rawValue: mode & fileTypeBits) else { throw .invalidArgument }
                return try bridge.make(
                    text, in: parent,
                    NewInode(kind: kind, permissions: mode & 0o7777, device: UInt32(truncatingIfNeeded: device)),
                    request)
            }
        }
        table.mkdir = { request, parent, text, mode in
            answer(request) { bridge throws(Errno) in
                try bridge.make(text, in: parent, NewInode(kind: .directory, permissions: mode & 0o7777), request)
            }
        }
        table.symlink = { request, target, parent, text in
            answer(request) { bridge throws(Errno) in
                let new = NewInode(kind: .symbolicLink, permissions: 0o777, target: try bytes(target))
                return try bridge.make(text, in: parent, new, request)
            }
        }
        table.link = { request, number, parent, text in
            answer(request) { bridge throws(Errno) in
                .entry(
                    try bridge.fileSystem.link(
                        try bridge.changeable(number), as: try name(text), in: try bridge.changeable(parent),
                        caller: bridge.caller(of: request)))
            }
        }
        table.create = { request, parent, text, mode, file in
            answer(request) { bridge throws(Errno) in
                try bridge.create(
                    text, in: try bridge.changeable(parent), mode, flags: file?.pointee.flags ?? 0, request)
            }
        }
        addRemovals(&table)
    }

    private static func addRemovals(_ table: inout fuse_lowlevel_ops) {
        table.unlink = { request, parent, text in
            answer(request) { bridge throws(Errno) in
                try bridge.fileSystem.unlink(
                    try name(text), in: try bridge.changeable(parent), caller: bridge.caller(of: request))
                return .done
            }
        }
        table.rmdir = { request, parent, text in
            answer(request) { bridge throws(Errno) in
                try bridge.removing(text, from: parent) { () throws(Errno) in
                    try bridge.fileSystem.removeDirectory(
                        try name(text), in: try bridge.changeable(parent), caller: bridge.caller(of: request))
                }
            }
        }
        table.rename = { request, parent, text, newParent, newText, flags in
            answer(request) { bridge throws(Errno) in
                let names = RenameNames(
                    oldParent: try bridge.changeable(parent), oldName: try name(text),
                    newParent: try bridge.changeable(newParent),
                    newName: try name(newText))
                return try bridge.removing(text, from: parent) { () throws(Errno) in
                    try bridge.fileSystem.rename(
                        names, mode: try Connection.renameMode(flags), caller: bridge.caller(of: request))
                }
            }
        }
    }

    private static func renameMode(_ flags: UInt32) throws(Errno) -> RenameMode {
        switch flags {
        case 0: .replace
        case UInt32(BERTH_RENAME_NOREPLACE): .keep
        case UInt32(BERTH_RENAME_EXCHANGE): .exchange
        // RENAME_WHITEOUT: only overlayfs asks, and does without.
        default: throw .invalidArgument
        }
    }

    private func make(
        _ text: UnsafePointer<CChar>?, in parent: fuse_ino_t, _ new: NewInode, _ request: fuse_req_t?
    ) throws(Errno) -> Reply {
        .entry(try fileSystem.create(try name(text), in: try changeable(parent), new, caller: try owner(of: request)))
    }

    /// Whether a new file is written past the page cache (decision 0008).
    func isWrittenDirectly(flags: Int32) -> Bool { hook.canMixDirect && flags & O_ACCMODE == O_WRONLY }

    private func create(
        _ text: UnsafePointer<CChar>?, in parent: InodeID, _ mode: mode_t, flags: Int32, _ request: fuse_req_t?
    ) throws(Errno) -> Reply {
        let caller = try owner(of: request)
        let raw = try bytes(text)
        // "/": an O_TMPFILE, see `RequestHook`.
        if raw == [0x2F] {
            let inode = try fileSystem.createNameless(in: parent, permissions: mode & 0o7777, caller: caller)
            return .created(inode, isDirect: false)
        }
        let new = NewInode(kind: .regular, permissions: mode & 0o7777)
        do throws(Errno) {
            let inode = try fileSystem.create(try FileName(raw), in: parent, new, caller: caller)
            return .created(inode, isDirect: isWrittenDirectly(flags: flags))
        } catch .alreadyExists where flags & O_EXCL == 0 {
            // Another session made it since the kernel looked. ESTALE has the kernel look again and open what is there,
            // with the permissions that has.
            throw .stale
        }
    }
}

/// S_IFMT, which two C modules declare.
private let fileTypeBits: UInt32 = 0o170000
