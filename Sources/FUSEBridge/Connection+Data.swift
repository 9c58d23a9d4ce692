import CFUSE
import CLinux
import FileModel
import Glibc
import VFS

extension Connection {
    static func addData(_ table: inout fuse_lowlevel_ops) {
        table.read = { request, number, size, offset, _ in
            answer(request) { bridge throws(Errno) in try bridge.read(number, size, offset) }
        }
        table.write = { request, number, buffer, size, offset, file in
            answer(request) { bridge throws(Errno) in
                try bridge.write(
                    UnsafeRawBufferPointer(start: buffer, count: size), to: try bridge.changeable(number), offset,
                    file?.pointee, request)
            }
        }
        table.fsync = { request, number, _, _ in
            answer(request) { bridge throws(Errno) in
                // A snapshot is durable.
                guard !SnapshotNode.isOne(inode(number)) else { return .done }
                try bridge.fileSystem.synchronize(
                    inode(number), session: bridge.session, process: bridge.process(of: request))
                return .done
            }
        }
        table.fsyncdir = table.fsync
        table.flush = { request, number, _ in
            answer(request) { bridge throws(Errno) in
                // Answered so once, the kernel never asks again: close costs no round trip.
                guard bridge.fileSystem.waitsAtClose else { throw Errno(ENOSYS) }
                guard !SnapshotNode.isOne(inode(number)) else { return .done }
                try bridge.fileSystem.flush(
                    inode(number), session: bridge.session, process: bridge.process(of: request))
                return .done
            }
        }
    }

    /// The thread that asks, as this process sees it; 0 where it does not.
    func process(of request: fuse_req_t?) -> Int32 {
        request.flatMap { fuse_req_ctx($0)?.pointee.pid } ?? 0
    }

    private func read(_ number: fuse_ino_t, _ size: Int, _ offset: off_t) throws(Errno) -> Reply {
        let start = try unsigned(offset)
        let place = try place(number)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
        do throws(Errno) {
            let count = try place.fileSystem.read(
                place.inode, at: start, into: buffer, session: place.session)
            return .buffer(buffer, count: count)
        } catch {
            buffer.deallocate()
            throw error
        }
    }

    private func write(
        _ bytes: UnsafeRawBufferPointer, to id: InodeID, _ offset: off_t, _ file: fuse_file_info?,
        _ request: fuse_req_t?
    ) throws(Errno) -> Reply {
        let wanted = try unsigned(offset)
        let flags = file?.flags ?? 0
        let appends = flags & O_APPEND != 0
        let caller = caller(of: request)
        // Of mapped pages nobody would hear that some are missing: they are refused whole, and fsync says so.
        let (start, count) =
            file?.writepage == 1
            ? (try fileSystem.write(bytes, to: id, at: wanted, appends: appends, caller: caller), bytes.count)
            : try fileSystem.writeWhatFits(bytes, to: id, at: wanted, appends: appends, caller: caller)
        // Another session made the file longer than this kernel knew: its page cache holds the bytes elsewhere.
        if start != wanted { queue.add([.data(id)], beforeWaiting: session.willWait) }
        // Past the page cache the kernel sends no FSYNC after the write: the flags say what was asked.
        if flags & O_DSYNC != 0 {
            session.willWait()
            try fileSystem.synchronize(id, session: session, process: process(of: request))
        }
        return .written(count)
    }

    static func addSpace(_ table: inout fuse_lowlevel_ops) {
        table.fallocate = { request, number, mode, offset, length, _ in
            answer(request) { bridge throws(Errno) in
                let start = try unsigned(offset)
                let (end, overflow) = start.addingReportingOverflow(try unsigned(length))
                guard !overflow else { throw .fileTooLarge }
                try bridge.fileSystem.allocate(
                    try Connection.spaceRequest(mode), start..<end, of: try bridge.changeable(number),
                    caller: bridge.caller(of: request))
                return .done
            }
        }
        table.lseek = { request, number, offset, whence, _ in
            answer(request) { bridge throws(Errno) in
                guard whence == BERTH_SEEK_DATA || whence == BERTH_SEEK_HOLE else { throw .invalidArgument }
                let place = try bridge.place(number)
                return .offset(
                    try place.fileSystem.seek(
                        place.inode, from: try unsigned(offset), data: whence == BERTH_SEEK_DATA))
            }
        }
        table.copy_file_range = { request, source, sourceOffset, _, target, targetOffset, _, count, _ in
            answer(request) { bridge throws(Errno) in
                let target = try bridge.changeable(target)
                // Sharing would race with the snapshot's removal; told so, the kernel copies the bytes.
                guard !SnapshotNode.isOne(inode(source)) else { throw .crossDevice }
                // The reply's count has 32 bits; the caller goes on from there.
                let limit = UInt64(1) << 31
                let copied = try bridge.fileSystem.copyRange(
                    from: inode(source), at: try unsigned(sourceOffset), to: target,
                    at: try unsigned(targetOffset), count: min(UInt64(count), limit), caller: bridge.caller(of: request)
                )
                return .written(Int(copied))
            }
        }
    }

    private static func spaceRequest(_ mode: Int32) throws(Errno) -> SpaceRequest {
        let keep = Int32(BERTH_FALLOC_FL_KEEP_SIZE)
        switch mode {
        case 0: return .allocate
        case keep: return .allocateKeepingSize
        case Int32(BERTH_FALLOC_FL_PUNCH_HOLE) | keep: return .punchHole
        case Int32(BERTH_FALLOC_FL_ZERO_RANGE): return .zero
        case Int32(BERTH_FALLOC_FL_ZERO_RANGE) | keep: return .zeroKeepingSize
        default: throw .notSupported
        }
    }
}
