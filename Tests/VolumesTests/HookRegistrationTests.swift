import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing
import Volumes

@Suite("the registration of hooks")
struct HookRegistrationTests {
    private let site = EngineSite()
    private var directory: TemporaryDirectory { site.directory }
    private var paths: SitePaths { site.paths }

    private var configuration: EngineConfiguration {
        EngineConfiguration(
            paths: paths,
            hooks: HookFiles(program: "/opt/a \"b\"/berth-hook", environment: ["HOME": "/h", "SECRET": "x"]),
            systemFiles: ["\(directory.path)/system.conf"])
    }

    @Test("a file of our own names the system's directories and ours, once, and goes with undo")
    func ownFile() throws {
        try site.write("\(directory.path)/system.conf", "[engine]\nhooks_dir = [\"/site/hooks\"] # ours\n")
        try configuration.register()
        #expect(
            try site.read(configuration.ownFile)?.contains(
                "[engine]\nhooks_dir = [\"/site/hooks\", \"\(paths.hooks)\"]\n")
                == true)
        let hook = try site.read("\(paths.hooks)/50-berth-precreate.json") ?? ""
        #expect(hook.contains(#""path": "/opt/a \"b\"/berth-hook""#) && hook.contains("\"HOME=/h\""))
        #expect(!hook.contains("SECRET"))
        #expect(try configuration.changesToRegister().isEmpty)
        try configuration.unregister()
        #expect(try FileTree.names(in: paths.hooks).isEmpty && site.read(configuration.ownFile) == nil)
    }

    @Test(
        "a list of the user's gets one more directory, and undo gives back every byte",
        arguments: [
            "[engine]\nhooks_dir = [\"/a\", '/b'] # mine ]\n", "[engine]\n  hooks_dir=[]\n",
            "[engine]\nhooks_dir = [ \"/a\", ]",
            "# x\n[containers]\n[engine]\nhooks_dir = [\"/a\"]\nruntime = \"crun\"\n[engine.volume_plugins]\np = \"/p\"\n",
        ])
    func existing(text: String) throws {
        try site.write(paths.containersConfiguration, text)
        try configuration.register()
        let changed = try site.read(paths.containersConfiguration) ?? ""
        #expect(changed.contains("\"\(paths.hooks)\""), "\(changed)")
        #expect(try site.read(configuration.ownFile)?.contains("hooks_dir") != true)
        #expect(try configuration.changesToRegister().isEmpty)
        try configuration.unregister()
        #expect(try site.read(paths.containersConfiguration) == text)
    }

    @Test(
        "forms that cannot be changed safely are refused, and nothing changes",
        arguments: [
            "engine.hooks_dir = [\"/a\"]\n", "[engine]\r\nhooks_dir = [ ]\r\n",
            "[engine]\nhooks_dir = [\n  \"/a\",\n]\n",
            "[engine]\nhooks_dir = \"/a\"\n",
            "[engine]\nhooks_dir = [\"/a\"]\nhooks_dir = [\"/b\"]\n", "[engine]\nhooks_dir = [\"a\\\\b\"]\n",
        ])
    func refused(text: String) throws {
        try site.write(paths.containersConfiguration, text)
        #expect(throws: SystemFailure.self) { try configuration.changesToRegister() }
        try configuration.unregister()
        #expect(try site.read(paths.containersConfiguration) == text)
    }

    @Test("the files for a site are those that setup writes", arguments: HookFiles.stages)
    func siteFiles(stage: String) throws {
        let path = Programs.packaging("../hooks/oci/\(HookFiles.name(stage))")
        #expect(try site.read(path) == HookFiles(program: "/usr/bin/berth-hook", environment: [:]).text(stage))
    }
}

@Suite("what a user sets and reads")
struct UserFilesTests {
    @Test("settings are read, comments and space are nothing, and what means nothing is refused by line")
    func settings() throws {
        let text = "# x\n\nsession-idle = 5m # warm\n  server-idle =  0\n"
        let settings = try UserSettings(text: text, path: "/c")
        #expect(settings.sessionIdle == .seconds(300) && settings.serverIdle == .zero)
        for wrong in [
            "session-idle 5", "session-idle = x", "session-idle = 2d", "idle = 5", "session-idle = 25h", "a = b c",
        ] {
            do {
                _ = try UserSettings(text: "\n" + wrong, path: "/c")
                Issue.record("\(wrong) was taken")
            } catch {
                #expect(error.message.hasPrefix("/c, line 2: "), "\(error.message)")
            }
        }
    }

