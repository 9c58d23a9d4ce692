import CFUSE
import FileModel
import Glibc
import VFS

/// What a request is answered with. A verb returns one or throws an `Errno`, so no request stays unanswered.
enum Reply {
    case done
    case attributes(Inode)
    /// An inode that the session now holds once more.
    case entry(Inode)
    /// There is no such name, and the kernel may remember that.
    case noEntry
    /// A new file that is open at once; the session holds it. `isDirect`: written past the page cache.
    case created(Inode, isDirect: Bool)
    /// NUL-terminated for the kernel by the reply itself.
    case target([UInt8])
    case bytes([UInt8])
    /// An allocation of which the first `count` bytes are the answer; the reply frees it.
    case buffer(UnsafeMutableRawBufferPointer, count: Int)
    /// A listing. The session holds each of `held` once more.
    case listing(UnsafeMutableRawBufferPointer, count: Int, held: [InodeID])
    case written(Int)
    /// How long a value or a list of names is.
    case length(Int)
    case offset(UInt64)
    case statistics(FileSystemStatistics)
}

extension Connection {
    /// Sends a reply. What the kernel did not take (it forgot the request), the session does not hold.
    func send(_ reply: Reply, to request: fuse_req_t) {
        switch reply {
        case .done: fuse_reply_err(request, 0)
        case .attributes(let inode):
            var status = self.status(of: inode)
            fuse_reply_attr(request, &status, timeout(of: inode))
        case .entry(let inode):
            var entry = self.entry(of: inode)
            if fuse_reply_entry(request, &entry) != 0 { forget(inode.id, count: 1) }
        case .noEntry:
            var entry = fuse_entry_param()
            entry.entry_timeout = timeout
            fuse_reply_entry(request, &entry)
        case .created(let inode, let isDirect): sendCreated(inode, isDirect, to: request)
        case .target(let bytes):
            (bytes + [0]).withUnsafeBytes {
                _ = fuse_reply_readlink(request, $0.baseAddress?.assumingMemoryBound(to: CChar.self))
            }
        case .bytes(let bytes):
            bytes.withUnsafeBytes {
                _ = fuse_reply_buf(request, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
            }
        case .buffer(let memory, let count):
            fuse_reply_buf(request, memory.baseAddress?.assumingMemoryBound(to: CChar.self), count)
            memory.deallocate()
        case .listing(let memory, let count, let held):
            if fuse_reply_buf(request, memory.baseAddress?.assumingMemoryBound(to: CChar.self), count) != 0 {
                for id in held { forget(id, count: 1) }
            }
            memory.deallocate()
        case .written(let count): fuse_reply_write(request, count)
        case .length(let count): fuse_reply_xattr(request, count)
        case .offset(let offset): fuse_reply_lseek(request, off_t(offset))
        case .statistics(let statistics):
            var answer = Self.record(of: statistics)
            fuse_reply_statfs(request, &answer)
        }
    }

    private func sendCreated(_ inode: Inode, _ isDirect: Bool, to request: fuse_req_t) {
        var entry = self.entry(of: inode)
        var file = fuse_file_info()
        file.keep_cache = 1
        file.direct_io = isDirect ? 1 : 0
        if fuse_reply_create(request, &entry, &file) != 0 {
            fileSystem.forget(inode.id, count: 1, session: session)
        }
    }

    /// How long the kernel may trust a name or attributes. Without a bound while nobody else can change them.
    /// With more sessions changes are announced, not awaited: the second bounds how long one under way matters.
    var timeout: Double { fileSystem.isShared ? 1 : Self.unbounded }

    @inline(__always)
    private func timeout(of inode: Inode) -> Double {
        SnapshotNode.isVolatile(inode.id) || fileSystem.mayBeNamed(inode, session) ? 1 : timeout
    }

    /// About 30 years; the kernel clamps what its clock cannot hold.
    private static let unbounded: Double = 1e9

    func entry(of inode: Inode) -> fuse_entry_param {
        var entry = fuse_entry_param()
        entry.ino = inode.id.rawValue
        // Inode numbers are never used twice, so one generation is enough.
        entry.generation = 1
        entry.attr = status(of: inode)
        entry.attr_timeout = timeout(of: inode)
        entry.entry_timeout = entry.attr_timeout
        return entry
    }

    func status(of inode: Inode) -> stat {
        var status = stat()
        status.st_ino = UInt(inode.id.rawValue)
        status.st_mode = inode.mode
        status.st_nlink = UInt(inode.linkCount)
        status.st_uid = fileSystem.shownID(of: inode.userID, .user, session)
        status.st_gid = fileSystem.shownID(of: inode.groupID, .group, session)
        status.st_rdev = dev_t(inode.device)
        status.st_size = off_t(clamping: inode.size)
        status.st_blocks = blkcnt_t(inode.allocated / 512 + (inode.allocated % 512 == 0 ? 0 : 1))
        // What programs should read at once: a page costs a round trip like 128 KiB do.
        status.st_blksize = 128 << 10
        status.st_atim = inode.accessed.timespec
        status.st_mtim = inode.modified.timespec
        status.st_ctim = inode.changed.timespec
        return status
    }

    private static func record(of statistics: FileSystemStatistics) -> statvfs {
        var answer = statvfs()
        let block: UInt64 = 4096
        answer.f_bsize = UInt(block)
        answer.f_frsize = UInt(block)
        answer.f_blocks = UInt(statistics.totalBytes / block)
        answer.f_bfree = UInt(statistics.freeBytes / block)
        answer.f_bavail = UInt(statistics.freeBytes / block)
        answer.f_files = UInt(statistics.totalInodes)
        answer.f_ffree = UInt(statistics.freeInodes)
        answer.f_favail = UInt(statistics.freeInodes)
        answer.f_namemax = UInt(FileName.maximumLength)
        return answer
    }
}

extension Timestamp {
    var timespec: Glibc.timespec { Glibc.timespec(tv_sec: Int(seconds), tv_nsec: Int(nanosecondsOfSecond)) }
}
