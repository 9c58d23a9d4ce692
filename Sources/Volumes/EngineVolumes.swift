import Control
import FileModel
import Glibc
import LinuxSystem

/// Podman's own list of volumes, kept in step with the user's: `-v NAME:` means one of Berth's only where that list says so,
/// and else a new, empty volume of podman's own, without a word (decision 0083).
///
/// Podman is asked by its own commands, never waited for longer than `patience`, and nothing that it says makes a command of
/// ours fail: the volume is there all the same. It is not told where `berth setup` has not registered the plugin.
///
/// `podman volume reload` is never used: where a plugin does not answer, it forgets all of its volumes.
///
/// The plugin itself must not call this: podman waits for it.
public struct EngineVolumes: Sendable {
    /// What podman knows by a name.
    enum Driver: Equatable {
        case ours
        /// A volume of podman's own, or another plugin's.
        case other(String)
    }

    /// A command of podman's takes a tenth of a second; many times that on a slow file system.
    public static let patience = Duration.seconds(10)
    private static let driver = "berth"

    private let paths: SitePaths
    private let environment: [String: String]

    public init(_ paths: SitePaths, environment: [String: String]) {
        self.paths = paths
        self.environment = environment
    }

    // MARK: Telling

    /// Tells podman of a volume that has been made. Returns what the user must do himself; nil where podman knows the volume
    /// now, or is none of ours.
    public func tellMade(_ name: String, until deadline: Deadline = Deadline(after: patience)) -> SystemFailure? {
        guard let podman = program() else { return nil }
        if let other = SupervisorClient.otherData(paths) {
            return Self.untold(
                name, "its plugin is that of the volumes in \(other)",
                fix: "set BERTH_RUNTIME_DIR to another directory, then run `berth setup` and `berth serve --detach`")
        }
        guard isPluginThere else {
            return Self.untold(
                name, "the volume plugin does not run", fix: "run `berth serve --detach`, which tells it")
        }
        do throws(SystemFailure) {
            // Podman asks the plugin whether the volume is there, and has it made only where it is not.
            let outcome = try run(podman, ["volume", "create", "--driver", Self.driver, "--", name], deadline)
            if outcome.succeeded { return nil }
            switch try driver(of: name, podman, deadline) {
            case .ours: return nil
            case .other(let driver): return conflict(name, driver)
            case nil: return Self.untold(name, Self.lastLine(outcome), fix: Self.create(name))
            }
        } catch {
            return Self.untold(name, "\(error.subject): \(error.cause)", fix: Self.create(name))
        }
    }

    /// Tells podman of all volumes that it does not know.
    public func tellMade(all names: [String], within patience: Duration = patience) -> [SystemFailure] {
        guard !names.isEmpty, let podman = program() else { return [] }
        let deadline = Deadline(after: patience)
        // Podman lists nothing where one plugin does not answer, or has lost a volume.
        let known = try? list([], podman, deadline)
        var untold = 0
        var failures: [SystemFailure] = names.compactMap { name in
            switch known?[name] {
            case .ours: return nil
            case .other(let driver): return conflict(name, driver)
            case nil:
                guard deadline.hasPassed else { return tellMade(name, until: deadline) }
                untold += 1
                return nil
            }
        }
        if untold > 0 {
            failures.append(
                SystemFailure(
                    "podman", "has not been told of \(untold) volumes in \(patience.components.seconds) s",
                    fix: "`berth status` names them, with the command for each", status: .unavailable))
        }
        return failures
    }

    /// Whether podman lists this volume as one of ours: to be asked before it is removed.
    public func knows(_ name: String) -> Bool {
        guard let podman = program(), SupervisorClient.otherData(paths) == nil else { return false }
        let deadline = Deadline(after: Self.patience)
        do throws(SystemFailure) {
            return try driver(of: name, podman, deadline) == .ours
        } catch {
            // So podman says of a volume whose plugin does not answer.
            return error.cause.contains("olume \(name) uses volume plugin \(Self.driver) ")
        }
    }

    /// Tells podman that a volume which it knew is gone. Returns what the user must do himself.
    public func tellRemoved(_ name: String) -> SystemFailure? {
        // One of that name may have been made meanwhile, or be another home's.
        guard access(paths.volume(name).record, F_OK) != 0, let podman = program(),
            SupervisorClient.otherData(paths) == nil
        else { return nil }
        let deadline = Deadline(after: Self.patience)
        do throws(SystemFailure) {
            let outcome = try run(podman, ["volume", "rm", "--", name], deadline)
            // A volume that the plugin does not have any more is forgotten, and podman says so as an error.
            if outcome.succeeded || outcome.errors.contains("has been removed from Podman") { return nil }
            return Self.stillListed(name, Self.lastLine(outcome))
        } catch {
            return Self.stillListed(name, error.cause)
        }
    }

    // MARK: Looking

