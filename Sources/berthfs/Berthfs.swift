import ArgumentParser
import FileModel
import LinuxSystem

/// `berthfs`: serves one volume, mounts it, checks it.
@main
struct Berthfs: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "berthfs",
        abstract: "The file system of Berth: mounts a volume, serves its sessions, checks it.",
        usage: """
            berthfs NAME DIRECTORY [-f] [-o ro] [--home DIR]
            berthfs NAME /dev/fd/N [-f] [-o ro] [--home DIR]
            berthfs serve NAME [--ready-fd N]
            berthfs check NAME [--data] [--json]
            """,
        version: Release.version,
        subcommands: [
            MountCommand.self, ServeCommand.self, CheckCommand.self, BucketCommand.self, RecoverCommand.self,
            DumpCommand.self, LoadCommand.self, NamesCommand.self, FilterProbe.self,
        ],
        defaultSubcommand: MountCommand.self)
}

/// Runs a command's body; a failure becomes one line on standard error and an exit status of `sysexits.h`.
func run(_ body: () throws(SystemFailure) -> Void) throws {
    do {
        try body()
    } catch {
        ProcessEnvironment.complain("berthfs: \(error.message)")
        throw ExitCode(error.status.rawValue)
    }
}
