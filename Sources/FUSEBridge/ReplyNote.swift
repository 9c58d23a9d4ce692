import CFUSE
import Glibc
import Metrics

/// What the reply said to the request that this thread answers. Replies are sent by libfuse, on the thread that the
/// request came on, through `RequestHook`, which knows nothing else of the request: the thread itself carries the note.
///
/// One a thread, for as long as the thread answers requests.
struct ReplyNote {
    private struct Content {
        var length: UInt32 = 0
        /// Zero or a negative errno, as the kernel has it.
        var error: Int32 = 0
        /// Bytes that a write took, as its reply says.
        var written: UInt32 = 0
    }

    /// Nil where the process has no room for one more: then nobody learns of errors and bytes.
    private static let key: pthread_key_t? = {
        var key = pthread_key_t()
        return pthread_key_create(&key, nil) == 0 ? key : nil
    }()

    private let content = UnsafeMutablePointer<Content>.allocate(capacity: 1)

    init() {
        content.initialize(to: Content())
        if let key = Self.key { pthread_setspecific(key, content) }
    }

    func end() {
        if let key = Self.key { pthread_setspecific(key, nil) }
        content.deallocate()
    }

    @inline(__always)
    func clear() { content.pointee = Content() }

    /// Of a reply in the parts that libfuse hands to the kernel.
    @inline(__always)
    static func take(_ parts: UnsafeMutablePointer<iovec>, _ count: Int32) {
        // A thread that sends what nobody asked for (an invalidation) has no note.
        guard let key, let memory = pthread_getspecific(key), count > 0,
            parts[0].iov_len >= MemoryLayout<fuse_out_header>.size, let start = parts[0].iov_base
        else { return }
        let content = memory.assumingMemoryBound(to: Content.self)
        let header = start.loadUnaligned(as: fuse_out_header.self)
        content.pointee.length = header.len
        content.pointee.error = header.error
        if count > 1, parts[1].iov_len == MemoryLayout<fuse_write_out>.size, let body = parts[1].iov_base {
            content.pointee.written = body.loadUnaligned(as: fuse_write_out.self).size
        }
    }

    @inline(__always)
    func answered(_ opcode: UInt32, _ nanoseconds: UInt64) -> AnsweredRequest {
        let content = self.content.pointee
        let body = Int(content.length) - MemoryLayout<fuse_out_header>.size
        let isRead = opcode == FUSE_READ.rawValue && content.error == 0 && body > 0
        let isWrite = opcode == FUSE_WRITE.rawValue && content.error == 0
        return AnsweredRequest(
            opcode: opcode, nanoseconds: nanoseconds, errno: -content.error, bytesRead: isRead ? UInt64(body) : 0,
            bytesWritten: isWrite ? UInt64(content.written) : 0)
    }
}
