import CFUSE
import FileModel
import Glibc
import LinuxSystem
import VFS

/// Requests that the kernel asks again because the server that read them is gone. One that had been done, and whose
/// answer was lost, is answered as it would have been and not done twice: mkdir would find its own directory, unlink
/// nothing, and an append would be there twice. What changes nothing, or the same again, is simply done. A request that
/// servers died of is answered with EIO.
extension Connection {
    var mayRepeat: Bool { slots?.mayRepeat ?? false }

    /// The answer to the request that this thread has, where an earlier server had done it.
    func repeatedReply() throws(Errno) -> Reply? {
        if slots?.isRefused() ?? false { throw .io }
        guard let (request, value) = slots?.applied() else { return nil }
        let header = request.loadUnaligned(as: fuse_in_header.self)
        switch header.opcode {
        case FUSE_MKNOD.rawValue, FUSE_MKDIR.rawValue, FUSE_SYMLINK.rawValue, FUSE_LINK.rawValue:
            return .entry(try held(value))
        case FUSE_CREATE.rawValue: return .created(try held(value), isDirect: isDirect(request))
        case FUSE_SETATTR.rawValue: return .attributes(try fileSystem.attributes(of: inode(header.nodeid)))
        case FUSE_WRITE.rawValue: return try written(request, value)
        case FUSE_UNLINK.rawValue, FUSE_RMDIR.rawValue, FUSE_RENAME.rawValue, FUSE_RENAME2.rawValue,
            FUSE_SETXATTR.rawValue, FUSE_REMOVEXATTR.rawValue:
            return .done
        default: return nil
        }
    }

    private func held(_ number: UInt64) throws(Errno) -> Inode {
        let inode = try fileSystem.attributes(of: InodeID(rawValue: number))
        session.retain(inode.id)
        return inode
    }

    private static let body = MemoryLayout<fuse_in_header>.size

    private func isDirect(_ request: UnsafeRawBufferPointer) -> Bool {
        let name = Self.body + MemoryLayout<fuse_create_in>.size
        guard request.count > name, request[name] != UInt8(ascii: "/") else { return false }
        return isWrittenDirectly(
            flags: Int32(
                bitPattern: request.loadUnaligned(fromByteOffset: Self.body, as: fuse_create_in.self).flags))
    }

    /// `taken`: the bytes that fitted; 0 where all went over bytes of before.
    private func written(_ request: UnsafeRawBufferPointer, _ taken: UInt64) throws(Errno) -> Reply? {
        guard request.count >= Self.body + MemoryLayout<fuse_write_in>.size else { return nil }
        let write = request.loadUnaligned(fromByteOffset: Self.body, as: fuse_write_in.self)
        if Int32(bitPattern: write.flags) & O_DSYNC != 0 {
            session.willWait()
            try fileSystem.synchronize()
        }
        return .written(taken > 0 ? Int(min(taken, UInt64(write.size))) : Int(write.size))
    }
}
