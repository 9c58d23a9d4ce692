import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

@testable import Control

/// Two users of one machine: who listens, and who asks.
@Suite("who is at the other end")
struct StrangerTests {
    /// A server of the second user's at a place where everybody can connect. It answers whatever comes with words that an
    /// honest server would say, and writes down what it was sent.
    private static let listener = """
        import os, socket, sys
        s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o777); s.listen(8)
        open(sys.argv[2] + '/ready', 'w').close()
        while True:
            c, _ = s.accept(); c.settimeout(2); got = b''
            try:
                while True:
                    data, fds, _, _ = socket.recv_fds(c, 65536, 8)
                    if not data: break
                    got += data + b' descriptors: %d' % len(fds)
                    body = b'{"done":{}}'; c.send(len(body).to_bytes(4, 'big') + body)
            except OSError: pass
            with open(sys.argv[2] + '/got', 'ab') as f: f.write(got)
            c.close()
        """

    @Test("a client sends another user's server nothing, neither a byte nor a descriptor")
    func strangersServer() throws {
        let other = try SecondUser()
        let socket = "\(other.directory)/data.sock"
        let pid = try other.shell.run(
            "cat > l.py <<'END'\n\(Self.listener)\nEND\npython3 l.py \(socket) $PWD >/dev/null 2>&1 & echo $!")
        defer { _ = try? other.shell.attempt("kill \(pid)") }
        try eventually("the stranger listens") { access("\(other.directory)/ready", F_OK) == 0 }
        let failure = #expect(throws: SystemFailure.self) { _ = try ServerClient(socket: socket) }
        #expect(failure?.errno == .notPermitted)
        #expect(failure?.message.contains("user \(SecondUser.name)") == true)
        #expect(throws: SystemFailure.self) { _ = try SupervisorClient(socket: socket) }
        #expect(throws: SystemFailure.self) { _ = try UnixSocket.listen(at: socket) }
        // A connection that the stranger does believe in comes last: all before it has been taken note of by then.
        _ = try other.shell.run(
            "python3 -c 'import socket; c = socket.socket(socket.AF_UNIX); c.connect(\"\(socket)\"); c.send(b\"end\")'")
        try eventually("the stranger has written down what came") {
            try Shell.root.run("cat '\(other.directory)/got' 2>/dev/null || true") == "end descriptors: 0"
        }
    }

    @Test("only who shows the host's root directory and user namespace is of the host")
    func origins() throws {
        let host = try #require(HostView.own())
        let own = try HostView.descriptors()
        let origin = RequestOrigin(host: host)
        #expect(!origin.isHost)
        origin.show(try FileDescriptor.open("/tmp", O_RDONLY))
        origin.show(try FileDescriptor.open("/proc/self/ns/mnt", O_RDONLY))
        origin.show(try FileDescriptor.copy(of: own.first.rawValue))
        origin.show(try FileDescriptor.copy(of: own.first.rawValue))
        #expect(!origin.isHost, "the root directory alone")
        #expect(!origin.namesHostIDs)
        origin.show(try FileDescriptor.copy(of: own.second.rawValue))
        #expect(origin.isHost)
        let elsewhere = RequestOrigin(host: host)
        elsewhere.show(try FileDescriptor.copy(of: own.second.rawValue))
        #expect(elsewhere.namesHostIDs && !elsewhere.isHost, "another root directory, such as an image's")
        let nobody = RequestOrigin(host: nil)
        nobody.show(try FileDescriptor.copy(of: own.first.rawValue))
        nobody.show(try FileDescriptor.copy(of: own.second.rawValue))
        #expect(!nobody.isHost && !nobody.namesHostIDs)
    }

    @Test("what a container may ask is attaching, syncing and whether a session is served")
    func requests() {
        let allowed: [ServerRequest] = [.sync, .introduce, .isServed(session: "s"), .detach(session: "s")]
        for request in allowed { #expect(request.isForContainers, "\(request)") }
        let refused: [ServerRequest] = [
            .status, .stop(seconds: nil), .restart, .mend, .warming(job: 1), .cache, .reload,
            .store(seconds: 1, copy: nil),
            .collect(dryRun: true), .transferring(job: 1), .copy(name: "x.db"), .statistics,
            .importData(ImportOrder(source: "file:///", options: "", place: [], isArchive: false)),
            .exportData(ExportOrder(place: [], isArchive: false)),
        ]
        for request in refused { #expect(!request.isForContainers, "\(request)") }
    }
}