    @Test(
        "log lines of all logs come in the order of their times, taken apart, and lines without a time stay where they are"
    )
    func logLines() throws {
        let directory = TemporaryDirectory()
        let paths = SitePaths(environment: ["HOME": directory.path, "BERTH_RUNTIME_DIR": "\(directory.path)/run"])
        try SecureDirectory.make(paths.logs)
        let serve =
            "2026-01-01T10:00:00+0000 info berth: pid=1 [berth] serving\nFatal error\n2026-01-01T10:00:05+0000 error berth: cause=a: b [x] is not; do volume=v [berth] failed\n"
        try AtomicFile.replace("\(paths.logs)/serve.log", Array(serve.utf8))
        try AtomicFile.replace(
            "\(paths.logs)/v.log", Array("2026-01-01T10:00:03+0000 info berthfs:  [berthfs] closed\n".utf8))
        let lines = try LogLines(paths).last(10)
        #expect(lines.map(\.message) == ["serving", "Fatal error", "closed", "failed"])
        #expect(lines[3].fields == ["cause": "a: b [x] is not; do", "volume": "v"] && lines[3].level == "error")
        #expect(lines.map(\.log) == ["serve", "serve", "v", "serve"])
        #expect(try LogLines(paths).last(1, of: "v").map(\.message) == ["closed"])
        #expect(throws: SystemFailure.self) { try LogLines(paths).last(1, of: "none") }
    }

    @Test("a line is read back as it was written, in both forms, and both are put in one order whatever their zones")
    func bothForms() throws {
        let directory = TemporaryDirectory()
        let paths = SitePaths(environment: ["HOME": directory.path, "BERTH_RUNTIME_DIR": "\(directory.path)/run"])
        try SecureDirectory.make(paths.logs)
        let fields = ["volume": "v", "cause": "a \"b\" \\ [x] é", "job": "7"]
        for format in LogFormat.allCases {
            let record = LogRecord(program: "berthfs", level: "error", message: "fault", fields: fields)
            try AtomicFile.replace("\(paths.logs)/v.log", Array(record.line(format).utf8))
            let line = try #require(try LogLines(paths).last(1).first)
            #expect(line.fields == fields && line.message == "fault" && line.level == "error", "\(format): \(line)")
            #expect(line.text.hasSuffix(" error berthfs: cause=a \"b\" \\ [x] é job=7 volume=v [berthfs] fault"))
        }
        let text = LogRecord(program: "berthfs", level: "info", message: "two\nlines", fields: ["cause": "a\nb"])
        #expect(text.line(.text).count { $0 == "\n" } == 1 && text.line(.json).count { $0 == "\n" } == 1)
        let mixed = [
            "2026-01-01T12:00:01+0200 info b: [b] second", "2026-01-01T04:30:00-0530 info b: [b] first",
            #"{"time":"2026-01-01T10:00:01.500Z","level":"info","program":"b","message":"third"}"#,
            #"{"time":"2026-01-01T10:00:01.750Z","level":7}"#, "2026-01-01T10:00:02+0000 info b: [b] fourth",
        ]
        for (number, line) in mixed.enumerated() {
            try AtomicFile.replace("\(paths.logs)/\(number == 3 ? 2 : 9 - number)-v.log", Array((line + "\n").utf8))
        }
        let said = try LogLines(paths).last(10).map(\.message).filter { !$0.hasPrefix("{") && $0 != "fault" }
        #expect(said == ["first", "second", "third", "fourth"])
    }

    @Test("a lease counts while its process runs, and not longer")
    func leases() throws {
        let directory = TemporaryDirectory()
        let paths = SitePaths(environment: ["HOME": directory.path, "BERTH_RUNTIME_DIR": "\(directory.path)/run"])
        try paths.prepare()
        let leases = Leases(paths)
        let name = try VolumeName("data")
        guard let own = ProcessIdentity(of: getpid()) else { throw TestFailure("/proc/self/stat cannot be read") }
        let path = try leases.take(own, [name])
        #expect(leases.hold(name) && leases.isLease(path) && leases.isHeld(path, by: own, for: nil))
        #expect(!leases.hold(try VolumeName("other")))
        #expect(!leases.isLease("\(paths.leases)/../x") && !leases.isLease("/etc/passwd"))
        leases.end(path)
        #expect(!leases.hold(name))
        let stale = try leases.take(ProcessIdentity(processID: getpid(), startedAt: own.startedAt - 1), [name])
        #expect(!leases.hold(name), "another process had this number")
        utimes(stale, [timeval(tv_sec: 1, tv_usec: 0), timeval(tv_sec: 1, tv_usec: 0)])
        leases.sweep()
        #expect(access(stale, F_OK) != 0)
    }
}
