import CFUSE
import Glibc
import Synchronization

/// Adds FUSE_HANDLE_KILLPRIV_V2 to the answer of INIT, as Berth does: libfuse 3.14 does not know it, and without it
/// the kernel asks for security.capability before every write.
enum Handshake {
    private static let killPrivV2 = UInt32(1) << 28
    /// Of `fuse_init_in` and `fuse_init_out` alike.
    private static let flagsOffset = 12
    private static let isOver = Atomic<Bool>(false)

    static var functions: fuse_custom_io {
        var io = fuse_custom_io()
        io.read = { number, buffer, length, _ in Glibc.read(number, buffer, length) }
        io.writev = { number, parts, count, _ in
            if !Handshake.isOver.load(ordering: .relaxed), let parts, count >= 2, let body = parts[1].iov_base,
                parts[1].iov_len > Handshake.flagsOffset + 4
            {
                let flags = body.loadUnaligned(fromByteOffset: Handshake.flagsOffset, as: UInt32.self)
                body.storeBytes(of: flags | Handshake.killPrivV2, toByteOffset: Handshake.flagsOffset, as: UInt32.self)
                Handshake.isOver.store(true, ordering: .relaxed)
            }
            return Glibc.writev(number, parts, count)
        }
        return io
    }
}
