import ArgumentParser
import LinuxSystem
import Volumes

struct MountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mount", abstract: "Mount a volume at an empty directory of yours.")

    @Argument(help: "The volume.")
    var name: String

    @Argument(help: "The directory.")
    var directory: String

    @Option(name: .short, help: "\"ro\": nothing can be changed through this mount; \"rw\": it can.")
    var option: [MountOption] = []

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let target = try site.mounts.mount(
                try VolumeName(name), at: directory, readOnly: option.last == .readOnly)
            print("\(name) is mounted at \(target)")
        }
    }
}

enum MountOption: String, ExpressibleByArgument, CaseIterable {
    case readOnly = "ro"
    case readWrite = "rw"
}

struct UmountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "umount", abstract: "End a mount made by `berth mount`.")

    @Argument(help: "The directory.")
    var directory: String

    @Flag(help: "Also where programs use it still: they keep what they have open, and nobody else sees it.")
    var lazy = false

    func run() throws {
        try berth.run { site throws(SystemFailure) in try site.mounts.unmount(directory, lazy: lazy) }
    }
}
