import Control
import FileModel
import LinuxSystem

/// An export into a directory: the server has the data, and this process, which the user told where to, makes the files.
enum ExportDirectory {
    /// Answers what the server says to the order. The files are made by a thread until the server is done.
    static func ask(
        _ client: ServerClient, _ order: ExportOrder, _ directory: borrowing FileDescriptor
    ) throws(SystemFailure) -> ServerReply {
        // A server of an older version makes them itself.
        guard try client.status().confinement != nil else {
            return try client.ask(.exportData(order), passing: directory.rawValue, timeout: .seconds(60))
        }
        let pair = try explaining("export", "cannot make a socket") { () throws(Errno) in try UnixSocket.pair() }
        let reply = try client.ask(.exportData(order), passing: pair.second.rawValue, timeout: .seconds(60))
        let top = try explaining("export", "its directory cannot be used") { () throws(Errno) in
            try FileDescriptor.copy(of: directory.rawValue)
        }
        // The server's end goes with this function: then the server alone has it, and its hanging up is the end.
        let hands = Hands(ExportTreeService(pair.takeFirst(), top: top))
        _ = WorkerThread(name: "berth-export") { hands.service.run() }
        return reply
    }

    // SAFETY: `service` is used by one thread, and constant.
    private final class Hands: @unchecked Sendable {
        let service: ExportTreeService

        init(_ service: consuming ExportTreeService) {
            self.service = service
        }
    }
}
