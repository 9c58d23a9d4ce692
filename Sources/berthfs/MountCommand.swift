import ArgumentParser
import FileModel
import Glibc
import LinuxSystem
import Volumes

/// Mounts a volume by hand, as the programs of other FUSE file systems do.
struct MountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mount", abstract: "Mount a volume at an empty directory of yours.")

    @Argument(help: "The volume.")
    var name: String

    @Argument(help: "The directory, or /dev/fd/N: a descriptor of /dev/fuse that is mounted already.")
    var directory: String

    @Option(help: "Your home directory, where $HOME and the system's account do not tell.")
    var home: String?

    @Flag(name: .short, help: "Stay in the foreground until the directory is unmounted; a signal unmounts it.")
    var foreground = false

    @Option(name: .short, help: "\"ro\": nothing can be changed through this mount; \"rw\": it can.")
    var option: [Access] = []

    enum Access: String, ExpressibleByArgument, CaseIterable {
        case readOnly = "ro"
        case readWrite = "rw"
    }

    func run() throws {
        if foreground { Signals.prepare() }
        try berthfs.run { () throws(SystemFailure) in
            var environment = ProcessEnvironment.current()
            environment["HOME"] = home ?? environment["HOME"]
            guard let program = ProcessEnvironment.executablePath() else {
                throw SystemFailure("/proc/self/exe", "cannot be read", fix: "mount /proc", status: .unavailable)
            }
            let descriptor = DescriptorMount(
                path: directory, name: name, readOnly: option.last == .readOnly, home: home, program: program)
            if let descriptor { return try descriptor.run(foreground: foreground) }
            let service = MountService(
                paths: SitePaths(environment: environment), environment: environment, program: program)
            let target = try service.mount(try VolumeReference(name), at: directory, readOnly: option.last == .readOnly)
            guard foreground else { return }
            ProcessEnvironment.complain("\(name) is mounted at \(target); interrupt to unmount")
            try Self.holdUntilUnmounted(target, service)
        }
    }

    /// Returns when somebody unmounted the directory, or unmounts it on a signal.
    private static func holdUntilUnmounted(_ target: String, _ service: MountService) throws(SystemFailure) {
        let asked = Latch()
        Signals.onTermination(asked.open)
        while true {
            if asked.wait(seconds: pollSeconds) {
                try service.unmount(target, lazy: true)
                return
            }
            guard MountInfo.at(target, in: try MountInfo.all()) != nil else { return }
        }
    }

    private static let pollSeconds = 0.5
}
