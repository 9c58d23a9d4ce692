import Glibc
import LinuxSystem
import Logging
import Synchronization
import TestSupport
import Testing
import VolumePlugin

/// Volumes in memory.
private final class FakeDriver: VolumeDriver {
    private let names = Mutex<Set<String>>([])

    private func missing(_ name: String) -> SystemFailure {
        SystemFailure("volume \"\(name)\"", "does not exist", status: .noInput)
    }

    func greet(_ peer: PeerCredentials) {}

    func create(_ name: String, _ options: [String: String]) throws(SystemFailure) {
        if options["bad"] != nil { throw SystemFailure("option bad", "is unknown", status: .usage) }
        names.withLock { _ = $0.insert(name) }
    }

    func remove(_ name: String) throws(SystemFailure) {
        guard names.withLock({ $0.remove(name) }) != nil else { throw missing(name) }
    }

    func mount(_ name: String, peer: PeerCredentials) throws(SystemFailure) -> String {
        guard peer.processID > 0 else { throw missing("peer") }
        return try volume(name).mountpoint
    }

    func unmount(_ name: String, peer: PeerCredentials) {}

    func volume(_ name: String) throws(SystemFailure) -> PluginVolume {
        guard names.withLock({ $0.contains(name) }) else { throw missing(name) }
        return PluginVolume(name: name, mountpoint: "/m/\(name)", createdAt: "2026-01-01T00:00:00Z", status: [:])
    }

    func volumes() throws(SystemFailure) -> [PluginVolume] {
        try names.withLock { Array($0) }.map { name throws(SystemFailure) in try volume(name) }
    }
}

@Suite("the volume plugin", .serialized)
final class PluginTests {
    private let directory = TemporaryDirectory()
    private let server: PluginServer

    init() throws {
        server = try PluginServer(
            try UnixSocket.listen(at: directory.path + "/s"), driver: FakeDriver(), userID: geteuid(),
            host: HostView.own(), logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
    }

    deinit { server.stop() }

    /// The body and the status.
    private func ask(_ path: String, _ body: String = "", _ more: String = "") throws -> String {
        try Shell.root.run(
            "curl -sS --max-time 20 --unix-socket '\(directory.path)/s' \(more) -w ' %{http_code} %{content_type}' http://plugin\(path) -d '\(body)'"
        )
    }

    private let type = "application/vnd.docker.plugins.v1.1+json"

    @Test("every request of the protocol is answered as Docker and podman expect")
    func protocolRequests() throws {
        #expect(try ask("/Plugin.Activate") == "{\"Implements\":[\"VolumeDriver\"]} 200 \(type)")
        #expect(try ask("/VolumeDriver.Capabilities") == "{\"Capabilities\":{\"Scope\":\"local\"}} 200 \(type)")
        #expect(try ask("/VolumeDriver.Create", "{\"Name\":\"a\"}") == "{} 200 \(type)")
        #expect(try ask("/VolumeDriver.Create", "{\"Name\":\"a\",\"Opts\":{\"size\":\"1G\"}}") == "{} 200 \(type)")
        #expect(try ask("/VolumeDriver.Get", "{\"Name\":\"a\"}").contains("\"Mountpoint\":\"/m/a\""))
        #expect(try ask("/VolumeDriver.List").contains("\"Volumes\":[{"))
        #expect(
            try ask("/VolumeDriver.Mount", "{\"Name\":\"a\",\"ID\":\"x\"}") == "{\"Mountpoint\":\"/m/a\"} 200 \(type)")
        #expect(try ask("/VolumeDriver.Path", "{\"Name\":\"a\"}") == "{\"Mountpoint\":\"/m/a\"} 200 \(type)")
        #expect(try ask("/VolumeDriver.Unmount", "{\"Name\":\"gone\",\"ID\":\"x\"}") == "{} 200 \(type)")
        #expect(try ask("/VolumeDriver.Remove", "{\"Name\":\"a\"}") == "{} 200 \(type)")
    }

    @Test("an error has a status of its own and the reason in Err")
    func errors() throws {
        let cases = [
            ("/VolumeDriver.Get", "{\"Name\":\"no\"}", 404), ("/VolumeDriver.Mount", "{\"Name\":\"no\"}", 404),
            ("/VolumeDriver.Create", "{\"Name\":\"a\",\"Opts\":{\"bad\":\"1\"}}", 400),
            ("/VolumeDriver.Create", "{", 400),
            ("/VolumeDriver.Create", "[]", 400), ("/VolumeDriver.Create", "{\"Name\":1}", 400), ("/Nothing", "{}", 404),
        ]
        for (path, body, status) in cases {
            let answer = try ask(path, body)
            #expect(answer.contains(" \(status) ") && answer.contains("\"Err\":"), "\(path) \(body): \(answer)")
        }
        #expect(
            try Shell.root.run(
                "curl -sS --unix-socket '\(directory.path)/s' -w ' %{http_code}' http://plugin/Plugin.Activate"
            ).hasSuffix(" 405"))
    }

    @Test("callers that hang up early, say nothing, or speak nonsense harm nobody else")
    func hostile() throws {
        let socket = "'\(directory.path)/s'"
        _ = try Shell.root.attempt(
            """
            python3 - <<'END'
            import socket
            held = []
            for text in [b'', b'POST /VolumeDriver.List HTTP/1.1\\r\\n', b'GARBAGE\\r\\n\\r\\n', b'POST /VolumeDriver.List HTTP/1.1\\r\\nContent-Length: 2\\r\\n\\r\\n{}'] * 40:
                s = socket.socket(socket.AF_UNIX); s.connect(\(socket)); s.sendall(text)
                if text.startswith(b'POST') and b'{}' not in text: held.append(s)
                else: s.close()
            END
            """)
        #expect(try ask("/Plugin.Activate").contains(" 200 "))
    }

    @Test("forty requests at once are all answered")
    func concurrent() throws {
        let count = try Shell.root.run(
            "for i in $(seq 40); do curl -sS --max-time 20 --unix-socket '\(directory.path)/s' http://plugin/VolumeDriver.Create -d \"{\\\"Name\\\":\\\"v$i\\\"}\" & done | wc -c; wait"
        )
        #expect(count == "80")
        #expect(try ask("/VolumeDriver.List").split(separator: "Mountpoint").count == 41)
    }
}
