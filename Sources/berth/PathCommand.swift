import ArgumentParser
import Control
import LinuxSystem
import Volumes

struct PathCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "path",
        abstract: "Show and change at which path each volume belongs.",
        discussion: """
            A path is kept with its volume (`berth volume create -o path=/DIR`); yours, in your configuration, go before it.
            """,
        subcommands: [List.self, Set.self, Remove.self])

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(commandName: "ls", abstract: "List volumes and their paths.")

        @Flag(help: "Print the list as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let map = PathMap(site.registry)
                let entries = try map.entries()
                if json {
                    try Output.json(entries)
                } else if entries.isEmpty {
                    print("no volume has a path; give it one with: berth path set NAME /PATH")
                } else {
                    Output.table(
                        [["PATH", "VOLUME", "FROM"]]
                            + entries.map {
                                [$0.path, $0.volume, $0.source == .user ? "your configuration" : "the volume"]
                            }
                    )
                }
                if let conflict = try map.conflict() { throw conflict }
            }
        }
    }

    struct Set: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Give a volume a path.")

        @Argument(help: "The volume.")
        var name: String

        @Argument(help: "The absolute path.")
        var path: String

        @Flag(help: "Keep it with the volume, and not in your configuration.")
        var withVolume = false

        @Flag(help: "Print the map as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let map = PathMap(site.registry)
                let path = try ContainerPath(path)
                try map.set(try VolumeName(name), path, withVolume: withVolume)
                if json { try Output.json(try map.entries()) } else { print("\(name) belongs at \(path)") }
            }
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rm", abstract: "Take away the path you gave a volume. One kept with the volume applies again."
        )

        @Argument(help: "The volume.")
        var name: String

        @Flag(help: "Take away the path that is kept with the volume.")
        var withVolume = false

        @Flag(help: "Print the map as JSON.")
        var json = false

        func run() throws {
            try berth.run { site throws(SystemFailure) in
                let map = PathMap(site.registry)
                let name = try VolumeName(name)
                try map.remove(name, withVolume: withVolume)
                if json { return try Output.json(try map.entries()) }
                let entry = try map.entries().first { $0.volume == name.description }
                print(entry.map { "\(name) belongs at \($0.path) again" } ?? "\(name) has no path")
            }
        }
    }
}
