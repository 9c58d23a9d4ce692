import CFUSE
import FileModel
import Glibc

/// The table libfuse calls: each request decoded, done in memory and answered, with Berth's settings.
enum Requests {
    static func table() -> fuse_lowlevel_ops {
        var table = fuse_lowlevel_ops()
        table.`init` = { _, connection in
            if let connection { negotiate(connection) }
        }
        addNames(&table)
        addData(&table)
        addAttributes(&table)
        // As Berth: answered once, the kernel never asks again.
        table.open = { request, _, _ in fuse_reply_err(request, ENOSYS) }
        table.opendir = { request, _, _ in fuse_reply_err(request, ENOSYS) }
        table.flush = { request, _, _ in fuse_reply_err(request, ENOSYS) }
        table.release = { request, _, _ in fuse_reply_err(request, 0) }
        table.fsync = { request, _, _, _ in fuse_reply_err(request, 0) }
        return table
    }

    private static func addNames(_ table: inout fuse_lowlevel_ops) {
        table.lookup = { request, parent, text in
            answer(request) { tree throws(Errno) in
                var found = fuse_entry_param()
                found.entry_timeout = unbounded
                do throws(Errno) { found = entry(try tree.lookup(Name(text), in: parent)) } catch {
                    guard error == .noEntry else { throw error }
                }
                fuse_reply_entry(request, &found)
            }
        }
        table.mknod = { request, parent, text, mode, _ in
            answer(request) { tree throws(Errno) in
                var made = try make(request, tree, Name(text), in: parent, mode)
                fuse_reply_entry(request, &made)
            }
        }
        table.mkdir = { request, parent, text, mode in
            answer(request) { tree throws(Errno) in
                var made = try make(request, tree, Name(text), in: parent, S_IFDIR | mode)
                fuse_reply_entry(request, &made)
            }
        }
        table.create = { request, parent, text, mode, opened in
            answer(request) { tree throws(Errno) in
                var made = try make(request, tree, Name(text), in: parent, S_IFREG | mode & 0o7777)
                let flags = opened?.pointee.flags ?? 0
                var file = fuse_file_info()
                file.keep_cache = 1
                file.direct_io = tree.hook.canMixDirect && flags & O_ACCMODE == O_WRONLY ? 1 : 0
                fuse_reply_create(request, &made, &file)
            }
        }
        addRemovals(&table)
    }

    private static func addRemovals(_ table: inout fuse_lowlevel_ops) {
        table.unlink = { request, parent, text in
            answer(request) { tree throws(Errno) in
                try tree.remove(Name(text), from: parent, isDirectory: false)
                fuse_reply_err(request, 0)
            }
        }
        table.rmdir = { request, parent, text in
            answer(request) { tree throws(Errno) in
                try tree.remove(Name(text), from: parent, isDirectory: true)
                fuse_reply_err(request, 0)
            }
        }
        table.rename = { request, parent, text, newParent, newText, flags in
            answer(request) { tree throws(Errno) in
                guard flags == 0 else { throw .invalidArgument }
                try tree.rename(Name(text), from: parent, to: Name(newText), in: newParent)
                fuse_reply_err(request, 0)
            }
        }
        table.forget = { request, number, count in
            answer(request) { tree in tree.forget(number, count: count) }
            fuse_reply_none(request)
        }
        table.forget_multi = { request, count, list in
            answer(request) { tree in
                for index in 0..<count {
                    guard let item = list?[index] else { break }
                    tree.forget(item.ino, count: item.nlookup)
                }
            }
            fuse_reply_none(request)
        }
    }

    private static func addData(_ table: inout fuse_lowlevel_ops) {
        table.read = { request, number, size, offset, _ in
            answer(request) { tree throws(Errno) in
                let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
                defer { memory.deallocate() }
                let count = try tree.read(number, at: Int(offset), into: memory)
                fuse_reply_buf(request, memory.baseAddress?.assumingMemoryBound(to: CChar.self), count)
            }
        }
        table.write = { request, number, buffer, size, offset, _ in
            answer(request) { tree throws(Errno) in
                try tree.write(UnsafeRawBufferPointer(start: buffer, count: size), to: number, at: Int(offset))
                fuse_reply_write(request, size)
            }
        }
        table.readdirplus = { request, number, size, offset, _ in
            answer(request) { tree throws(Errno) in try list(request, tree, number, size, Int(offset)) }
        }
    }

