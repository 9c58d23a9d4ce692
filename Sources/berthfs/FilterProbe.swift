import ArgumentParser
import CLinux
import Glibc
import LinuxSystem
import Sandbox
import Volumes

/// Enters the server's filter, or with a volume its Landlock domain and the filter, and does what they forbid: the proof
/// that they hold on this kernel.
struct FilterProbe: ParsableCommand {
    @Flag(help: "Enter the filter of a volume whose store is in the network.")
    var network = false

    @Flag(help: "Make a network socket instead of starting a program.")
    var socket = false

    @Option(help: "Enter the domain of this volume's server, and make the attempts.")
    var volume: String?

    @Argument(help: "Attempts, each VERB:OPERAND: read, write, make, remove, list, connect.")
    var attempts: [String] = []

    static let configuration = CommandConfiguration(
        commandName: "filter-probe",
        abstract: "Do from inside the seccomp filter and the Landlock domain what they forbid; SIGSYS must end it.",
        shouldDisplay: false)

    func run() throws {
        do {
            if let volume { try enterDomain(volume) }
            try SystemCallFilter.enter(network ? .network : .files)
        } catch {
            ProcessEnvironment.complain("berthfs: \(error)")
            throw ExitCode(ExitStatus.systemError.rawValue)
        }
        ProcessEnvironment.complain("inside the filter")
        if volume != nil {
            for attempt in attempts { ProcessEnvironment.complain("\(attempt) \(Self.outcome(attempt))") }
            return
        }
        if socket {
            let number = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            return ProcessEnvironment.complain(number >= 0 ? "the filter let a socket be made" : "no socket")
        }
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("true"), nil]
        execv("/bin/true", &arguments)
        ProcessEnvironment.complain("berthfs: the filter let a forbidden system call through")
        throw ExitCode(ExitStatus.software.rawValue)
    }

    private func enterDomain(_ volume: String) throws {
        let environment = ProcessEnvironment.current()
        let site = SitePaths(environment: environment)
        let record = try VolumeRegistry(paths: site).record(try VolumeName(volume))
        let caches = CacheSite(VolumeRegistry(paths: site), environment: environment)
        let domain = ServerDomain(
            record: record, paths: site.volume(record.name), site: site,
            cache: try ChosenCache(record, caches, try UserSettings.load(site)).directory, environment: environment)
        ProcessEnvironment.complain("landlock \(try domain.enter())")
    }

    /// "yes", or the errno of what was refused.
    private static func outcome(_ attempt: String) -> String {
        let parts = attempt.split(separator: ":", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { return "no attempt" }
        let result = act(parts[0], parts[1])
        return result >= 0 ? "yes" : "refused \(errno)"
    }

    private static func act(_ verb: String, _ operand: String) -> Int32 {
        switch verb {
        case "read": open(operand, O_RDONLY | O_CLOEXEC)
        case "write": open(operand, O_WRONLY | O_APPEND | O_CLOEXEC)
        case "make": open(operand, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        case "list": open(operand, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        case "remove": unlink(operand)
        case "connect": connect(to: operand)
        default: -1
        }
    }

    private static func connect(to path: String) -> Int32 {
        let number = berth_unix_stream()
        return number < 0 ? -1 : berth_connect_unix(number, path)
    }
}
