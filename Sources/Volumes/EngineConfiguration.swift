import FileModel
import Glibc
import LinuxSystem
import TOMLKit

/// One change to a file that `berth setup` makes, or undoes.
public struct ConfigurationChange: Equatable, Sendable {
    public var path: String
    /// Nil: the file is removed.
    public var content: String?
    /// What it is for, in words.
    public var summary: String
}

/// Podman's registration of the volume plugin.
///
/// Observed with podman 4.3.1: files in `~/.config/containers/containers.conf.d` are read, and of all files that
/// have an `[engine.volume_plugins]` table the last one read wins whole; entries of the others are lost. So the
/// line goes into every file of the user that has the table, and into a file of our own where none has it. That
/// file repeats what the system's files register.
public struct EngineConfiguration: Sendable {
    private static let table = "[engine.volume_plugins]"
    private static let mark = "# added by berth setup"
    private static let pluginName = "berth"

    private let paths: SitePaths
    /// The system's files in the order in which they are read.
    private let systemFiles: [String]

    public init(
        paths: SitePaths,
        systemFiles: [String] = ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"]
    ) {
        self.paths = paths
        self.systemFiles = systemFiles
    }

    /// The file that is ours alone.
    public var ownFile: String { "\(paths.containers)/containers.conf.d/50-berth.conf" }

    private var line: String { "\(Self.pluginName) = \"\(paths.pluginSocket)\" \(Self.mark)" }

    /// What must change so that podman knows the plugin; nothing where it does.
    public func changesToRegister() throws(SystemFailure) -> [ConfigurationChange] {
        var changes: [ConfigurationChange] = []
        var hasTable = false
        for path in try userFiles() {
            guard let text = try read(path), let plugins = try Self.plugins(text, path) else { continue }
            hasTable = true
            if plugins[Self.pluginName] == paths.pluginSocket { continue }
            changes.append(
                ConfigurationChange(
                    path: path, content: try insertLine(text, path, plugins[Self.pluginName]),
                    summary: "register the volume plugin in the table that is there"))
        }
        guard !hasTable else { return changes }
        let content = try ownContent()
        if try read(ownFile) != content {
            changes.append(
                ConfigurationChange(path: ownFile, content: content, summary: "register the volume plugin with podman"))
        }
        return changes
    }

    /// What takes the registration back and leaves every other byte.
    public func changesToUnregister() throws(SystemFailure) -> [ConfigurationChange] {
        var changes: [ConfigurationChange] = []
        for path in try userFiles() {
            guard let text = try read(path), text.contains(Self.mark) else { continue }
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false).filter { !Self.isOurLine($0) }
            changes.append(
                ConfigurationChange(
                    path: path, content: lines.joined(separator: "\n"), summary: "take the volume plugin out"))
        }
        if try read(ownFile) != nil {
            changes.append(ConfigurationChange(path: ownFile, content: nil, summary: "take the volume plugin out"))
        }
        return changes
    }

    /// Makes a change, whole or not at all.
    public func apply(_ change: ConfigurationChange) throws(SystemFailure) {
        guard let content = change.content else {
            guard unlink(change.path) == 0 || errno == ENOENT else {
                throw SystemFailure(change.path, "cannot be removed", .current)
            }
            return
        }
        if change.path == ownFile { try SecureDirectory.make("\(paths.containers)/containers.conf.d") }
        var status = stat()
        // The mode it had: others may have to read it.
        let mode = stat(change.path, &status) == 0 ? status.st_mode & 0o777 : 0o600
        try AtomicFile.replace(change.path, Array(content.utf8), mode: mode)
    }

    /// Files of the user that are not ours alone, in the order in which podman reads them.
    private func userFiles() throws(SystemFailure) -> [String] {
        let directory = "\(paths.containers)/containers.conf.d"
        let dropIns = try FileTree.names(in: directory).filter { $0.hasSuffix(".conf") }.sorted()
            .map { "\(directory)/\($0)" }.filter { $0 != ownFile }
        return dropIns + [paths.containersConfiguration]
    }

    private func ownContent() throws(SystemFailure) -> String {
        var inherited: [String: String] = [:]
        for path in systemFiles {
            guard let text = try read(path), let plugins = try Self.plugins(text, path) else { continue }
            inherited = plugins
        }
        inherited[Self.pluginName] = nil
        let others = inherited.sorted { $0.key < $1.key }.map { "\(Self.quoted($0.key)) = \(Self.quoted($0.value))\n" }
        return "# Written by `berth setup`; `berth setup --undo` removes it.\n\(Self.table)\n\(line)\n"
            + others.joined()
    }

    private func insertLine(_ text: String, _ path: String, _ current: String?) throws(SystemFailure) -> String {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        if let current {
            guard let index = lines.firstIndex(where: Self.isOurLine) else {
                throw SystemFailure(
                    path, "registers a volume plugin named berth at \(current), which is not this user's",
                    fix: "remove that line, then run `berth setup` again", status: .configuration)
            }
            lines[index] = Substring(line)
            return lines.joined(separator: "\n")
        }
        guard
            let header = lines.firstIndex(where: {
                $0.filter { $0 != " " && $0 != "\t" && $0 != "\r" }.hasPrefix(Self.table)
            })
        else {
            throw SystemFailure(
                path, "has volume plugins in a form that cannot be added to safely",
                fix: "write them as a table \(Self.table), then run `berth setup` again", status: .configuration)
        }
        lines.insert(Substring(line), at: header + 1)
        let result = lines.joined(separator: "\n")
        // Proof that nothing else changed its meaning.
        guard var after = try Self.plugins(result, path), let before = try Self.plugins(text, path) else {
            throw SystemFailure(
                path, "cannot be changed safely", fix: "add to \(Self.table): \(line)", status: .configuration)
        }
        after[Self.pluginName] = nil
        guard after == before else {
            throw SystemFailure(
                path, "cannot be changed safely", fix: "add to \(Self.table): \(line)", status: .configuration)
        }
        return result
    }

    private static func isOurLine(_ line: Substring) -> Bool {
        line.hasPrefix("\(pluginName) = ") && line.hasSuffix(mark)
    }

    private func read(_ path: String) throws(SystemFailure) -> String? {
        guard let bytes = try AtomicFile.read(path) else { return nil }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw SystemFailure(path, "is not UTF-8 text", fix: "mend the file first", status: .configuration)
        }
        return text
    }

    /// The entries of the table, or nil where the file has none.
    private static func plugins(_ text: String, _ path: String) throws(SystemFailure) -> [String: String]? {
        let root: TOMLTable
        do {
            root = try TOMLTable(string: text)
        } catch {
            throw SystemFailure(
                path, "is not TOML that podman can read: \(error)", fix: "mend the file first", status: .configuration)
        }
        guard let table = root["engine"]?.table?["volume_plugins"]?.table else { return nil }
        var plugins: [String: String] = [:]
        for key in table.keys { plugins[key] = table[key]?.string ?? "" }
        return plugins
    }

    private static func quoted(_ text: String) -> String {
        let escaped = text.flatMap { $0 == "\"" || $0 == "\\" ? ["\\", $0] : [$0] }
        return "\"\(String(escaped))\""
    }
}