    /// Where podman's list is not the user's: volumes of podman's own with the same name, and volumes that it does not know.
    public func differences(_ names: [String], within patience: Duration = patience) -> [SystemFailure] {
        guard !names.isEmpty, let podman = program() else { return [] }
        let deadline = Deadline(after: patience)
        do throws(SystemFailure) {
            guard isPluginThere, SupervisorClient.otherData(paths) == nil else {
                return try conflicts(names, podman, deadline)
            }
            let known = try list([], podman, deadline)
            return names.compactMap { name in
                switch known[name] {
                case .ours: nil
                case .other(let driver): conflict(name, driver)
                case nil: Self.untold(name, nil, fix: Self.create(name))
                }
            }
        } catch {
            let failure = SystemFailure(
                "podman", "does not list its volumes: \(error.cause)",
                fix: "run `podman volume ls`, and mend what it says; a volume that is gone: `podman volume rm NAME`",
                status: .unavailable)
            return ((try? conflicts(names, podman, deadline)) ?? []) + [failure]
        }
    }

    /// Podman lists volumes of its own also where plugins do not answer.
    private func conflicts(
        _ names: [String], _ podman: String, _ deadline: Deadline
    ) throws(SystemFailure) -> [SystemFailure] {
        let own = try list(["--filter", "driver=local"], podman, deadline)
        return names.filter { own[$0] != nil }.map { conflict($0, "local") }
    }

    private func driver(
        of name: String, _ podman: String, _ deadline: Deadline
    ) throws(SystemFailure) -> Driver? {
        try list(["--filter", "name=^\(name)$"], podman, deadline)[name]
    }

    private func list(
        _ filter: [String], _ podman: String, _ deadline: Deadline
    ) throws(SystemFailure) -> [String: Driver] {
        let outcome = try run(podman, ["volume", "ls", "--format", "{{.Driver}} {{.Name}}"] + filter, deadline)
        guard outcome.succeeded else {
            throw SystemFailure("podman volume ls", Self.lastLine(outcome), status: .unavailable)
        }
        var found: [String: Driver] = [:]
        for line in outcome.output.words(at: "\n") {
            let words = line.words(at: " ").map(String.init)
            guard words.count == 2 else { continue }
            found[words[1]] = words[0] == Self.driver ? .ours : .other(words[0])
        }
        return found
    }

    // MARK: Podman

    /// Whether there is a podman that is told of volumes.
    public var isInUse: Bool { program() != nil }

    /// Podman, where it is installed and `berth setup` has told it of the plugin.
    private func program() -> String? {
        guard ((try? EngineConfiguration(paths: paths).registeredSocket()) ?? nil) != nil else { return nil }
        return Spawn.find("podman", path: environment["PATH"])
    }

    private var isPluginThere: Bool {
        guard let socket = (try? EngineConfiguration(paths: paths).registeredSocket()) ?? nil else { return false }
        return (try? UnixSocket.connect(to: socket, timeout: .seconds(2))) != nil
    }

    private func run(_ podman: String, _ words: [String], _ deadline: Deadline) throws(SystemFailure) -> Outcome {
        let left = Duration.milliseconds(Int64(max(1, deadline.remainingMilliseconds)))
        return try Spawn.run(Command(podman, words, environment: environment), timeout: left)
    }

    // MARK: Words

    private static func create(_ name: String) -> String { "run `podman volume create --driver \(driver) \(name)`" }

    private static func lastLine(_ outcome: Outcome) -> String {
        outcome.errors.split(separator: "\n").last.map(String.init) ?? "podman ended with \(outcome.end)"
    }

    private static func untold(_ name: String, _ cause: String?, fix: String) -> SystemFailure {
        SystemFailure(
            "podman",
            "does not know volume \"\(name)\", and `-v \(name):` would make an empty one"
                + (cause.map { " (\($0))" } ?? ""),
            fix: fix, status: .unavailable)
    }

    private static func stillListed(_ name: String, _ cause: String) -> SystemFailure {
        SystemFailure(
            "podman", "still lists volume \"\(name)\": \(cause)",
            fix: "remove its containers (`podman ps -a --filter volume=\(name)`), then run `podman volume rm \(name)`",
            status: .unavailable)
    }

    /// What podman's own volume holds is kept: the cure takes it out first.
    private func conflict(_ name: String, _ driver: String) -> SystemFailure {
        let isOwn = driver == "local"
        let keep = isOwn ? "keep what it holds with `podman volume export \(name) -o \(name).tar`, " : ""
        let tell = isPluginThere ? "podman volume create --driver \(Self.driver) \(name)" : "berth serve --detach"
        let fill = isOwn ? ", and `berth import \(name) \(name).tar` if you want it there" : ""
        return SystemFailure(
            "podman",
            "has a volume \"\(name)\" \(isOwn ? "of its own" : "of plugin \(driver)"), and `-v \(name):` means that one, not Berth's",
            fix: "\(keep)then run `podman volume rm \(name) && \(tell)`\(fill)", status: .unavailable)
    }
}
