import FileModel
import Glibc
import LinuxSystem

/// One change to a file that `berth setup` makes, or undoes.
public struct ConfigurationChange: Equatable, Sendable {
    public var path: String
    /// Nil: the file is removed.
    public var content: String?
    /// What it is for, in words.
    public var summary: String
}

/// Podman's registration of the volume plugin and of the directory of hooks.
///
/// Observed with podman 4.3.1: files in `~/.config/containers/containers.conf.d` are read, and of all files that
/// have an `[engine.volume_plugins]` table the last one read wins whole; entries of the others are lost. So the
/// line goes into every file of the user that has the table, and into a file of our own where none has it. That
/// file repeats what the system's files register. `hooks_dir` goes the same way: the last file read wins whole.
public struct EngineConfiguration: Sendable {
    private static let mark = "# added by berth setup"
    private static let pluginName = "berth"

    private let paths: SitePaths
    /// What starts the hooks; nil: they are not registered.
    private let hooks: HookFiles?
    /// The system's files in the order in which they are read.
    private let systemFiles: [String]

    public init(
        paths: SitePaths, hooks: HookFiles? = nil,
        systemFiles: [String] = ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"]
    ) {
        self.paths = paths
        self.hooks = hooks
        self.systemFiles = systemFiles
    }

    /// The file that is ours alone.
    public var ownFile: String { "\(paths.containers)/containers.conf.d/50-berth.conf" }

    private var line: String { "\(Self.pluginName) = \"\(paths.pluginSocket)\" \(Self.mark)" }

    /// What must change so that podman knows the plugin and the hooks; nothing where it does.
    public func changesToRegister() throws(SystemFailure) -> [ConfigurationChange] {
        var changes: [ConfigurationChange] = []
        var hasTable = false
        var hasHooks = hooks == nil
        for path in try userFiles() {
            guard let original = try read(path) else { continue }
            var text = original
            var summaries: [String] = []
            if let plugins = try PluginTable(in: text, path: path)?.entries {
                hasTable = true
                if plugins[Self.pluginName] != paths.pluginSocket {
                    text = try insertLine(text, path)
                    summaries.append("register the volume plugin in the table that is there")
                }
            }
            if hooks != nil, let setting = try HooksSetting(in: text, path: path) {
                hasHooks = true
                if !setting.directories.contains(paths.hooks) {
                    text = setting.adding(paths.hooks, to: text)
                    summaries.append("register the hooks in the list that is there")
                }
            }
            guard text != original else { continue }
            changes.append(
                ConfigurationChange(path: path, content: text, summary: summaries.joined(separator: ", and ")))
        }
        changes += try hookChanges()
        guard !hasTable || !hasHooks else { return changes }
        let content = try ownContent(table: !hasTable, hooks: !hasHooks)
        if try read(ownFile) != content {
            changes.append(
                ConfigurationChange(path: ownFile, content: content, summary: "register the volume plugin with podman"))
        }
        return changes
    }

    /// The socket that podman was told of by `berth setup`; nil where it was told of none.
    public func registeredSocket() throws(SystemFailure) -> String? {
        for path in try userFiles() + [ownFile] {
            guard let text = try read(path), text.split(separator: "\n").contains(where: Self.isOurLine) else {
                continue
            }
            return try PluginTable(in: text, path: path)?.entries[Self.pluginName]
        }
        return nil
    }

    /// Tells podman of this process's socket where it was told of one that nobody of this user answers: that of another
    /// node, of a start before the last, or of a version that listened where everybody can. Returns what was changed.
    public func follow() throws(SystemFailure) -> [ConfigurationChange] {
        guard let registered = try registeredSocket(), registered != paths.pluginSocket,
            (try? UnixSocket.connect(to: registered, timeout: .seconds(2))) == nil
        else { return [] }
        let changes = try changesToRegister()
        for change in changes { try apply(change) }
        return changes
    }

