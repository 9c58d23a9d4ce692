import Glibc
import LinuxSystem
import TestSupport
import Testing
import Volumes

/// A podman that is a script: it writes down what it was asked, and answers as the test has it.
private final class ScriptedPodman {
    let site = EngineSite()
    private let plugin: FileDescriptor?

    /// `script` sees podman's words as $*, and the names of volumes in files of the directory $KNOWN, with their driver in them.
    init(_ script: String, isRegistered: Bool = true, isPluginThere: Bool = true) throws {
        let paths = site.paths
        try paths.prepare()
        if isRegistered { try EngineConfiguration(paths: paths, systemFiles: []).register() }
        plugin = isPluginThere ? try UnixSocket.listen(at: paths.pluginSocket) : nil
        for directory in ["bin", "known"] { try SecureDirectory.make("\(site.directory.path)/\(directory)") }
        let text = """
            #!/bin/bash
            KNOWN=\(site.directory.path)/known
            echo "$*" >>\(site.directory.path)/asked
            \(script)
            """
        try AtomicFile.replace("\(site.directory.path)/bin/podman", Array(text.utf8), mode: 0o700)
    }

    /// What podman 4.3.1 does.
    static let faithful = """
        case "$1 $2" in
        "volume create") [ -e $KNOWN/$6 ] && { echo "Error: volume with name $6 already exists" >&2; exit 125; }
            echo $4 >$KNOWN/$6; echo $6 ;;
        "volume ls") for f in $KNOWN/*; do [ -e $f ] || continue; n=${f##*/}; d=$(cat $f)
            last=${@: -1}
            case $last in name=*) [[ $n =~ ${last#name=} ]] || continue ;; driver=*) [ $d = ${last#driver=} ] || continue ;; esac
            echo "$d $n"; done ;;
        "volume rm") rm $KNOWN/$4 && echo $4 ;;
        *) exit 125 ;;
        esac
        """

    var volumes: EngineVolumes {
        EngineVolumes(site.paths, environment: ["PATH": "\(site.directory.path)/bin:/usr/bin:/bin"])
    }

    func know(_ name: String, _ driver: String) throws {
        try AtomicFile.replace("\(site.directory.path)/known/\(name)", Array(driver.utf8))
    }

    func known() throws -> [String: String] {
        var found: [String: String] = [:]
        for name in try FileTree.names(in: "\(site.directory.path)/known") {
            let driver = String(
                decoding: try AtomicFile.read("\(site.directory.path)/known/\(name)") ?? [], as: UTF8.self)
            found[name] = driver.split(separator: "\n").first.map(String.init)
        }
        return found
    }

    func asked() throws -> [Substring] {
        String(decoding: try AtomicFile.read("\(site.directory.path)/asked") ?? [], as: UTF8.self).split(
            separator: "\n")
    }
}

@Suite("podman's own list of volumes")
struct EngineVolumesTests {
    @Test("podman is told of a new volume, of all that it does not know, and of one that is gone; twice is once")
    func told() throws {
        let podman = try ScriptedPodman(ScriptedPodman.faithful)
        #expect(podman.volumes.tellMade("a") == nil)
        #expect(podman.volumes.tellMade("a") == nil)
        #expect(podman.volumes.tellMade(all: ["a", "b", "c"]).isEmpty)
        #expect(try podman.known() == ["a": "berth", "b": "berth", "c": "berth"])
        #expect(podman.volumes.differences(["a", "b", "c"]).isEmpty)
        #expect(podman.volumes.knows("b") && !podman.volumes.knows("d"))
        #expect(podman.volumes.tellRemoved("b") == nil)
        #expect(try podman.known() == ["a": "berth", "c": "berth"])
        // It forgets the volumes of every plugin that does not answer.
        #expect(try podman.asked().allSatisfy { !$0.contains("reload") })
    }

    @Test("a volume of podman's own with the same name is named, and is neither removed nor taken for ours")
    func conflict() throws {
        let podman = try ScriptedPodman(ScriptedPodman.faithful)
        try podman.know("a.b", "local")
        try podman.know("n", "other")
        try podman.know("axb", "berth")
        let own = podman.volumes.tellMade("a.b")
        #expect(own?.message.contains("of its own") == true && own?.fix?.contains("podman volume export a.b") == true)
        #expect(podman.volumes.tellMade("n")?.message.contains("of plugin other") == true)
        #expect(podman.volumes.differences(["a.b", "n", "axb", "z"]).count == 3)
        #expect(!podman.volumes.knows("a.b") && !podman.volumes.knows("n"))
        #expect(podman.volumes.tellMade(all: ["a.b", "axb"]).count == 1)
        #expect(try podman.known() == ["a.b": "local", "n": "other", "axb": "berth"])
    }

    @Test(
        "podman is not started where it is not told of the plugin, and asked for nothing where the plugin does not run")
    func notSetUp() throws {
        let bare = try ScriptedPodman(ScriptedPodman.faithful, isRegistered: false)
        #expect(bare.volumes.tellMade("a") == nil && bare.volumes.differences(["a"]).isEmpty && !bare.volumes.isInUse)
        #expect(try bare.asked().isEmpty)
        let dead = try ScriptedPodman(ScriptedPodman.faithful, isPluginThere: false)
        #expect(dead.volumes.tellMade("a")?.fix?.contains("berth serve --detach") == true)
        #expect(try dead.asked().isEmpty)
        try dead.know("a", "local")
        let found = dead.volumes.differences(["a", "b"])
        #expect(found.count == 1 && found.first?.fix?.contains("berth serve --detach") == true)
    }

    @Test("a podman that is slow, broken or talks nonsense is given up on, and what to do is said")
    func broken() throws {
        for script in [
            "exec sleep 60", "exit 1", "kill -9 $$", "echo; echo x; echo a b c; exit 0", "echo Error: no >&2; exit 125",
        ] {
            let podman = try ScriptedPodman(script)
            let deadline = Deadline(after: .seconds(1))
            let start = ContinuousClock.now
            let made = podman.volumes.tellMade("a", until: deadline)
            let all = podman.volumes.tellMade(all: ["a", "b"], within: .milliseconds(500))
            let differences = podman.volumes.differences(["a"], within: .milliseconds(500))
            #expect(ContinuousClock.now - start < .seconds(20), "\(script)")
            guard !script.hasSuffix("exit 0") else { continue }
            #expect(
                made?.fix?.contains("podman volume create --driver berth a") == true,
                "\(script): \(made?.message ?? "")")
            #expect(script == "exec sleep 60" || all.count == 2, "\(script)")
            #expect(!differences.isEmpty, "\(script)")
        }
        let absent = try ScriptedPodman("exit 0")
        let volumes = EngineVolumes(absent.site.paths, environment: ["PATH": "/nonexistent"])
        // Where the machine has a podman of its own, that one is found in the usual places.
        if Spawn.find("podman", path: "/nonexistent") == nil { #expect(volumes.tellMade("a") == nil) }
    }
}
