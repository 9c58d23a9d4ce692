import ArgumentParser
import FileModel
import Glibc
import LinuxSystem
import Volumes

struct SetupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "setup", abstract: "Prepare this account: directories, and podman's registration.",
        discussion: "Needs no root. May be run again at any time.")

    @Flag(help: "Show each change and make none.")
    var dryRun = false

    @Flag(help: "Take back what setup did. Volumes and their data stay.")
    var undo = false

    @Option(
        help: "Where volumes keep copies of packs: directories after colons, with %u and $VARIABLES; \"\": the default."
    )
    var cacheDir: String?

    @Option(help: "Bytes of copies of one volume at most, such as 20G; \"\": the default.")
    var cacheSize: String?

    @Option(help: "Bytes of copies of all volumes on a node at most; \"\": no bound.")
    var cacheTotal: String?

    @Option(help: "What caches leave free of their disk, such as 10% or 20G; \"\": the default.")
    var freeSpace: String?

    func run() throws {
        try berth.run { site throws(SystemFailure) in
            if undo { return try takeBack(site) }
            try prepare(site)
        }
    }

    private func prepare(_ site: Site) throws(SystemFailure) {
        var changes = 0
        for directory in site.paths.directories where !SecureDirectory.isSecure(directory) {
            changes += 1
            tell(access(directory, F_OK) == 0 ? "close \(directory) to other users" : "make \(directory)")
            if !dryRun { try SecureDirectory.make(directory) }
        }
        changes += try set(site)
        changes += try apply(try site.engineConfiguration().changesToRegister(), site)
        changes += clearSharedPlace()
        if changes == 0 { print("nothing to change: this account is set up") }
        let findings = try site.doctor().findings().filter {
            $0.verdict != .pass && !$0.isAboutPlugin
        }
        for finding in findings { print(finding.line) }
        guard !dryRun else { return }
        if PluginProcess.running(site.paths) == nil { print("next: berth serve --detach") }
        if findings.contains(where: { $0.verdict == .fail }) {
            throw SystemFailure(
                "this machine", "lacks what is marked \"fail\" above",
                fix: "do what stands there, then run `berth doctor`",
                status: .unavailable)
        }
    }

    /// Writes what was given of the cache into the user's settings.
    private func set(_ site: Site) throws(SystemFailure) -> Int {
        var values: [String: String] = [:]
        values["cache-dir"] = cacheDir
        values["cache-size"] = cacheSize
        values["cache-total"] = cacheTotal
        values["free-space"] = freeSpace
        let path = site.paths.settings
        let old = String(decoding: try AtomicFile.read(path) ?? [], as: UTF8.self)
        let new = values.isEmpty ? old : try UserSettings.changed(old, values, path: path)
        guard new != old else { return 0 }
        tell(
            "set \(values.sorted { $0.key < $1.key }.map { "\($0.key) = \($0.value)" }.joined(separator: ", ")) in \(path)"
        )
        if !dryRun { try AtomicFile.replace(path, Array(new.utf8)) }
        return 1
    }

    private func takeBack(_ site: Site) throws(SystemFailure) {
        var changes = try apply(try EngineConfiguration(paths: site.paths).changesToUnregister(), site)
        let volumes = try site.registry.list().records
        if let process = PluginProcess.running(site.paths) {
            print("the volume plugin still runs (pid \(process)); end it with: berth stop")
        }
        // Deepest first; only what is empty goes.
        for directory in (site.paths.directories + [site.paths.hooks]).reversed() where Self.isEmpty(directory) {
            changes += 1
            tell("remove \(directory)")
            if !dryRun { rmdir(directory) }
        }
        if changes == 0 { print("nothing to take back") }
        if !volumes.isEmpty {
            print(
                "kept: \(volumes.map(\.name).joined(separator: ", ")) in \(site.paths.volumes); remove with: berth volume rm NAME"
            )
        }
    }

    /// Earlier versions kept sockets in /tmp where there was no runtime directory.
    private func clearSharedPlace() -> Int {
        switch SharedPlace(userID: geteuid()).state {
        case .absent: return 0
        case .ofStranger(let name):
            print("warning: \(SharedPlace(userID: geteuid()).path) belongs to \(name); Berth looks at nothing in it")
            return 0
        case .inUse:
            print(
                "next: something of an earlier version runs in \(SharedPlace(userID: geteuid()).path); end it with: berth stop --all"
            )
            return 0
        case .leftOver:
            tell("remove \(SharedPlace(userID: geteuid()).path), where others could stand in the way")
            if !dryRun { SharedPlace(userID: geteuid()).remove() }
            return 1
        }
    }

    private func apply(_ changes: [ConfigurationChange], _ site: Site) throws(SystemFailure) -> Int {
        let configuration = EngineConfiguration(paths: site.paths)
        for change in changes {
            tell("\(change.summary): \(change.content == nil ? "remove " : "")\(change.path)")
            if !dryRun { try configuration.apply(change) }
        }
        return changes.count
    }

    private func tell(_ what: String) {
        print(dryRun ? "would \(what)" : what)
    }

    private static func isEmpty(_ directory: String) -> Bool {
        var status = stat()
        guard lstat(directory, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return false }
        return (try? FileTree.names(in: directory))?.isEmpty ?? false
    }
}
