import ArgumentParser
import Control
import FileModel
import Glibc
import LinuxSystem

/// Answers one server's questions about users, groups and threads, outside the server's domain and filter: the name
/// service may connect to a daemon, and may wait for it. Started by the keeper; ends with the server, or when idle.
struct NamesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "names", abstract: "Answer a server's questions about users and groups.", shouldDisplay: false)

    private static let idle = Duration.seconds(60)
    private static let sendTimeout = Duration.seconds(5)

    @Option(help: "The socket of the server.")
    var socket: Int32

    func run() throws {
        ProcessPrivileges.closeMemory()
        ProcessPrivileges.forgoNewPrivileges()
        guard fcntl(socket, F_SETFD, FD_CLOEXEC) == 0 else { throw ExitCode(ExitStatus.usage.rawValue) }
        let channel = FrameChannel(FileDescriptor(owning: socket), name: "the server")
        do {
            while let question = try channel.receive(NameQuestion.self, timeout: Self.idle) {
                try channel.send(Self.answer(question.message), timeout: Self.sendTimeout)
            }
        } catch {
            // Nobody asks any more, or the server is gone. The next question starts another.
        }
    }

    static func answer(_ question: NameQuestion) -> NameReply {
        switch question {
        case .name(let id, let kind):
            switch kind == .user ? NameService.userName(id) : NameService.groupName(id) {
            case .found(let name): .name(name)
            case .absent: .absent
            case .unknown: .unknown
            }
        case .number(let name, let kind):
            // A name with a NUL would be another one to the service.
            if !NamedAccount.isName(name) {
                .absent
            } else {
                switch kind == .user ? NameService.userID(name) : NameService.groupID(name) {
                case .found(let id): .number(id)
                case .absent: .absent
                case .unknown: .unknown
                }
            }
        case .rights(let thread):
            ThreadRights(ofThread: thread).map {
                .rights(userID: $0.userID, groupID: $0.groupID, groups: $0.groups)
            } ?? .absent
        }
    }
}
