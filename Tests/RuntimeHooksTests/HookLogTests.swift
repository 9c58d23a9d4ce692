import LinuxSystem
import RuntimeHooks
import TestSupport
import Testing
import Volumes

@Suite("the hooks' log")
struct HookLogTests {
    @Test("a hook writes the form that the user's settings say, and text where they cannot be read")
    func forms() throws {
        let directory = TemporaryDirectory()
        let paths = SitePaths(environment: ["HOME": directory.path, "BERTH_RUNTIME_DIR": "\(directory.path)/run"])
        try SecureDirectory.make(paths.configuration)
        for (settings, isJSON) in [("", false), ("log-format = json\n", true), ("log-format = xml\n", false)] {
            try AtomicFile.replace(paths.settings, Array(settings.utf8))
            HookLog(paths).note("error", "it failed", [("cause", "a\nb"), ("stage", "precreate")])
            let text = String(decoding: try AtomicFile.read(paths.hookLog) ?? [], as: UTF8.self)
            #expect(text.split(separator: "\n").last?.hasPrefix("{") == isJSON, "\(settings)")
        }
        let lines = try LogLines(paths).last(10, of: "hook")
        #expect(lines.count == 3 && lines.allSatisfy { $0.message == "it failed" && $0.level == "error" })
        #expect(lines.allSatisfy { $0.fields["stage"] == "precreate" })
        #expect(lines.map { $0.fields["cause"] } == ["a\\nb", "a\nb", "a\\nb"])
    }
}
