import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing
import Volumes

@Suite("podman's configuration")
struct EngineConfigurationTests {
    private let site = EngineSite()
    private var directory: TemporaryDirectory { site.directory }
    private var paths: SitePaths { site.paths }

    private var configuration: EngineConfiguration {
        EngineConfiguration(paths: paths, systemFiles: ["\(directory.path)/system.conf"])
    }

    @Test("without a table of the user's, a file of our own registers the plugin, once, and goes with undo")
    func ownFile() throws {
        try site.write(paths.containersConfiguration, "[containers]\nlog_size_max = 5\n")
        try configuration.register()
        #expect(try site.read(configuration.ownFile)?.contains("berth = \"\(paths.pluginSocket)\"") == true)
        #expect(try configuration.changesToRegister().isEmpty)
        try configuration.unregister()
        #expect(try site.read(configuration.ownFile) == nil)
        #expect(try site.read(paths.containersConfiguration) == "[containers]\nlog_size_max = 5\n")
    }

    @Test("plugins that the system registers stay registered")
    func systemPlugins() throws {
        try site.write("\(directory.path)/system.conf", "[engine.volume_plugins]\nother = \"/run/other.sock\" # site\n")
        try configuration.register()
        #expect(try site.read(configuration.ownFile)?.contains("\"other\" = \"/run/other.sock\"") == true)
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
            try site.write(paths.containersConfiguration, original)
            try configuration.register()
            let changed = try site.read(paths.containersConfiguration) ?? ""
            #expect(
                changed.split(separator: "\n", omittingEmptySubsequences: false).count == original.split(
                    separator: "\n", omittingEmptySubsequences: false
                ).count + 1, "round \(round)")
            #expect(try configuration.changesToRegister().isEmpty, "round \(round)")
            try configuration.unregister()
            #expect(try site.read(paths.containersConfiguration) == original, "round \(round)")
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
        try site.write(paths.containersConfiguration, text)
        #expect(throws: SystemFailure.self) { try configuration.changesToRegister() }
        #expect(try site.read(paths.containersConfiguration) == text)
    }
}
