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

    /// Connects, goes where a container is, leaves the connection to a child, and ends; then a process of the host gets its
    /// number, and the child asks. Prints the status.
    private static let successor = """
        import os, signal, socket, sys
        def host(number):
            for _ in range(500):
                open('/proc/sys/kernel/ns_last_pid', 'w').write(str(number - 1))
                pid = os.fork()
                if pid == 0: signal.pause()
                if pid == number: return pid
                os.kill(pid, 9); os.waitpid(pid, 0)
            sys.exit('the number was not to be had')
        go, answer = os.pipe(), os.pipe()
        first = os.fork()
        if first == 0:
            c = socket.socket(socket.AF_UNIX); c.connect(sys.argv[1]); os.chroot(sys.argv[2]); c.settimeout(20)
            if os.fork(): os._exit(0)
            os.read(go[0], 1)
            c.send(b'POST /VolumeDriver.Create HTTP/1.1\\r\\nHost: p\\r\\nContent-Length: 12\\r\\n\\r\\n{"Name":"p"}')
            os.write(answer[1], c.recv(65536).split()[1]); os._exit(0)
        os.waitpid(first, 0)
        pid = host(first)
        os.write(go[1], b'g'); print(os.read(answer[0], 9).decode())
        os.kill(pid, 9); os.waitpid(pid, 0)
        """

    @Test("who ends and leaves the connection to a child is not taken for the next process of that number")
    func successor() throws {
        let script = "\(directory.path)/ask.py"
        try AtomicFile.replace(script, Array(Self.successor.utf8))
        mkdir("\(directory.path)/root", 0o700)
        let answer = try Shell.root.run("python3 '\(script)' '\(directory.path)/s' '\(directory.path)/root'")
        #expect(answer == "403")
        #expect(try ask("/VolumeDriver.List") == "{\"Volumes\":[]} 200 \(type)")
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
