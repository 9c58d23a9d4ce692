import FileModel
import Glibc
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
            ], userID: 1000)
        #expect(paths.configuration == "/c/berth")
        #expect(paths.containersConfiguration == "/c/containers/containers.conf")
        #expect(paths.data == "/h/.local/share/berth")
        #expect(paths.cache == "/h/.cache/berth")
        #expect(paths.pluginSocket == "/r/berth/plugin.sock")
        #expect(paths.volume("x").controlSocket == "/r/berth/servers/x.sock")
    }

    @Test("without XDG_RUNTIME_DIR and /run/user the runtime directory is /tmp/berth-UID; BERTH_RUNTIME_DIR beats all")
    func runtime() {
        #expect(SitePaths(environment: ["HOME": "/h"], userID: 4_000_000).runtime == "/tmp/berth-4000000")
        let chosen = SitePaths(environment: ["BERTH_RUNTIME_DIR": "/b", "XDG_RUNTIME_DIR": "/r"], userID: 1)
        #expect(chosen.runtime == "/b")
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

    @Test("root's host mount maps ids one to one")
    func root() {
        #expect(Identity.hostMount(userID: 0, groupID: 0) == .oneToOne)
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
