import FileModel
import Glibc
import TestSupport
import Testing

@testable import LinuxSystem

@Suite("What a site tells")
struct SiteTests {
    let user = Account(name: "ann", userID: 1000, groupID: 1000, home: "/home/ann")

    @Test("the XDG variables decide, values that are not absolute are ignored")
    func paths() {
        let paths = SitePaths(
            environment: [
                "HOME": "/h", "XDG_CONFIG_HOME": "/c/", "XDG_DATA_HOME": "relative", "XDG_RUNTIME_DIR": "/r",
            ], userID: 1000, isOwn: { $0 == "/r" })
        #expect(paths.configuration == "/c/berth")
        #expect(paths.containersConfiguration == "/c/containers/containers.conf")
        #expect(paths.data == "/h/.local/share/berth")
        #expect(paths.cache == "/h/.cache/berth")
        #expect(paths.pluginSocket == "/r/berth/plugin.sock")
        #expect(paths.volume("x").controlSocket == "/r/berth/servers/x@\(paths.dataMark).sock")
    }

    @Test("the runtime directory is named as the kernel names it, but for links of others")
    func runtimeBehindLinks() throws {
        let place = TemporaryDirectory()
        let real = place.path
        mkdir("\(real)/h", 0o700)
        symlink("h", "\(real)/link")
        func runtime(_ home: String) -> String {
            SitePaths(
                environment: ["HOME": home], userID: geteuid(),
                node: { NodeIdentity(host: "n", boot: "0123abcd-4567") }, isOwn: { _ in false }
            ).runtime
        }
        let below = "/.local/state/berth/run/n-0123abcd4567"
        #expect(runtime("\(real)/link") == "\(real)/h\(below)")
        mkdir("\(real)/h/.local", 0o700)
        #expect(runtime("\(real)/link") == "\(real)/h\(below)")
        #expect(runtime("\(real)/none") == "\(real)/none\(below)")
        guard geteuid() == 0 else { return }
        lchown("\(real)/link", 12345, 12345)
        #expect(runtime("\(real)/link") == "\(real)/link\(below)")
    }

