import ArgumentParser
import Control
import LinuxSystem
import Volumes

struct QuotaCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quota",
        abstract: "Set, show and remove what a directory of a volume, or the volume, may hold.",
        discussion: "What would go past a quota is refused with EDQUOT, whole.",
        subcommands: [Set.self, Get.self, List.self, Remove.self])

    struct Set: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Set a quota, with all that is below the directory.",
            discussion:
                "A limit that is not named is taken away. BYTES may end in K, M, G, T (1024); inodes in K, M (1000).")

        @Argument(help: "NAME:/directory, or NAME for the volume.")
        var place: String

        @Option(help: "Bytes of file data at most.")
        var bytes: String?

        @Option(help: "Files, directories and others at most, the directory itself included.")
        var inodes: String?

        @Flag(help: "Print the quota as JSON.")
        var json = false

        func validate() throws {
            guard bytes != nil || inodes != nil else { throw ValidationError("give --bytes, --inodes or both") }
        }

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let bytes = try bytes.map { text throws(SystemFailure) in try VolumeOptions.bytes(text, key: "bytes") }
                let inodes = try inodes.map(VolumeOptions.count)
                let space = try SpaceClient(place, site)
                let reply = try space.ask(.setQuota(path: space.path, bytes: bytes, inodes: inodes))
                guard case .quotas(let items) = reply, let item = items.first else { throw space.confused }
                try QuotaCommand.show(items, json)
                let isOver =
                    item.bytesLimit.map { item.bytes > $0 } == true || item.inodesLimit.map { item.inodes > $0 } == true
                guard isOver else { return }
                ProcessEnvironment.complain(
                    "berth: \(place): holds more than its quota; nothing can be added until enough is removed")
            }
        }
    }

    struct Get: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show a quota.")

        @Argument(help: "NAME:/directory, or NAME for the volume.")
        var place: String

        @Flag(help: "Print the quota as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let space = try SpaceClient(place, site)
                guard case .quotas(let items) = try space.ask(.quotas) else { throw space.confused }
                guard let item = items.first(where: { $0.path == space.path }) else {
                    throw SystemFailure(
                        place, "has no quota", fix: "set one with `berth quota set`", errno: .noEntry, status: .noInput)
                }
                try QuotaCommand.show([item], json)
            }
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "ls", abstract: "List a volume's quotas.")

        @Argument(help: "The volume.")
        var name: String

        @Flag(help: "Print the list as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let space = try SpaceClient(name, site)
                guard case .quotas(let items) = try space.ask(.quotas) else { throw space.confused }
                if items.isEmpty && !json { return print("no quotas; set one with: berth quota set \(name):/DIR") }
                try QuotaCommand.show(items, json)
            }
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "rm", abstract: "Remove a quota.")

        @Argument(help: "NAME:/directory, or NAME for the volume.")
        var place: String

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let space = try SpaceClient(place, site)
                _ = try space.ask(.setQuota(path: space.path, bytes: nil, inodes: nil))
                print("\(place) has no quota of its own")
            }
        }
    }

    private struct View: Encodable {
        var path: String
        var bytes: UInt64
        var bytesLimit: UInt64?
        var inodes: UInt64
        var inodesLimit: UInt64?
    }

    private static func show(_ items: [QuotaItem], _ json: Bool) throws(SystemFailure) {
        if json {
            return try Output.json(
                items.map {
                    View(
                        path: "/" + String(decoding: $0.path, as: UTF8.self), bytes: $0.bytes,
                        bytesLimit: $0.bytesLimit,
                        inodes: $0.inodes, inodesLimit: $0.inodesLimit)
                })
        }
        let rows = items.map { item in
            [
                "/" + Output.name(item.path), Output.bytes(item.bytes), item.bytesLimit.map(Output.bytes) ?? "-",
                "\(item.inodes)", item.inodesLimit.map(String.init) ?? "-",
            ]
        }
        Output.table([["PATH", "BYTES", "LIMIT", "INODES", "LIMIT"]] + rows)
    }
}

struct UsageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "du", abstract: "Show what directories hold with all below them, at once.")

    @Argument(help: "NAME or NAME:/path, several.")
    var places: [String]

    @Flag(help: "Print as JSON.")
    var json = false

    private struct View: Encodable {
        var place: String
        var bytes: UInt64
        var inodes: UInt64
    }

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            var views: [View] = []
            for place in places {
                let space = try SpaceClient(place, site)
                guard case .usage(let bytes, let inodes) = try space.ask(.usage(path: space.path)) else {
                    throw space.confused
                }
                views.append(View(place: place, bytes: bytes, inodes: inodes))
            }
            if json { return try Output.json(views) }
            Output.table(
                [["BYTES", "INODES", "PLACE"]] + views.map { [Output.bytes($0.bytes), "\($0.inodes)", $0.place] })
        }
    }
}
