import CLinux
import FileModel
import Glibc
import LinuxSystem

/// A server's side of an export whose client makes the files: no server of a volume may make files in the user's own
/// directories.
///
/// Wire format, both ways in the machine's byte order, one request and one reply at a time: a request is its verb (a
/// byte), two lengths (UInt16 each), two times (Int64 seconds and nanoseconds each), and the bytes of a name and of a
/// path or target; names of a path are apart by "/". A reply is an errno (Int32), a flag (Int32), and an entry (six
/// UInt64); a descriptor rides with it. Not JSON: there is one of each per file.
enum ExportTreeLink {
    enum Verb: UInt8 {
        case status, enter, leave, create, remove, statusAt, link, symbolicLink, fifo
    }

    struct Request {
        var verb: Verb
        var name: [UInt8] = []
        var more: [UInt8] = []
        var times: [Int64] = [0, 0, 0, 0]
    }

    struct Reply {
        var error: Int32 = 0
        /// Something is there, or is new.
        var flag = false
        var entry = ExportTreeEntry(mode: 0, size: 0, seconds: 0, nanoseconds: 0, device: 0, inode: 0, isOwn: false)
    }

    static let requestHead = 5 + 4 * 8
    static let replyBytes = 8 + 6 * 8
    /// Beside the 32 bits of a mode.
    private static let ownFlag: UInt64 = 1 << 32

    static func encode(_ request: Request) throws(Errno) -> [UInt8] {
        guard request.name.count <= 255, request.more.count <= Int(UInt16.max) else { throw .nameTooLong }
        var bytes = [request.verb.rawValue]
        append(UInt16(request.name.count), &bytes)
        append(UInt16(request.more.count), &bytes)
        for time in request.times { append(time, &bytes) }
        return bytes + request.name + request.more
    }

    static func encode(_ reply: Reply) -> [UInt8] {
        var bytes: [UInt8] = []
        append(reply.error, &bytes)
        append(Int32(reply.flag ? 1 : 0), &bytes)
        let entry = reply.entry
        append(UInt64(entry.mode) | (entry.isOwn ? ownFlag : 0), &bytes)
        append(entry.size, &bytes)
        append(entry.seconds, &bytes)
        append(entry.nanoseconds, &bytes)
        append(entry.device, &bytes)
        append(entry.inode, &bytes)
        return bytes
    }

    static func reply(_ bytes: [UInt8]) -> Reply {
        let words: [UInt64] = (0..<6).map { load(bytes, 8 + 8 * $0) }
        let flag: Int32 = load(bytes, 4)
        return Reply(
            error: load(bytes, 0), flag: flag != 0,
            entry: ExportTreeEntry(
                mode: UInt32(truncatingIfNeeded: words[0]), size: words[1], seconds: Int64(bitPattern: words[2]),
                nanoseconds: Int64(bitPattern: words[3]), device: words[4], inode: words[5],
                isOwn: words[0] & ownFlag != 0))
    }

    static func append(_ value: some FixedWidthInteger, _ bytes: inout [UInt8]) {
        withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    }

    static func load<Value: FixedWidthInteger>(_ bytes: [UInt8], _ offset: Int) -> Value {
        bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: Value.self) }
    }

    /// Exactly so many bytes, and the descriptor that came with them. Nil where the other end has hung up. ETIMEDOUT where
    /// it says nothing.
    static func receive(
        _ count: Int, from socket: borrowing FileDescriptor, within limit: Duration?, _ passed: inout FileDescriptor?
    ) throws(Errno) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        let deadline = Deadline(after: limit)
        while done < count {
            guard try socket.waitReadable(until: deadline) else { throw Errno(ETIMEDOUT) }
            var number: Int32 = -1
            let received = bytes.withUnsafeMutableBytes {
                berth_receive_with_fd(socket.rawValue, $0.baseAddress.map { $0 + done }, count - done, &number)
            }
            if received < 0, errno == EINTR || errno == EAGAIN { continue }
            guard received >= 0 else { throw .current }
            if number >= 0 { passed = FileDescriptor(owning: number) }
            if received == 0 { return nil }
            done += received
        }
        return bytes
    }

    static func send(
        _ bytes: [UInt8], passing descriptor: Int32 = -1, to socket: borrowing FileDescriptor
    ) throws(Errno) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                berth_send_with_fd(
                    socket.rawValue, $0.baseAddress.map { $0 + sent }, $0.count - sent, sent == 0 ? descriptor : -1)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .current }
            sent += count
        }
    }
}

/// The server's end: a tree whose files somebody else makes. EPIPE where that one is gone.
public final class RemoteExportTree: ExportTree {
    /// A file system that is slow, or a client that was stopped.
    private static let patience = Duration.seconds(120)

    private let socket: FileDescriptor

    public init(_ socket: consuming FileDescriptor) {
        self.socket = socket
    }

    public func status(_ name: FileName) throws(Errno) -> ExportTreeEntry? {
        let reply = try ask(.init(verb: .status, name: name.bytes)).reply
        return reply.flag ? reply.entry : nil
    }

    public func enter(_ name: FileName) throws(Errno) -> EnteredDirectory {
        var answer = try ask(.init(verb: .enter, name: name.bytes))
        guard let directory = answer.descriptor.take() else { throw .io }
        return EnteredDirectory(isNew: answer.reply.flag, descriptor: directory)
    }

    public func leave() throws(Errno) { _ = try ask(.init(verb: .leave)) }

