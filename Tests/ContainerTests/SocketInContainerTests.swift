import LinuxSystem
import TestSupport
import Testing

/// A container with the runtime directory bound in: what its programs can say to our sockets.
@Suite("sockets in a container", .serialized)
struct SocketInContainerTests {
    /// Sends each request on a connection of its own, as the protocol has it, and prints the replies.
    private static let asker = """
        import json, socket, sys
        for text in sys.argv[2:]:
            c = socket.socket(socket.AF_UNIX); c.connect(sys.argv[1]); c.settimeout(20)
            body = text.encode(); c.send(len(body).to_bytes(4, 'big') + body)
            head = c.recv(4); data = b''
            while len(data) < int.from_bytes(head, 'big'): data += c.recv(65536)
            print(list(json.loads(text))[0], data.decode())
        """

    @Test(
        "a container with the runtime directory is refused what would give it the user's files",
        arguments: Machine.runtimes)
    func refused(_ machine: Machine) throws {
        let host = try PodmanHost(machine)
        let text = try host.run(
            """
            cat > ask.py <<'END'
            \(Self.asker)
            END
            mkdir -m 700 $HOME/.ssh; echo private-key > $HOME/.ssh/id
            podman volume create --driver berth data >/dev/null
            $RUN -v data:/data $IMAGE sh -c 'echo kept > /data/f'
            mkdir hm; berth mount data hm >/dev/null
            inside="$RUN -v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro -v $PWD/ask.py:/ask.py:ro -v $XDG_RUNTIME_DIR/berth:/r"
            import="{\\"importData\\":{\\"_0\\":{\\"source\\":\\"file://$HOME/.ssh\\",\\"options\\":\\"\\",\\"place\\":[120],\\"isArchive\\":false}}}"
            $inside $IMAGE /usr/bin/python3 /ask.py /r/servers/$(basename $XDG_RUNTIME_DIR/berth/servers/data@*.sock) "$import" '{"restart":{}}' \\
                '{"collect":{"dryRun":false}}' '{"copy":{"name":"x.db"}}' '{"stop":{"seconds":0}}' '{"sync":{}}'
            echo == ; ls hm; cat hm/f
            for verb in Create Remove Mount; do
                $inside $IMAGE /usr/bin/python3 -c "
            import socket
            c = socket.socket(socket.AF_UNIX); c.connect('/r/plugin.sock'); body = '{\\"Name\\":\\"data\\",\\"ID\\":\\"x\\"}'
            c.send(('POST /VolumeDriver.$verb HTTP/1.1\\\\r\\\\nHost: plugin\\\\r\\\\nContent-Length: %d\\\\r\\\\n\\\\r\\\\n%s' % (len(body), body)).encode())
            print(c.recv(65536).decode().split()[1])"
            done
            berth volume ls | grep -c data; berth umount hm
            """)
        let parts = text.components(of: "==\n")
        let replies = parts[0].split(separator: "\n")
        for (request, line) in zip(["importData", "restart", "collect", "copy", "stop"], replies) {
            #expect(line.hasPrefix("\(request) "), "\(text)")
            #expect(line.contains("inside a container"), "\(line)")
        }
        #expect(replies.last == "sync {\"done\":{}}", "\(text)")
        #expect(parts.last == "f\nkept\n403\n403\n403\n1", "\(text)")
    }

    @Test("a program in a user namespace of its own is refused, and may attach")
    func ownNamespace() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create data >/dev/null; berth mount data m >/dev/null; echo kept > m/f")
        let outcome = try site.shell.attempt("unshare -Ur berth sync data --wait; unshare -Ur berth evict data")
        #expect(outcome.end != .exited(0))
        #expect(outcome.errors.contains("inside a container or another user namespace"), "\(outcome)")
        #expect(
            try site.shell.run("berth run --volume data:\(site.directory)/seen -- cat \(site.directory)/seen/f")
                == "kept")
        #expect(try site.shell.run("berth sync data; cat m/f; berth umount m").contains("kept"))
    }
}

extension String {
    fileprivate func components(of separator: String) -> [String] {
        var parts: [String] = []
        var rest = self[...]
        while let range = rest.firstRange(of: separator) {
            parts.append(String(rest[..<range.lowerBound]))
            rest = rest[range.upperBound...]
        }
        return parts + [String(rest)]
    }
}
