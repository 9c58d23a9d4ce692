import Control
import FileModel
import LinuxSystem
import Logging
import VFS

/// The users, groups and threads of this machine, for a volume's server, which may neither make a socket nor look at other
/// processes: it asks a process of its keeper's (`NamesCommand`), and waits for it so long and no longer.
// SAFETY: `state` is guarded by `monitor`, which is held for each exchange; the rest is constant.
final class MachineAccounts: SiteAccounts, @unchecked Sendable {
    /// A directory service that is asked for the first time connects, and looks in several places. Programs wait.
    private static let patience = Duration.seconds(3)
    /// After a silence programs go on, and see the overflow id.
    private static let rest = Duration.seconds(30)

    private struct State {
        var channel: FrameChannel?
        var isStarting = false
        var restsUntil: ContinuousClock.Instant?
        /// The silence was said.
        var isSilent = false
    }

    private let link: KeeperLink
    private let logger: Logger
    private let volume: String
    private let monitor = Monitor()
    private var state = State()

    init(_ link: KeeperLink, volume: String, logger: Logger) {
        self.link = link
        self.volume = volume
        self.logger = logger
    }

    func name(of id: UInt32, _ kind: AccountKind) -> SiteAnswer<String> {
        switch ask(.name(id: id, kind: kind)) {
        case .name(let name): .found(name)
        case .absent: .absent
        default: .unknown
        }
    }

    func id(of name: String, _ kind: AccountKind) -> SiteAnswer<UInt32> {
        switch ask(.number(name: name, kind: kind)) {
        case .number(let id): .found(id)
        case .absent: .absent
        default: .unknown
        }
    }

    func credentials(ofThread thread: Int32) -> ThreadCredentials? {
        guard case .rights(let userID, let groupID, let groups) = ask(.rights(thread: thread)) else { return nil }
        return ThreadCredentials(userID: userID, groupID: groupID, groups: groups)
    }

    private func ask(_ question: NameQuestion) -> NameReply {
        monitor.lock()
        defer { monitor.unlock() }
        if let rest = state.restsUntil, rest > .now { return .unknown }
        state.restsUntil = nil
        // One that was idle has ended: another is asked.
        for isLast in [false, true] {
            let isNew = state.channel == nil
            // A keeper of an older version starts none. Here nobody is asked: a name service's modules do what this process may not.
            guard let channel = started() else { break }
            let asked = ContinuousClock.now
            do throws(SystemFailure) {
                try channel.send(question, timeout: Self.patience)
                if let reply = try channel.receive(NameReply.self, timeout: Self.patience) {
                    note(isSilent: false)
                    return reply.message
                }
            } catch {
                // Below.
            }
            state.channel = nil
            if isNew || isLast || asked.duration(to: .now) >= Self.patience { break }
        }
        state.restsUntil = .now.advanced(by: Self.rest)
        note(isSilent: true)
        return .unknown
    }

    /// Under the monitor: the process that answers, started where there is none. The keeper may be busy with a home that is stalled:
    /// it is waited for by a thread of its own.
    private func started() -> FrameChannel? {
        if let channel = state.channel { return channel }
        if !state.isStarting {
            state.isStarting = true
            _ = WorkerThread(name: "berth-names") {
                let channel = self.link.startNames()
                self.monitor.lock()
                self.state.channel = channel
                self.state.isStarting = false
                self.monitor.signalAll()
                self.monitor.unlock()
            }
        }
        let deadline = Deadline(after: Self.patience)
        while state.isStarting && monitor.wait(until: deadline) {}
        return state.channel
    }

    /// Says it once, and once that it is over.
    private func note(isSilent: Bool) {
        guard state.isSilent != isSilent else { return }
        state.isSilent = isSilent
        if isSilent {
            logger.warning(
                "the machine's name service does not answer: groups and users that were not asked for before show as 65534, and cannot be set (EINVAL)",
                metadata: ["volume": "\(volume)"])
        } else {
            logger.notice("the machine's name service answers again", metadata: ["volume": "\(volume)"])
        }
    }
}