    public func create(_ name: FileName) throws(Errno) -> ExportTreeFile {
        var answer = try ask(.init(verb: .create, name: name.bytes))
        if let file = answer.descriptor.take() { return .made(file) }
        guard answer.reply.flag else { throw .io }
        return .exists(answer.reply.entry)
    }

    public func remove(_ name: FileName) throws(Errno) { _ = try ask(.init(verb: .remove, name: name.bytes)) }

    public func status(at path: [FileName]) throws(Errno) -> ExportTreeEntry? {
        let reply = try ask(.init(verb: .statusAt, more: Self.bytes(path))).reply
        return reply.flag ? reply.entry : nil
    }

    public func link(_ path: [FileName], as name: FileName) throws(Errno) {
        _ = try ask(.init(verb: .link, name: name.bytes, more: Self.bytes(path)))
    }

    public func symbolicLink(_ name: FileName, target: [UInt8], times: [timespec]) throws(Errno) {
        let words = times.flatMap { [Int64($0.tv_sec), Int64($0.tv_nsec)] }
        _ = try ask(.init(verb: .symbolicLink, name: name.bytes, more: target, times: words))
    }

    public func fifo(_ name: FileName) throws(Errno) -> FileDescriptor? {
        var answer = try ask(.init(verb: .fifo, name: name.bytes))
        return answer.descriptor.take()
    }

    private struct Answer: ~Copyable {
        let reply: ExportTreeLink.Reply
        var descriptor: FileDescriptor?
    }

    private static func bytes(_ path: [FileName]) -> [UInt8] { Array(path.map(\.bytes).joined(separator: [0x2F])) }

    private func ask(_ request: ExportTreeLink.Request) throws(Errno) -> Answer {
        try ExportTreeLink.send(try ExportTreeLink.encode(request), to: socket)
        var passed: FileDescriptor?
        guard
            let bytes = try ExportTreeLink.receive(
                ExportTreeLink.replyBytes, from: socket, within: Self.patience, &passed)
        else { throw Errno(EPIPE) }
        let reply = ExportTreeLink.reply(bytes)
        guard reply.error == 0 else { throw Errno(reply.error) }
        return Answer(reply: reply, descriptor: passed.take())
    }
}

/// The client's end: does what a server asks in one directory, and nothing outside it.
public struct ExportTreeService: ~Copyable {
    private let socket: FileDescriptor
    private let tree: LocalExportTree

    public init(_ socket: consuming FileDescriptor, top: consuming FileDescriptor) {
        self.socket = socket
        tree = LocalExportTree(top)
    }

    /// Serves until the server hangs up, or says what is none of its verbs.
    public borrowing func run() {
        var stray: FileDescriptor?
        while let head = try? ExportTreeLink.receive(ExportTreeLink.requestHead, from: socket, within: nil, &stray),
            let verb = ExportTreeLink.Verb(rawValue: head[0])
        {
            let name: UInt16 = ExportTreeLink.load(head, 1)
            let more: UInt16 = ExportTreeLink.load(head, 3)
            let times: [Int64] = (0..<4).map { ExportTreeLink.load(head, 5 + 8 * $0) }
            let length = Int(name) + Int(more)
            guard
                let body = length == 0
                    ? [] : try? ExportTreeLink.receive(length, from: socket, within: nil, &stray)
            else { return }
            let request = ExportTreeLink.Request(
                verb: verb, name: Array(body[..<Int(name)]), more: Array(body[Int(name)...]), times: times)
            guard answer(request) else { return }
        }
    }

    private borrowing func answer(_ request: ExportTreeLink.Request) -> Bool {
        var reply = ExportTreeLink.Reply()
        var passed: FileDescriptor?
        do throws(Errno) {
            passed = try act(request, &reply)
        } catch {
            reply.error = error.rawValue
        }
        let number = passed?.rawValue ?? -1
        return (try? ExportTreeLink.send(ExportTreeLink.encode(reply), passing: number, to: socket)) != nil
    }

    private borrowing func act(
        _ request: ExportTreeLink.Request, _ reply: inout ExportTreeLink.Reply
    ) throws(Errno) -> FileDescriptor? {
        switch request.verb {
        case .status: note(try tree.status(try FileName(request.name)), &reply)
        case .statusAt: note(try tree.status(at: try Self.path(request.more)), &reply)
        case .enter:
            let entered = try tree.enter(try FileName(request.name))
            reply.flag = entered.isNew
            return entered.takeDescriptor()
        case .leave: try tree.leave()
        case .create:
            switch try tree.create(try FileName(request.name)) {
            case .made(let file): return file
            case .exists(let entry): note(entry, &reply)
            }
        case .remove: try tree.remove(try FileName(request.name))
        case .link: try tree.link(try Self.path(request.more), as: try FileName(request.name))
        case .symbolicLink:
            let times = [0, 2].map {
                timespec(tv_sec: time_t(request.times[$0]), tv_nsec: Int(request.times[$0 + 1]))
            }
            try tree.symbolicLink(try FileName(request.name), target: request.more, times: times)
        case .fifo: return try tree.fifo(try FileName(request.name))
        }
        return nil
    }

    private func note(_ entry: ExportTreeEntry?, _ reply: inout ExportTreeLink.Reply) {
        guard let entry else { return }
        reply.flag = true
        reply.entry = entry
    }

    private static func path(_ bytes: [UInt8]) throws(Errno) -> [FileName] {
        try bytes.split(separator: 0x2F, omittingEmptySubsequences: false).map { part throws(Errno) in
            try FileName(Array(part))
        }
    }
}
