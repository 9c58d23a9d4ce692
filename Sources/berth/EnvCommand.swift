import ArgumentParser
import Control
import FileModel
import LinuxSystem
import Volumes

struct EnvCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "env",
        abstract:
            "Mount volumes on the host and print what a shell must set for Apptainer, Singularity and Charliecloud.",
        discussion: """
            In a shell: eval "$(berth env)", and eval "$(berth env --unset)" to take it back. May be run again at any \
            time; a mount that died is made again. For Charliecloud: ch-run $BERTH_CH_BIND IMAGE -- PROGRAM.
            """)

    @Option(
        help: ArgumentHelp(
            "A volume, and where to show it if not at its own path. May be given more than once. Without: all with a path.",
            valueName: "name[:/path][:ro]"))
    var volume: [String] = []

    @Flag(help: "Print what takes it back, and unmount. With --volume: only these.")
    var unset = false

    @Option(help: "Whose words to print: sh, csh, fish, or plain, a line each without quotes.")
    var shell: ShellDialect = .sh

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            let variables = BindVariables(site.environment)
            let prefix = site.paths.hostMountpoints
            if unset { return try takeBack(site, variables, prefix) }
            let volumes = try PathMap(site.registry).selection(volume)
            let binds = volumes.map {
                Bind(source: site.mounts.hostPlace($0.name), path: $0.path, readOnly: $0.readOnly)
            }
            // First, so that a refusal leaves nothing mounted.
            let values = try variables.adding(binds, ours: prefix)
            var mounted: [String] = []
            do throws(SystemFailure) {
                for volume in volumes where !site.mounts.isPlaced(volume.name) {
                    try site.mounts.place(try VolumeReference(volume.name))
                    mounted.append(volume.name)
                }
            } catch {
                for name in mounted { try? site.mounts.unplace(name) }
                throw error
            }
            try Output.write(shell.lines(values) + "\n")
        }
    }

    private func takeBack(_ site: Site, _ variables: BindVariables, _ prefix: String) throws(SystemFailure) {
        var names = site.mounts.placed()
        if !volume.isEmpty {
            names = []
            for word in volume { names.append(try VolumeReference(try VolumeRequest(word).name).description) }
        }
        // The shell's variables go in any case: a mount in use must not leave them behind.
        let lines = shell.lines(variables.removing(ours: prefix))
        var failure: SystemFailure?
        for name in names {
            do throws(SystemFailure) { try site.mounts.unplace(name) } catch { failure = error }
        }
        try Output.write(lines + "\n")
        if let failure { throw failure }
    }
}

/// How shells write assignments.
enum ShellDialect: String, ExpressibleByArgument, CaseIterable {
    case sh
    case csh
    case fish
    /// `export NAME=VALUE`, for Slurm's TaskProlog and for modules: no quotes, and no way to write a line break.
    case plain

    /// One line a variable, sorted. A value with a line break is more than one to sh and to fish, within quotes.
    func lines(_ variables: [String: String?]) -> String {
        variables.sorted { $0.key < $1.key }.map { name, value -> String in
            guard let value else {
                switch self {
                case .sh: return "unset \(name);"
                case .plain: return "unset \(name)"
                case .csh: return "unsetenv \(name);"
                case .fish: return "set -e \(name);"
                }
            }
            switch self {
            case .sh: return "export \(name)=\(Self.quoted(value, ["'": "'\\''"]));"
            // Its history is not quoted by quotes, nor is a line's end.
            case .csh: return "setenv \(name) \(Self.quoted(value, ["'": "'\\''", "!": "\\!", "\n": "\\\n"]));"
            case .fish: return "set -gx \(name) \(Self.quoted(value, ["'": "\\'", "\\": "\\\\"]));"
            case .plain:
                guard value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
                    return "print berth: \(name) holds a control character, and is left as it was"
                }
                return "export \(name)=\(value)"
            }
        }.joined(separator: "\n")
    }

    /// By scalars: a letter that combines with a quote before it does not make it another sign to a shell.
    private static func quoted(_ value: String, _ escapes: [Unicode.Scalar: String]) -> String {
        "'" + value.unicodeScalars.map { escapes[$0] ?? String($0) }.joined() + "'"
    }
}
