import ArgumentParser
import LinuxSystem
import Volumes

struct MountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mount", abstract: "Mount a volume at an empty directory of yours.")

    @Argument(help: "The volume, or NAME@SNAPSHOT.")
    var name: String

    @Argument(help: "The directory.")
    var directory: String

    @Option(name: .short, help: "\"ro\": nothing can be changed through this mount; \"rw\": it can.")
    var option: [MountOption] = []

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let target = try site.mounts.mount(
                try VolumeReference(name), at: directory, readOnly: option.last == .readOnly)
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
        commandName: "umount", abstract: "End a mount made by `berth mount`, or all that nothing uses.")

    @Argument(help: "The directory.")
    var directory: String?

    @Flag(help: "Every mount of yours that nothing uses, and idle ones of hooks. What is in use is named.")
    var all = false

    @Flag(help: "Also where programs use it still: they keep what they have open, and nobody else sees it.")
    var lazy = false

    @Flag(help: "For everybody, in every mount namespace and container: programs that use it get errors.")
    var force = false

    @Option(help: "Then send to the store what is staged, for so many seconds at most, and say what is left.")
    var timeout: Double?

    func validate() throws {
        guard all != (directory != nil) else { throw ValidationError("give a directory, or --all") }
        guard !all || !force else { throw ValidationError("--force goes with a directory") }
        guard timeout ?? 0 >= 0 else { throw ValidationError("--timeout is a number of seconds") }
    }

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let served = timeout == nil ? [] : try site.mounts.servedVolumes(mountedAt: directory)
            var failures: [SystemFailure] = []
            if let directory {
                for left in try site.mounts.unmount(directory, lazy: lazy, force: force) {
                    ProcessEnvironment.complain("berth: \(left.line)")
                }
            } else {
                let (ended, left) = try site.mounts.unmountAll(lazy: lazy)
                for mountpoint in ended { print("unmounted \(mountpoint)") }
                failures = left
            }
            try drain(served, site)
            for failure in failures.dropLast() { ProcessEnvironment.complain("berth: \(failure.message)") }
            if let failure = failures.last { throw failure }
        }
    }

    private func drain(_ volumes: [VolumePaths], _ site: Site) throws(SystemFailure) {
        let deadline = Deadline(afterSeconds: timeout ?? 0)
        for volume in volumes {
            // Nil: its server has ended meanwhile.
            let total = try site.mounts.drain(volume, until: deadline)
            let record = try site.registry.record(try VolumeName(volume.name))
            print(StagedNote.text(volume.name, total ?? site.mounts.leftBehind(by: record)))
        }
    }
}