    private static func addAttributes(_ table: inout fuse_lowlevel_ops) {
        table.getattr = { request, number, _ in
            answer(request) { tree throws(Errno) in
                var status = try tree.status(of: number)
                fuse_reply_attr(request, &status, unbounded)
            }
        }
        table.setattr = { request, number, wanted, valid, _ in
            answer(request) { tree throws(Errno) in
                guard let wanted = wanted?.pointee else { throw .invalidArgument }
                var status = try tree.change(number) { node in
                    if valid & FUSE_SET_ATTR_MODE != 0 { node.status.st_mode = wanted.st_mode }
                    if valid & FUSE_SET_ATTR_UID != 0 { node.status.st_uid = wanted.st_uid }
                    if valid & FUSE_SET_ATTR_GID != 0 { node.status.st_gid = wanted.st_gid }
                    if valid & FUSE_SET_ATTR_SIZE != 0 { node.resize(Int(wanted.st_size)) }
                    if valid & FUSE_SET_ATTR_MTIME != 0 { node.status.st_mtim = wanted.st_mtim }
                    if valid & FUSE_SET_ATTR_MTIME_NOW != 0 { node.touch() }
                }
                fuse_reply_attr(request, &status, unbounded)
            }
        }
        table.getxattr = { request, _, _, _ in fuse_reply_err(request, ENODATA) }
        table.statfs = { request, _ in
            var status = statvfs()
            status.f_bsize = 4096
            status.f_frsize = 4096
            status.f_blocks = 1 << 30
            status.f_bfree = 1 << 30
            status.f_bavail = 1 << 30
            status.f_namemax = 255
            fuse_reply_statfs(request, &status)
        }
    }
}

/// As Berth with one session: names and attributes never expire.
private let unbounded: Double = 1e9

@inline(__always)
private func answer(_ request: fuse_req_t?, _ verb: (MemoryTree) throws(Errno) -> Void) {
    guard let userdata = fuse_req_userdata(request) else { return }
    Unmanaged<MemoryTree>.fromOpaque(userdata)._withUnsafeGuaranteedRef { tree in
        do throws(Errno) {
            try verb(tree)
        } catch {
            fuse_reply_err(request, error.rawValue)
        }
    }
}

private func entry(_ status: stat) -> fuse_entry_param {
    var entry = fuse_entry_param()
    entry.ino = UInt64(status.st_ino)
    entry.generation = 1
    entry.attr = status
    entry.attr_timeout = unbounded
    entry.entry_timeout = unbounded
    return entry
}

private func make(
    _ request: fuse_req_t?, _ tree: MemoryTree, _ name: Name, in parent: fuse_ino_t, _ mode: mode_t
) throws(Errno) -> fuse_entry_param {
    let context = fuse_req_ctx(request)?.pointee ?? fuse_ctx()
    return entry(
        try tree.make(
            name, in: parent, mode: mode & ~context.umask, user: context.uid, group: context.gid))
}

private func list(
    _ request: fuse_req_t?, _ tree: MemoryTree, _ number: fuse_ino_t, _ size: Int, _ start: Int
) throws(Errno) {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
    defer { memory.deallocate() }
    var used = 0
    try tree.list(number, from: start) { name, status, next in
        let rest = UnsafeMutableRawBufferPointer(rebasing: memory[used...])
        var found = entry(status)
        let needed = (name.bytes + [0]).withUnsafeBytes {
            fuse_add_direntry_plus(
                request, rest.baseAddress?.assumingMemoryBound(to: CChar.self), rest.count,
                $0.baseAddress?.assumingMemoryBound(to: CChar.self), &found, off_t(next))
        }
        guard needed <= rest.count else { return false }
        used += needed
        return true
    }
    fuse_reply_buf(request, memory.baseAddress?.assumingMemoryBound(to: CChar.self), used)
}

/// Keep equal to `Connection.negotiate` of FUSEBridge: the comparison is worth nothing otherwise.
private func negotiate(_ connection: UnsafeMutablePointer<fuse_conn_info>) {
    let wanted =
        FUSE_CAP_ASYNC_READ | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_DONT_MASK | FUSE_CAP_READDIRPLUS
        | FUSE_CAP_ASYNC_DIO | FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL
        | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPENDIR_SUPPORT
    connection.pointee.want = connection.pointee.capable & UInt32(wanted)
    connection.pointee.max_write = 1 << 20
    connection.pointee.max_background = 64
    connection.pointee.congestion_threshold = 48
    connection.pointee.time_gran = 1
}
