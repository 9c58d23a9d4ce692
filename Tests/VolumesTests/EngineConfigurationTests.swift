import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing
import Volumes

@Suite("podman's configuration")
struct EngineConfigurationTests {
    private let directory = TemporaryDirectory()

    private var paths: SitePaths {
        SitePaths(environment: ["HOME": directory.path, "BERTH_RUNTIME_DIR": "\(directory.path)/run"])
    }

    private var configuration: EngineConfiguration {
        EngineConfiguration(paths: paths, systemFiles: ["\(directory.path)/system.conf"])
    }

    private func write(_ path: String, _ text: String) throws {
        try SecureDirectory.make(String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]))
        try AtomicFile.replace(path, Array(text.utf8))
    }

    private func read(_ path: String) throws -> String? {
        try AtomicFile.read(path).map { String(decoding: $0, as: UTF8.self) }
    }

    private func register() throws {
        for change in try configuration.changesToRegister() { try configuration.apply(change) }
    }

    private func unregister() throws {
        for change in try configuration.changesToUnregister() { try configuration.apply(change) }
    }

    @Test("without a table of the user's, a file of our own registers the plugin, once, and goes with undo")
    func ownFile() throws {
        try write(paths.containersConfiguration, "[containers]\nlog_size_max = 5\n")
        try register()
        #expect(try read(configuration.ownFile)?.contains("berth = \"\(paths.pluginSocket)\"") == true)
        #expect(try configuration.changesToRegister().isEmpty)
        try unregister()
        #expect(try read(configuration.ownFile) == nil)
        #expect(try read(paths.containersConfiguration) == "[containers]\nlog_size_max = 5\n")
    }

    @Test("plugins that the system registers stay registered")
    func systemPlugins() throws {
        try write("\(directory.path)/system.conf", "[engine.volume_plugins]\nother = \"/run/other.sock\" # site\n")
        try register()
        #expect(try read(configuration.ownFile)?.contains("\"other\" = \"/run/other.sock\"") == true)
    }

    @Test("a table of the user's gets one line, and undo gives back every byte, whatever is around it")
    func existingTable() throws {
        var generator = SystemRandomNumberGenerator()
        let lines = [
            "# a comment", "", "[containers]", "env = [\"A=1\", \"B=[x]\"]", "  indented = true", "[network]",
            "x = 'it''s'",
            "[engine]", "runtime = \"crun\" # volume", "[engine.runtimes]", "crun = [\"/usr/bin/crun\"]", "\t",
        ]
        for round in 0..<300 {
            var text = (0..<Int.random(in: 0..<8, using: &generator)).compactMap { _ in
                lines.randomElement(using: &generator)
            }
            text.append(
                ["[engine.volume_plugins]", " [ engine.volume_plugins ] # here"].randomElement(using: &generator) ?? "")
            text += (0..<Int.random(in: 0..<3, using: &generator)).map { "p\($0) = \"/run/p\($0).sock\"" }
            text += ["[last]", "y = 1"].prefix(Int.random(in: 0...2, using: &generator))
            let original = text.joined(separator: "\n") + (Bool.random(using: &generator) ? "\n" : "")
            try write(paths.containersConfiguration, original)
            try register()
            let changed = try read(paths.containersConfiguration) ?? ""
            #expect(
                changed.split(separator: "\n", omittingEmptySubsequences: false).count == original.split(
                    separator: "\n", omittingEmptySubsequences: false
                ).count + 1, "round \(round)")
            #expect(try configuration.changesToRegister().isEmpty, "round \(round)")
            try unregister()
            #expect(try read(paths.containersConfiguration) == original, "round \(round)")
        }
    }

    @Test(
        "forms that cannot be changed safely are refused, and nothing changes",
        arguments: [
            "[engine]\nvolume_plugins = { other = \"/x\" }\n", "engine.volume_plugins.other = \"/x\"\n",
            "[engine.volume_plugins]\nberth = \"/home/other/plugin.sock\"\n", "[engine.volume_plugins]\nx = 'a\\\n",
            "[engine.volume_plugins]\n[engine.volume_plugins]\n",
        ])
    func refused(text: String) throws {
        try write(paths.containersConfiguration, text)
        #expect(throws: SystemFailure.self) { try configuration.changesToRegister() }
        #expect(try read(paths.containersConfiguration) == text)
    }
}
