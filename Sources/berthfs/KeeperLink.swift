import CLinux
import Control
import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem
import Logging
import Packs
import SQLiteMetadata

/// A server's side of its keeper: what it was left by the server before it, and what it leaves to the next.
// SAFETY: `items` and `isBroken` are guarded by `monitor`, which is held for each exchange; the rest is constant.
final class KeeperLink: @unchecked Sendable {
    private static let timeout = Duration.seconds(10)
    /// For what the keeper looks up in the user's home, which may be far away and stalled.
    private static let errandTimeout = Duration.seconds(120)

    private final class Item {
        let note: [UInt8]
        var descriptor: FileDescriptor?

        init(_ note: [UInt8], _ descriptor: consuming FileDescriptor) {
            self.note = note
            self.descriptor = consume descriptor
        }
    }

    private let channel: FrameChannel
    private let logger: Logger
    private let monitor = Monitor()
    private var items: [String: Item] = [:]
    private var isBroken = false
    /// The keeper does what this process may not any more.
    private var runsErrands = false
    private var startsNames = false

    /// Takes all that the keeper holds.
    init(_ number: Int32, logger: Logger) throws(SystemFailure) {
        _ = fcntl(number, F_SETFD, FD_CLOEXEC)
        self.logger = logger
        channel = FrameChannel(FileDescriptor(owning: number), name: "the keeper")
        while var frame = try channel.receive(KeeperReply.self, timeout: Self.timeout) {
            guard case .kept(let name, let note) = frame.message else { return }
            if name == Handover.errandsMark { runsErrands = true }
            if name == Handover.namesMark { startsNames = true }
            if let descriptor = frame.takeDescriptor() { items[name] = Item(note, descriptor) }
        }
        throw SystemFailure("the keeper", "hung up", status: .unavailable)
    }

    /// Whether nothing can be left to another server any more.
    var isLost: Bool { monitor.withLock { isBroken } }

    /// Names of what was left and not taken yet.
    var names: [String] { monitor.withLock { items.keys.sorted() } }

    /// Hands over what was left under a name; nil where there is nothing, and the second time.
    func take(_ name: String) -> Inherited? {
        monitor.lock()
        defer { monitor.unlock() }
        guard let item = items.removeValue(forKey: name), let descriptor = item.descriptor.take() else { return nil }
        return Inherited(note: item.note, descriptor: descriptor)
    }

    /// Leaves a descriptor (which stays the caller's, too) to the next server.
    func keep(_ name: String, _ descriptor: Int32, note: [UInt8] = []) {
        ask(.keep(name: name, note: note), descriptor)
    }

    /// Leaves nothing under a name any more. The descriptor is closed when this returns.
    func drop(_ name: String) { ask(.drop(name: name), nil) }

    private func ask(_ request: KeeperRequest, _ descriptor: Int32?) { _ = exchange(request, descriptor) }

    private func exchange(
        _ request: KeeperRequest, _ descriptor: Int32? = nil, within limit: Duration = timeout
    ) -> ReceivedFrame<KeeperReply>? {
        monitor.lock()
        defer { monitor.unlock() }
        guard !isBroken else { return nil }
        do throws(SystemFailure) {
            try channel.send(request, passing: descriptor, timeout: Self.timeout)
            guard let reply = try channel.receive(KeeperReply.self, timeout: limit) else {
                throw SystemFailure("the keeper", "hung up", status: .unavailable)
            }
            return reply
        } catch {
            isBroken = true
            logger.error(
                "the keeper is gone: should this server die, its mounts die with it",
                metadata: ["cause": "\(error.message)"])
            return nil
        }
    }

    // MARK: What this process may not do itself

    /// A socket that listens again where one of the volume's did; nil where that cannot be.
    func listen(at path: String) -> FileDescriptor? {
        guard runsErrands, var reply = exchange(.listen(path: path), within: Self.errandTimeout) else { return nil }
        return reply.takeDescriptor()
    }

    /// Has the volume's cache directory made. False where no place can be had.
    func makeCache() -> Bool { note(.makeCache) != nil }

    /// A new process that answers questions about users and groups; nil where there is none to be had.
    func startNames() -> FrameChannel? {
        guard startsNames, var reply = exchange(.names, within: Self.errandTimeout), let socket = reply.takeDescriptor()
        else { return nil }
        return FrameChannel(socket, name: "the name service")
    }

    /// Nil where nobody can tell.
    func surroundings() -> ServerSurroundings? {
        note(.surroundings).flatMap { try? JSONDecoder().decode(ServerSurroundings.self, from: Data($0)) }
    }

    private func note(_ request: KeeperRequest) -> [UInt8]? {
        guard runsErrands, let reply = exchange(request, within: Self.errandTimeout),
            case .kept(_, let note) = reply.message
        else { return nil }
        return note
    }
}

/// A descriptor that an earlier server left, and what it noted of it.
struct Inherited: ~Copyable {
    let note: [UInt8]
    private var descriptor: FileDescriptor

    init(note: [UInt8], descriptor: consuming FileDescriptor) {
        self.note = note
        self.descriptor = descriptor
    }

    consuming func takeDescriptor() -> FileDescriptor { descriptor }
}