    @Test("the runtime directory is the user's own on this node, and never one that others can make")
    func runtime() {
        func runtime(_ environment: [String: String], own: [String] = []) -> String {
            SitePaths(
                environment: environment, userID: 7,
                node: {
                    NodeIdentity(host: "gpu-017.cluster.example.org", boot: "0123abcd-4567-89ef-0123-456789abcdef")
                },
                isOwn: { own.contains($0) }
            ).runtime
        }
        let ofNode = "/h/.local/state/berth/run/gpu-017-0123abcd4567"
        #expect(runtime(["HOME": "/h"]) == ofNode)
        #expect(runtime(["HOME": "/h"], own: ["/tmp", "/run/user/7"]) == "/run/user/7/berth")
        #expect(runtime(["HOME": "/h", "XDG_RUNTIME_DIR": "/r"], own: ["/r", "/run/user/7"]) == "/r/berth")
        #expect(runtime(["HOME": "/h", "XDG_RUNTIME_DIR": "/r"], own: ["/run/user/7"]) == "/run/user/7/berth")
        #expect(runtime(["HOME": "/h", "XDG_RUNTIME_DIR": "/tmp/planted"]) == ofNode)
        #expect(
            runtime(["HOME": "/h", "XDG_RUNTIME_DIR": "/tmp/podman-run-7"], own: ["/tmp/podman-run-7"]) == ofNode,
            "nobody but podman looks there")
        #expect(runtime(["HOME": "/h", "XDG_STATE_HOME": "/s"]) == "/s/berth/run/gpu-017-0123abcd4567")
        #expect(runtime(["HOME": "/h", "BERTH_RUNTIME_DIR": "/b", "XDG_RUNTIME_DIR": "/r"], own: ["/r"]) == "/b")
    }

    @Test("a host's name that is hostile or empty makes a plain directory's name")
    func nodeNames() {
        func name(_ host: String) -> String { NodeIdentity(host: host, boot: "ab-cd").directoryName }
        #expect(name("../../etc") == "node-abcd")
        #expect(name("") == "node-abcd")
        #expect(name("a/b c\u{301}") == "abc-abcd")
        #expect(name(String(repeating: "n", count: 200)) == String(repeating: "n", count: 16) + "-abcd")
    }

    @Test("what earlier starts of this host left in the home directory goes, other hosts' stays")
    func nodeSweep() throws {
        let directory = TemporaryDirectory()
        var node = NodeIdentity(host: "n1", boot: "ffff")
        node.machine = "m1"
        let own = "\(directory.path)/n1-ffff"
        for name in ["n1-ffff", "n1-0000", "n2-0000", "n3-0000", "n4-0000"] {
            for part in ["servers", "mnt", "host", "hook"] {
                try SecureDirectory.make("\(directory.path)/\(name)/\(part)")
            }
            #expect(FileManagerless.touch("\(directory.path)/\(name)/servers/v.sock"))
        }
        // Long unused; in the second something may still be mounted.
        #expect(mkdir("\(directory.path)/n4-0000/mnt/v", 0o700) == 0)
        for name in ["n3-0000", "n4-0000"] {
            var old = [timeval(tv_sec: 1, tv_usec: 0), timeval(tv_sec: 1, tv_usec: 0)]
            #expect(utimes("\(directory.path)/\(name)", &old) == 0)
        }
        // An earlier start of this machine; and two that are called like it, and are others.
        for (name, mark) in [("n1-0000", "n1\nm1\n"), ("n2-0000", "n1\nm2\n")] {
            try AtomicFile.replace("\(directory.path)/\(name)/node", Array(mark.utf8))
        }
        RuntimeDirectory.sweep(beside: own, node: node)
        #expect(try FileTree.names(in: directory.path).sorted() == ["n1-ffff", "n2-0000", "n4-0000"])
        #expect(try AtomicFile.read("\(own)/node") == Array("n1\nm1\n".utf8))
        #expect(FileManagerless.exists("\(own)/servers/v.sock"))
    }

    private enum FileManagerless {
        static func touch(_ path: String) -> Bool {
            let number = open(path, O_WRONLY | O_CREAT, 0o600)
            return number >= 0 && close(number) == 0
        }
        static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }
    }

    @Test("socket variables meant for another process are ignored, and a descriptor that is no such socket is refused")
    func activation() throws {
        let others = ["LISTEN_FDS": "1", "LISTEN_PID": "1"]
        switch try SocketActivation.listener(at: "/r/plugin.sock", environment: others, processID: 2) {
        case .some: Issue.record("a descriptor of nobody was taken")
        case .none: break
        }
        #expect(throws: SystemFailure.self) {
            _ = try SocketActivation.listener(
                at: "/r/plugin.sock", environment: ["LISTEN_FDS": "2", "LISTEN_PID": "2"], processID: 2)
        }
    }

    @Test("without HOME the home directory is the account's")
    func home() {
        #expect(SitePaths(environment: [:], userID: 0).home == "/root")
    }

    @Test("subordinate ranges follow one another in the volume's ids")
    func subordinate() {
        let ids = SubordinateIDs(text: "bob:5:5\nann:100000:10\n1000:200000:5\nann:x:y\nann:4294967295:9\n", user: user)
        #expect(ids.ranges.count == 2)
        let map = ids.map(own: 1000)
        #expect(map.volumeID(1000) == 0)
        #expect(map.volumeID(100_009) == 10)
        #expect(map.volumeID(200_000) == 11)
        #expect(map.volumeID(1001) == nil)
    }

    @Test("root's host mount maps ids one to one, and they are the machine's")
    func root() {
        let expected = Identity(users: .oneToOne, groups: .oneToOne, isOfSite: true)
        #expect(Identity.hostMount(userID: 0, groupID: 0) == expected)
    }

    @Test("a mountinfo line is read with its octal escapes and any number of optional fields")
    func mountInfo() throws {
        let line =
            #"36 35 98:0 /mnt1 /mnt\0402\134x rw,noatime master:1 shared:7 - fuse.berth berth:data rw,errors=continue"#
        let info = try #require(MountInfo(line: line))
        #expect(info.mountpoint == #"/mnt 2\x"#)
        #expect(info.propagation == ["master:1", "shared:7"])
        #expect(info.fileSystem == "fuse.berth")
        #expect(info.source == "berth:data")
        #expect(info.superOptions == ["rw", "errors=continue"])
        #expect(MountInfo(line: "36 35 98:0 / /mnt rw - ext4 /dev/sda rw")?.propagation == [])
        #expect(MountInfo(line: "nonsense") == nil)
    }

    @Test("this process's own mounts can be read and one covers every path")
    func ownMounts() throws {
        let mounts = try MountInfo.all()
        #expect(MountInfo.at("/proc", in: mounts)?.fileSystem == "proc")
        #expect(MountInfo.covering("/proc/self/status", in: mounts)?.fileSystem == "proc")
        #expect(MountInfo.covering("/procedure", in: mounts)?.mountpoint == "/")
    }

    @Test("a failure's message is one line: thing, cause, fix")
    func message() {
        let failure = SystemFailure("volume \"x\"", "cannot\nbe opened", Errno(ENOENT), fix: "make it")
        #expect(failure.message == "volume \"x\": cannot\\nbe opened: No such file or directory; make it")
        #expect(failure.status == .noInput)
    }
}
