import Control
import FileModel
import LinuxSystem
import TestSupport
import Testing

@testable import LinuxSystem
@testable import Volumes

/// What is decided without a mount: paths, requests, binds, ids.
@Suite("paths and binds")
struct ContainerPathTests {
    @Test(
        "paths that no runtime can use are refused in one line that names the cause",
        arguments: [
            ("", "not absolute"), ("data", "not absolute"), ("/", "root directory"), ("///", "root directory"),
            ("/a/../b", "\"..\""), ("/..", "\"..\""), ("/a:b", "\":\""), ("/a,b", "\",\""), ("/a\\b", "\"\\\""),
            ("/a\nb", "control character"), ("/a\0b", "control character"), ("/a//b", "empty part"),
            ("/./a", "empty part"), ("/proc/x", "kernel's"), ("/dev", "kernel's"),
            ("/" + String(repeating: "n", count: 256), "255 bytes"), ("/x\u{0600}/../etc", "\"..\""),
            ("/\u{0301}/../etc", "\"..\""),
            ("/a:\u{0301}b", "\":\""), ("/a/.\u{0301}/../b", "\"..\""), ("/a/\u{0301}/./b", "\".\""),
        ])
    func refused(path: String, cause: String) throws {
        let failure = #expect(throws: SystemFailure.self) { try ContainerPath(path) }
        #expect(failure?.message.contains(cause) == true, "\(failure?.message ?? "")")
        #expect(failure?.message.contains("\n") == false)
        #expect(failure?.status == .usage)
    }

    @Test("slashes at the end are taken off, and what looks alike is not inside")
    func normalized() throws {
        #expect(try ContainerPath("/data//").description == "/data")
        #expect(try ContainerPath("/data").contains(try ContainerPath("/data/x")))
        #expect(try !ContainerPath("/data").contains(try ContainerPath("/data2")))
        #expect(try !ContainerPath("/data").contains(try ContainerPath("/data")))
    }

    @Test("requests are NAME[:/PATH][:ro]")
    func requests() throws {
        #expect(try VolumeRequest("a") == VolumeRequest("a:rw"))
        let whole = try VolumeRequest("a:/x/:ro")
        #expect(whole.name == "a" && whole.path?.description == "/x" && whole.readOnly)
        #expect(throws: SystemFailure.self) { try VolumeRequest("a:/x:/y") }
        #expect(throws: SystemFailure.self) { try VolumeRequest("a:x") }
        // A letter that combines with the separator: not one word with a strange name.
        #expect(throws: SystemFailure.self) { try VolumeRequest("a:\u{0301}/x") }
        #expect(try VolumeRequest("a:/\u{0301}x:ro").path?.description == "/\u{0301}x")
    }

    @Test("a task for berth-hook is read back as it was written")
    func task() throws {
        let task = RunTask(places: [
            .init(volume: "a", socket: "/s/a", path: try ContainerPath("/a"), readOnly: true),
            .init(volume: "b", socket: "/s/b", path: try ContainerPath("/b"), readOnly: false),
        ])
        #expect(RunTask(arguments: task.arguments + ["sh"]) == task)
        #expect(RunTask(arguments: task.arguments) == nil)
        #expect(RunTask(arguments: ["run", "9223372036854775807", "--", "x"]) == nil)
        #expect(RunTask(arguments: ["mount", "a", "/a", "rw"]) == nil)
    }

    private func bind(_ path: String) throws -> Bind {
        Bind(source: "/r/host/a", path: try ContainerPath(path), readOnly: false)
    }

    @Test("binds are added to what the variables hold, once, and taken out again")
    func variables() throws {
        let first = BindVariables(["SINGULARITY_BIND": "/x:/y:ro,/z"])
        let added = try first.adding([try bind("/data")], ours: "/r/host").compactMapValues { $0 }
        // Apptainer reads SINGULARITY_BIND only where APPTAINER_BIND is unset.
        #expect(added["APPTAINER_BIND"] == "/x:/y:ro,/z,/r/host/a:/data")
        #expect(added["SINGULARITY_BIND"] == "/x:/y:ro,/z,/r/host/a:/data")
        let again = try BindVariables(added).adding([try bind("/data")], ours: "/r/host").compactMapValues { $0 }
        #expect(again["APPTAINER_BIND"] == added["APPTAINER_BIND"])
        let removed = BindVariables(added).removing(ours: "/r/host").compactMapValues { $0 }
        #expect(removed == ["SINGULARITY_BIND": "/x:/y:ro,/z"])
    }

    @Test(
        "a runtime directory that a bind cannot carry is refused",
        arguments: ["/r:x", "/r,x", "/r\\x", "/r:\u{0301}x", "/r,\u{0301}x"])
    func unusable(prefix: String) throws {
        let failure = #expect(throws: SystemFailure.self) {
            let bind = Bind(source: "\(prefix)/a", path: try ContainerPath("/data"), readOnly: false)
            return try BindVariables([:]).adding([bind], ours: prefix)
        }
        #expect(failure?.message.contains("BERTH_RUNTIME_DIR") == true)
    }

    @Test("options of an image bind stay with it")
    func imageBinds() throws {
        let variables = BindVariables(["APPTAINER_BIND": "/i.sqsh:/i:image-src=/,id=2,/b"])
        let added = try variables.adding([try bind("/data")], ours: "/r/host").compactMapValues { $0 }
        #expect(added["APPTAINER_BIND"] == "/i.sqsh:/i:image-src=/,id=2,/b,/r/host/a:/data")
    }

    @Test(
        "a bind of something else for the same path is refused and both are named",
        arguments: ["APPTAINER_BIND", "SINGULARITY_BIND", "APPTAINER_BINDPATH"])
    func taken(variable: String) throws {
        let variables = BindVariables([variable: "/tmp:/data/"])
        let failure = #expect(throws: SystemFailure.self) {
            try variables.adding([try bind("/data")], ours: "/r/host")
        }
        #expect(failure?.message.contains("/tmp:/data/ already") == true)
        #expect(failure?.message.contains("/r/host/a:/data wants") == true)
    }

    @Test("ids of a user namespace are put before the host's")
    func identity() {
        let host = IdentityMap(ranges: [
            .init(session: 1001, volume: 0, count: 1), .init(session: 100000, volume: 1, count: 65536),
        ])
        let fakeroot = NamespaceIDs(text: "         0       1001          1\n         1     100000      65536\n")
        #expect(fakeroot.outside(0) == 1001)
        let inside = fakeroot.inside(host)
        #expect(inside.volumeID(0) == 0 && inside.volumeID(1) == 1 && inside.volumeID(65536) == 65536)
        #expect(inside.volumeID(65537) == nil)
        let same = NamespaceIDs(text: "1001 1001 1").inside(host)
        #expect(same.volumeID(1001) == 0 && same.volumeID(0) == nil && same.sessionID(5) == IdentityMap.overflowID)
        #expect(NamespaceIDs(text: "0 0 4294967295").inside(host) == host)
    }

    @Test("what refuses user namespaces is named")
    func refusals() {
        func message(_ limit: Int?, _ unprivileged: Int?, _ restricted: Int?) -> String {
            PrivateNamespaces.refusal(
                "cannot be made", .notPermitted, limit: limit, unprivileged: unprivileged, restricted: restricted
            ).message
        }
        #expect(message(0, nil, nil).contains("user.max_user_namespaces is 0"))
        #expect(message(9, 0, nil).contains("kernel.unprivileged_userns_clone is 0"))
        #expect(message(9, 1, 1).contains("AppArmor"))
    }
}
