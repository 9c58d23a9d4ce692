import ArgumentParser
import Control
import FileModel
import Glibc
import LinuxSystem
import Volumes

struct TrashCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trash",
        abstract: "List, restore and discard what was deleted from a volume.",
        discussion: """
            A volume keeps what is deleted, or replaced by a rename, for 7 days; another time, or 0, with \
            `berth volume set NAME trash=3d`.
            """,
        subcommands: [List.self, Restore.self, Empty.self])

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ls", abstract: "List what was deleted, the latest last.")

        @Argument(help: "NAME, or NAME:/path for what was deleted there and below.")
        var place: String

        @Flag(help: "Print the list as JSON, an object a line.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let space = try SpaceClient(place, site)
                if !json { print(Self.line("ID", "DELETED", "BY", "SIZE", "PATH")) }
                var last: UInt64? = 0
                while let after = last {
                    guard case .trash(let items, let next) = try space.ask(.trash(path: space.path, after: after))
                    else { throw space.confused }
                    for item in items {
                        if json { try Output.jsonLine(ItemView(item)) } else { print(Self.line(item)) }
                    }
                    last = next
                }
            }
        }

        private static func line(_ item: TrashItem) -> String {
            line(
                "\(item.id)", Timestamp(nanoseconds: item.deleted).description, "\(item.userID)",
                item.kind == .directory ? "-" : Output.bytes(item.bytes),
                "/" + Output.name(item.path) + (item.kind == .directory ? "/" : ""))
        }

        /// Pages are printed as they come, so the columns have fixed widths.
        private static func line(_ id: String, _ time: String, _ by: String, _ size: String, _ path: String) -> String {
            func padded(_ text: String, _ width: Int) -> String {
                text + String(repeating: " ", count: max(0, width - text.count))
            }
            return padded(id, 9) + padded(time, 22) + padded(by, 7) + padded(size, 11) + path
        }
    }

    struct Restore: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Bring back what was deleted at a path, with all that was deleted in it.",
            discussion: """
                Directories above it that are gone come back, too. What is there now is never replaced. TIME is as in \
                `berth trash ls`, or a time ago, such as 2h.
                """)

        @Argument(help: "NAME:/path.")
        var place: String

        @Option(help: "What the path was at this time; else what it was last.")
        var at: String?

        @Option(help: "The one with this id of `berth trash ls`.")
        var id: UInt64?

        @Option(help: "Bring it to this path of the volume.")
        var to: String?

        @Flag(help: "Bring it beside what is there now, as NAME.restored.")
        var beside = false

        @Flag(help: "Print what came back as JSON.")
        var json = false

        func validate() throws {
            guard at == nil || id == nil else { throw ValidationError("give --at or --id") }
            guard to == nil || !beside else { throw ValidationError("give --to or --beside") }
        }

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let space = try SpaceClient(place, site)
                guard !space.path.isEmpty || id != nil else {
                    throw SystemFailure(place, "names no path", fix: "write NAME:/path, or add --id", status: .usage)
                }
                var target = RestoreRequest.Target.inPlace
                if beside { target = .beside }
                if let to { target = .path(try DataPlace("\(space.name):\(to)").bytes) }
                let time = try at.map { text throws(SystemFailure) in try Moment(text).nanoseconds }
                let reply = try space.ask(
                    .restore(RestoreRequest(path: space.path, id: id, time: time, target: target)))
                guard case .restored(let report) = reply else { throw space.confused }
                try show(report, space)
            }
        }

        private func show(_ report: RestoreReport, _ space: SpaceClient) throws(SystemFailure) {
            let path = "\(space.name):/\(Output.name(report.path))"
            if json {
                try Output.json(ReportView(report))
            } else {
                print("restored \(report.count) \(report.count == 1 ? "thing" : "things") at \(path)")
                for taken in report.occupied {
                    print("left in the trash, as something is there: /\(Output.name(taken))")
                }
                let more = report.occupiedCount - report.occupied.count
                if more > 0 { print("and \(more) more") }
            }
            guard let ended = report.ended else { return }
            throw SystemFailure(
                path, "not all came back: \(ended)", fix: "make room, and run it again for the rest",
                status: .cannotCreate)
        }
    }

    struct Empty: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Discard what was deleted, for good.")

        @Argument(help: "NAME, or NAME:/path for what was deleted there and below.")
        var place: String

        @Option(help: "Only what was deleted longer ago than this, such as 3d.")
        var older: String?

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let space = try SpaceClient(place, site)
                let age = try older.map { text throws(SystemFailure) in
                    try TrashOptions.seconds(text, key: "older")
                }
                let limit = Timestamp.now().nanoseconds - Int64(age ?? 0) * 1_000_000_000
                var (count, bytes) = (0, UInt64(0))
                var last: UInt64? = 0
                while let after = last {
                    let request = SpaceQuery.emptyTrash(path: space.path, before: limit, after: after)
                    guard case .emptied(let more, let size, let next) = try space.ask(request) else {
                        throw space.confused
                    }
                    (count, bytes) = (count + more, bytes + size)
                    last = next
                }
                print("discarded \(count) \(count == 1 ? "thing" : "things"), \(Output.bytes(bytes))")
            }
        }
    }

    private struct ItemView: Encodable {
        var id: UInt64
        var path: String
        var kind: TrashItem.Kind
        var bytes: UInt64
        var deleted: String
        var userID: UInt32

        init(_ item: TrashItem) {
            id = item.id
            path = "/" + String(decoding: item.path, as: UTF8.self)
            kind = item.kind
            bytes = item.bytes
            deleted = Timestamp(nanoseconds: item.deleted).description
            userID = item.userID
        }
    }

    private struct ReportView: Encodable {
        var path: String
        var count: Int
        var leftInTrash: Int

        init(_ report: RestoreReport) {
            path = "/" + String(decoding: report.path, as: UTF8.self)
            count = report.count
            leftInTrash = report.occupiedCount
        }
    }
}

/// A moment as a user writes it: `2026-01-31T12:00:00Z`, or how long ago, such as `2h`.
struct Moment {
    let nanoseconds: Int64

    init(_ text: String) throws(SystemFailure) {
        if let time = Timestamp(text) {
            nanoseconds = time.nanoseconds
            return
        }
        do {
            let age = try TrashOptions.seconds(text, key: "at")
            nanoseconds = Timestamp.now().nanoseconds - Int64(age) * 1_000_000_000
        } catch {
            throw SystemFailure(
                "--at \(text)", "is no time", fix: "write one as 2026-01-31T12:00:00Z (UTC), or a time ago, such as 2h",
                status: .usage)
        }
    }
}

/// Asks a volume's server about the space of a place.
struct SpaceClient {
    let name: VolumeName
    let path: [UInt8]
    private let client: ServerClient

    init(_ text: String, _ site: Site) throws(SystemFailure) {
        let place = try DataPlace(text)
        name = place.name
        path = place.bytes
        client = try DataPlace.client(place.name, site)
    }

    /// A restoration of very many files takes its time.
    func ask(_ request: SpaceQuery) throws(SystemFailure) -> SpaceReply {
        guard case .space(let reply) = try client.ask(.space(request), timeout: .seconds(3600)) else { throw confused }
        return reply
    }

    var confused: SystemFailure { client.confused }
}