    /// What takes the registration back and leaves every other byte.
    public func changesToUnregister() throws(SystemFailure) -> [ConfigurationChange] {
        var changes: [ConfigurationChange] = []
        for path in try userFiles() {
            guard let original = try read(path) else { continue }
            let lines = original.split(separator: "\n", omittingEmptySubsequences: false)
            var text = lines.filter { !Self.isOurLine($0) }.joined(separator: "\n")
            // A form that cannot be read was never changed by us.
            if let setting = try? HooksSetting(in: text, path: path) {
                text = setting.removing(paths.hooks, from: text)
            }
            guard text != original else { continue }
            changes.append(ConfigurationChange(path: path, content: text, summary: "take the volume plugin out"))
        }
        if try read(ownFile) != nil {
            changes.append(ConfigurationChange(path: ownFile, content: nil, summary: "take the volume plugin out"))
        }
        for path in HookFiles.stages.map(hookFile) where try read(path) != nil {
            changes.append(ConfigurationChange(path: path, content: nil, summary: "take the hook out"))
        }
        return changes
    }

    private func hookFile(_ stage: String) -> String { "\(paths.hooks)/\(HookFiles.name(stage))" }

    private func hookChanges() throws(SystemFailure) -> [ConfigurationChange] {
        guard let hooks else { return [] }
        var changes: [ConfigurationChange] = []
        for stage in HookFiles.stages where try read(hookFile(stage)) != hooks.text(stage) {
            changes.append(
                ConfigurationChange(
                    path: hookFile(stage), content: hooks.text(stage), summary: "write the \(stage) hook"))
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
        if change.path.hasPrefix("\(paths.hooks)/") { try SecureDirectory.make(paths.hooks) }
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

    private func ownContent(table: Bool, hooks: Bool) throws(SystemFailure) -> String {
        var plugins: [String: String] = [:]
        // Podman's own default: root's containers have these, other users' none.
        var directories =
            geteuid() == 0 ? ["/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"] : []
        for path in systemFiles {
            guard let text = try read(path) else { continue }
            if let entries = try PluginTable(in: text, path: path)?.entries { plugins = entries }
            if let setting = try HooksSetting(in: text, path: path) { directories = setting.directories }
        }
        var text = "# Written by `berth setup`; `berth setup --undo` removes it.\n"
        if hooks {
            let list = (directories.filter { $0 != paths.hooks } + [paths.hooks]).map(Self.quoted)
            text += "[engine]\nhooks_dir = [\(list.joined(separator: ", "))]\n"
        }
        guard table else { return text }
        plugins[Self.pluginName] = nil
        let others = plugins.sorted { $0.key < $1.key }.map { "\(Self.quoted($0.key)) = \(Self.quoted($0.value))\n" }
        return text + "\(PluginTable.header)\n\(line)\n" + others.joined()
    }

    private func insertLine(_ text: String, _ path: String) throws(SystemFailure) -> String {
        guard let table = try PluginTable(in: text, path: path) else { return text }
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        if let current = table.entries[Self.pluginName] {
            guard let index = lines.firstIndex(where: Self.isOurLine) else {
                throw SystemFailure(
                    path, "registers a volume plugin named berth at \(current), which is not this user's",
                    fix: "remove that line, then run `berth setup` again", status: .configuration)
            }
            lines[index] = Substring(line)
        } else {
            lines.insert(Substring(line), at: table.headerLine + 1)
        }
        let result = lines.joined(separator: "\n")
        // Proof that nothing else changed its meaning.
        var after = try PluginTable(in: result, path: path)?.entries ?? [:]
        var before = table.entries
        after[Self.pluginName] = nil
        before[Self.pluginName] = nil
        guard after == before else {
            throw SystemFailure(
                path, "cannot be changed safely", fix: "add to \(PluginTable.header): \(line)", status: .configuration)
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

    private static func quoted(_ text: String) -> String {
        let escaped = text.flatMap { $0 == "\"" || $0 == "\\" ? ["\\", $0] : [$0] }
        return "\"\(String(escaped))\""
    }
}
