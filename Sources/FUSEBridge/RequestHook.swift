import CFUSE
import CLinux
import FileModel
import Glibc
import LinuxSystem
import Synchronization

/// Reads requests and writes replies for libfuse, and mends on the way what libfuse 3.14 does not know.
///
/// - O_TMPFILE: the kernel's FUSE_TMPFILE has the layout of FUSE_CREATE with the name "/". It is handed on as a
///   create; no real name can hold a slash, so `create` tells them apart (`linux/fuse.h` 7.37).
/// - FUSE_HANDLE_KILLPRIV_V2: without it the kernel asks for security.capability before every write. The bit is
///   added to the answer of INIT where the kernel offers it.
/// - FUSE_DIRECT_IO_ALLOW_MMAP, accepted the same way: it lets a new file be written past the page cache, which spares
///   the kernel's question for security.capability before the first write, and read and mapped through it by others.
/// - The moment INIT is answered, which libfuse does not report.
// SAFETY: `ready` is written before the loop starts and read in it; `request` and `reply` are written before `isReady` is
// set; the rest is atomic.
package final class RequestHook: @unchecked Sendable {
    private let initUnique = Atomic<UInt64>(0)
    private let offersKillPriv = Atomic<Bool>(false)
    private let offersDirect = Atomic<Bool>(false)
    private let isReady = Atomic<Bool>(false)
    private var ready: @Sendable () -> Void = {}
    private let offersResend = Atomic<Bool>(false)
    /// INIT and its answer, as bytes: what a later server must know. Written before `isReady`, and constant from then.
    private var request: [UInt8] = []
    private var reply: [UInt8] = []
    /// INIT comes from an earlier server's hand, and the kernel has its answer.
    private var isReplaying = false
    /// FUSE_ASYNC_DIO is in that answer.
    private(set) var hasAsynchronousDirect = false

    /// Whether a file may be written directly through one handle and read through the page cache by others. Kernels
    /// before 6.18 leave a page in the cache that a reader fetched while a direct write was under way.
    package var canMixDirect: Bool { offersDirect.load(ordering: .relaxed) }
    private static let mixesDirectSafely = KernelRelease.current().map { $0 >= KernelRelease(6, 18) } ?? false

    /// What was agreed with the kernel; nil before that.
    var negotiation: Negotiation? {
        guard isReady.load(ordering: .acquiring) else { return nil }
        return Negotiation(request: request, reply: reply)
    }

    /// Whether the kernel can ask requests again whose answers were lost with a server (6.9 and later).
    var canResend: Bool { offersResend.load(ordering: .relaxed) }

    /// Has libfuse answer INIT as an earlier server did. False where it would answer otherwise.
    func replay(_ negotiation: Negotiation, to handle: OpaquePointer) -> Bool {
        isReplaying = true
        defer { isReplaying = false }
        hasAsynchronousDirect = negotiation.flags & Self.asynchronousDirect != 0
        var bytes = negotiation.request
        bytes.withUnsafeMutableBytes { memory in
            received(memory)
            var buffer = fuse_buf()
            buffer.size = memory.count
            buffer.mem = memory.baseAddress
            fuse_session_process_buf(handle, &buffer)
        }
        return isReady.load(ordering: .acquiring) && reply == negotiation.reply
    }

    func whenReady(_ body: @escaping @Sendable () -> Void) {
        ready = body
    }

    /// What libfuse calls. The user data is an `Endpoint`.
    package static var functions: fuse_custom_io {
        var io = fuse_custom_io()
        io.read = { number, buffer, length, userdata in
            let count = Glibc.read(number, buffer, length)
            guard count > 0, let buffer, let userdata else { return count }
            RequestHook.hook(of: userdata).received(UnsafeMutableRawBufferPointer(start: buffer, count: count))
            return count
        }
        io.writev = { number, parts, partCount, userdata in
            guard let parts, let userdata else { return Glibc.writev(number, parts, partCount) }
            ReplyNote.take(parts, partCount)
            let hook = RequestHook.hook(of: userdata)
            if hook.isReady.load(ordering: .relaxed) { return Glibc.writev(number, parts, partCount) }
            return hook.writeEarly(number, parts, partCount)
        }
        return io
    }

    private static func hook(of userdata: UnsafeMutableRawPointer) -> RequestHook {
        Unmanaged<Endpoint>.fromOpaque(userdata)._withUnsafeGuaranteedRef { $0.hook }
    }

    @inline(__always)
    private func received(_ request: UnsafeMutableRawBufferPointer) {
        let opcodeOffset = 4
        guard request.count >= MemoryLayout<fuse_in_header>.size else { return }
        let opcode = request.loadUnaligned(fromByteOffset: opcodeOffset, as: UInt32.self)
        if opcode == FUSE_TMPFILE.rawValue {
            request.storeBytes(of: FUSE_CREATE.rawValue, toByteOffset: opcodeOffset, as: UInt32.self)
        } else if opcode == FUSE_INIT.rawValue {
            let header = request.loadUnaligned(as: fuse_in_header.self)
            noteOffer(request)
            self.request = Array(request)
            initUnique.store(header.unique, ordering: .releasing)
        }
    }

    private func noteOffer(_ request: UnsafeMutableRawBufferPointer) {
        let flagsOffset = MemoryLayout<fuse_in_header>.size + Self.flagsOffset
        guard request.count >= flagsOffset + 4 else { return }
        let flags = request.loadUnaligned(fromByteOffset: flagsOffset, as: UInt32.self)
        offersKillPriv.store(flags & Self.killPrivV2 != 0, ordering: .relaxed)
        guard flags & Self.initExtended != 0, request.count >= flagsOffset + 8 else { return }
        let more = request.loadUnaligned(fromByteOffset: flagsOffset + 4, as: UInt32.self)
        offersResend.store(more & Self.hasResend != 0, ordering: .relaxed)
        offersDirect.store(
            more & Self.directAllowsMapping != 0 && Self.mixesDirectSafely, ordering: .relaxed)
    }

    // `linux/fuse.h` 7.39: fuse_init_in and fuse_init_out both have `flags` here; `flags2` holds bits 32 and up.
    fileprivate static let flagsOffset = 12
    private static let secondFlagsOffset = 32
    private static let asynchronousDirect = UInt32(1) << 15
    private static let killPrivV2 = UInt32(1) << 28
    private static let initExtended = UInt32(1) << 30
    private static let directAllowsMapping = UInt32(1) << 4
    private static let hasResend = UInt32(1) << 7

    private func accept(_ body: UnsafeMutableRawBufferPointer) {
        guard body.count >= Self.secondFlagsOffset + 4 else {
            offersDirect.store(false, ordering: .relaxed)
            return
        }
        var flags = body.loadUnaligned(fromByteOffset: Self.flagsOffset, as: UInt32.self)
        if offersKillPriv.load(ordering: .relaxed) { flags |= Self.killPrivV2 }
        if offersDirect.load(ordering: .relaxed) {
            flags |= Self.initExtended
            let more = body.loadUnaligned(fromByteOffset: Self.secondFlagsOffset, as: UInt32.self)
            body.storeBytes(
                of: more | Self.directAllowsMapping, toByteOffset: Self.secondFlagsOffset, as: UInt32.self)
        }
        body.storeBytes(of: flags, toByteOffset: Self.flagsOffset, as: UInt32.self)
    }

    /// Replies up to that of INIT, which is the first.
    private func writeEarly(_ number: Int32, _ parts: UnsafeMutablePointer<iovec>, _ count: Int32) -> Int {
        let isInit = isAnswerToInit(parts, count)
        if isInit, let body = parts[1].iov_base {
            let body = UnsafeMutableRawBufferPointer(start: body, count: parts[1].iov_len)
            accept(body)
            reply = Array(body)
        }
        let written =
            isReplaying ? (0..<Int(count)).reduce(0) { $0 + parts[$1].iov_len } : Glibc.writev(number, parts, count)
        if isInit && written > 0 && !isReady.exchange(true, ordering: .acquiringAndReleasing) { ready() }
        return written
    }

    private func isAnswerToInit(_ parts: UnsafeMutablePointer<iovec>, _ count: Int32) -> Bool {
        guard count >= 2, parts[0].iov_len >= MemoryLayout<fuse_out_header>.size, let start = parts[0].iov_base else {
            return false
        }
        let header = start.loadUnaligned(as: fuse_out_header.self)
        return header.error == 0 && header.unique == initUnique.load(ordering: .acquiring)
    }
}

/// What a server and a kernel agreed on when a session began: INIT and the answer's body.
public struct Negotiation: Codable, Sendable, Equatable {
    public var request: [UInt8]
    public var reply: [UInt8]

    /// What was agreed, of the first 32.
    fileprivate var flags: UInt32 {
        reply.withUnsafeBytes {
            let offset = RequestHook.flagsOffset
            return $0.count >= offset + 4 ? $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self) : 0
        }
    }
}

/// What libfuse's user data must be for the hook to be found: the object that answers a session's requests.
// SAFETY: `hook` is constant and safe itself; subclasses say why they are.
open class Endpoint: @unchecked Sendable {
    package let hook = RequestHook()

    public init() {}
}
