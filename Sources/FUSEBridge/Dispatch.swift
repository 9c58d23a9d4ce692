import CFUSE
import FileModel
import Glibc
import VFS

/// Runs one verb and sends its reply or its errno.
@inline(__always)
func answer(_ request: fuse_req_t?, _ verb: (Connection) throws(Errno) -> Reply) {
    guard let request, let userdata = fuse_req_userdata(request) else { return }
    Unmanaged<Connection>.fromOpaque(userdata)._withUnsafeGuaranteedRef { connection in
        do throws(Errno) {
            if connection.mayRepeat, let reply = try connection.repeatedReply() {
                connection.send(reply, to: request)
            } else {
                connection.send(try verb(connection), to: request)
            }
        } catch {
            fuse_reply_err(request, error.rawValue)
        }
    }
}

extension Connection {
    /// Who sent the request, in volume ids. An id that the session has no place for acts as nobody.
    func caller(of request: fuse_req_t?) -> Caller {
        guard let context = fuse_req_ctx(request)?.pointee else {
            return Caller(
                session: session, userID: IdentityMap.overflowID, groupID: IdentityMap.overflowID, isSuperuser: false,
                umask: 0o077)
        }
        return Caller(
            session: session, userID: volumeID(of: context.uid, .user), groupID: volumeID(of: context.gid, .group),
            isSuperuser: context.uid == 0, umask: context.umask, thread: context.pid)
    }

    @inline(__always)
    private func volumeID(of id: UInt32, _ kind: AccountKind) -> UInt32 {
        do throws(Errno) {
            return try fileSystem.volumeID(of: id, kind, session, adding: false) ?? IdentityMap.overflowID
        } catch {
            return IdentityMap.overflowID
        }
    }

    /// As `caller`, of someone who will own what is made. Answers EOVERFLOW for an id without a place in the
    /// volume, as the kernel does for one without a place in a user namespace.
    func owner(of request: fuse_req_t?) throws(Errno) -> Caller {
        // Each is asked for once: a name service may answer the first time and be silent the next.
        guard let context = fuse_req_ctx(request)?.pointee,
            let userID = try fileSystem.volumeID(of: context.uid, .user, session, adding: true),
            let groupID = try fileSystem.volumeID(of: context.gid, .group, session, adding: true)
        else { throw Errno(EOVERFLOW) }
        return Caller(
            session: session, userID: userID, groupID: groupID, isSuperuser: context.uid == 0, umask: context.umask,
            thread: context.pid)
    }
}

/// The bytes of a C string.
func bytes(_ text: UnsafePointer<CChar>?) throws(Errno) -> [UInt8] {
    guard let text else { throw .invalidArgument }
    return [UInt8](UnsafeRawBufferPointer(start: text, count: strlen(text)))
}

func name(_ text: UnsafePointer<CChar>?) throws(Errno) -> FileName { try FileName(try bytes(text)) }

func inode(_ number: fuse_ino_t) -> InodeID { InodeID(rawValue: number) }

/// An offset or length that the kernel hands over signed.
func unsigned(_ offset: off_t) throws(Errno) -> UInt64 {
    guard let value = UInt64(exactly: offset) else { throw .invalidArgument }
    return value
}

extension Connection {
    /// The table libfuse calls.
    static func operations() -> fuse_lowlevel_ops {
        var table = fuse_lowlevel_ops()
        table.`init` = { userdata, connection in
            guard let userdata, let connection else { return }
            Unmanaged<Connection>.fromOpaque(userdata)._withUnsafeGuaranteedRef { $0.negotiate(connection) }
        }
        addLookups(&table)
        addNames(&table)
        addData(&table)
        addSpace(&table)
        addAttributes(&table)
        addListings(&table)
        // Answered once with ENOSYS, the kernel never asks again: open costs no round trip.
        table.open = { request, _, _ in fuse_reply_err(request, ENOSYS) }
        table.opendir = { request, _, _ in fuse_reply_err(request, ENOSYS) }
        return table
    }
}
