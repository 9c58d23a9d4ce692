import Control
import FUSEBridge
import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem
import Logging
import Packs
import SQLiteMetadata
import Synchronization

/// What one server of a volume leaves to the next, should it die or be replaced: the sessions, and memory with what was
/// acknowledged and is not in the database yet.
// SAFETY: all members but `hasReported`, an atomic, are constant; `redo` is used under the metadata store's lock only, from its opening on.
final class Legacy: @unchecked Sendable {
    /// What is noted of a session's descriptor.
    struct SessionNote: Codable {
        var format = Handover.format
        var attachment: Attachment
        var negotiation: Negotiation
    }

    let link: KeeperLink
    let slots: RequestSlots?
    let redo: RedoLog?
    let buffers: SharedMemory?
    /// Sessions go on that an earlier server had.
    let isTakenOver: Bool
    /// The buffers are an earlier server's.
    let hasBuffers: Bool
    private let afterFault: Bool
    private let logger: Logger
    private let parent = getppid()
    private let hasReported = Atomic<Bool>(false)

    /// The keeper's process; nil where it has ended.
    var keeperID: Int32? { getppid() == parent ? parent : nil }

    /// `afterFault`: the server before died of a fault of its own.
    init(_ link: KeeperLink, afterFault: Bool, logger: Logger) {
        self.link = link
        self.afterFault = afterFault
        self.logger = logger
        isTakenOver = link.names.contains { $0.hasPrefix(Handover.sessionPrefix) }
        hasBuffers = link.names.contains("buffers")
        slots = Self.memory("requests", RequestSlots.byteCount, link).map { RequestSlots($0) }
        buffers = Self.memory("buffers", StagingRescue.bufferBytes, link)
        redo = Self.redoLog(link, slots)
        if slots == nil || buffers == nil || redo == nil {
            logger.error(
                "there is no memory that outlives the server: should it die, what was not committed is lost")
        }
    }

    /// Why nothing can be left to another server; nil where all can.
    var trouble: String? {
        if link.isLost { return "the process that would start another, its keeper, did not answer" }
        if keeperID == nil { return "the process that would start another, its keeper, is gone" }
        return slots == nil || buffers == nil || redo == nil ? "there is no memory that outlives it" : nil
    }

    /// Says once that the keeper has ended.
    func lookAfterKeeper() {
        guard keeperID == nil, !hasReported.exchange(true, ordering: .relaxed) else { return }
        logger.error("should this server die, its mounts end", metadata: ["cause": "\(trouble ?? "")"])
    }

    private static func redoLog(_ link: KeeperLink, _ slots: RequestSlots?) -> RedoLog? {
        guard let found = memory("redo", RedoLog.byteCount, link) else { return nil }
        if let log = RedoLog(found, slots: slots) { return log }
        // Of a program with another layout.
        return fresh("redo", RedoLog.byteCount, link).flatMap { RedoLog($0, slots: slots) }
    }

    private static func memory(_ name: String, _ byteCount: Int, _ link: KeeperLink) -> SharedMemory? {
        if let inherited = link.take(name),
            let memory = try? SharedMemory(adopting: inherited.takeDescriptor(), byteCount: byteCount)
        {
            return memory
        }
        return fresh(name, byteCount, link)
    }

    private static func fresh(_ name: String, _ byteCount: Int, _ link: KeeperLink) -> SharedMemory? {
        guard let memory = try? SharedMemory("berth-\(name)", byteCount: byteCount) else { return nil }
        link.keep(name, memory.number)
        return memory
    }

    /// Once the redo log has said what was done.
    func settle() {
        guard let slots else { return }
        slots.settle(afterFault: afterFault)
        guard !slots.refused.isEmpty else { return }
        logger.error(
            "requests that servers died of are answered with EIO from now on",
            metadata: ["cause": "\(slots.refused.count) of them"])
    }

    // MARK: Sessions

    func keep(_ connection: Connection, _ attachment: Attachment) {
        guard let negotiation = connection.negotiation,
            let note = try? JSONEncoder().encode(SessionNote(attachment: attachment, negotiation: negotiation))
        else { return }
        link.keep(Handover.sessionPrefix + attachment.session, connection.device, note: Array(note))
    }

    func drop(_ session: String) { link.drop(Handover.sessionPrefix + session) }

    /// The sessions that go on. One whose note is not understood ends.
    func takeSessions(_ body: (SessionNote, consuming FileDescriptor) throws(SystemFailure) -> Void) {
        for name in link.names where name.hasPrefix(Handover.sessionPrefix) {
            guard let inherited = link.take(name) else { continue }
            do throws(SystemFailure) {
                guard let note = try? JSONDecoder().decode(SessionNote.self, from: Data(inherited.note)),
                    note.format == Handover.format
                else {
                    throw SystemFailure(name, "was left by a program of another version", status: .dataError)
                }
                try body(note, inherited.takeDescriptor())
            } catch {
                logger.error(
                    "a session cannot be taken over, and its mount ends", metadata: ["cause": "\(error.message)"])
                link.drop(name)
            }
        }
    }
}
