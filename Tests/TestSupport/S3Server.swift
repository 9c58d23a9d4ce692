import FileModel
import Glibc
import LinuxSystem

/// A real S3 server of the test process, started by the project's own script, and ended with the process.
public struct S3Server: Sendable {
    public static let accessKey = "AKIABERTHTEST"
    public static let secretKey = "berth-test-secret"
    /// May read the bucket "readable", and nothing else.
    public static let readerKey = "AKIABERTHREAD"
    public static let readerSecret = "berth-read-secret"
    public static let bucket = "berth"

    public let directory: String
    public let endpoint: String
    private let options: String

    public var port: Int { Int(endpoint.split(separator: ":").last ?? "") ?? 0 }

    /// One for all tests of the process.
    public static func shared() throws -> S3Server {
        switch made {
        case .success(let server): return server
        case .failure(let error): throw error
        }
    }

    private static let made: Result<S3Server, any Error> = Result {
        let server = try S3Server()
        atexit {
            if case .success(let server) = S3Server.made { server.stop() }
        }
        return server
    }

    /// A server of one's own, to be stopped and started by the caller.
    /// `options` are the server's own.
    public init(options: String = "") throws {
        self.options = options
        directory = try Shell.root.run("d=$(mktemp -d /tmp/berth-s3-XXXXXX) && chmod 755 $d && echo $d")
        endpoint = try Self.start(directory, options)
    }

    private static func start(_ directory: String, _ options: String) throws -> String {
        try Shell.root.run(
            "BERTH_WEED_OPTIONS='\(options)' '\(Programs.packaging("s3-server.sh"))' start '\(directory)'",
            timeout: .seconds(300))
    }

    /// Starts it again, with its data and its address.
    public func start() throws { _ = try Self.start(directory, options) }

    /// Ends it; its data stays.
    public func halt() throws { try Shell.root.run("'\(Programs.packaging("s3-server.sh"))' stop '\(directory)'") }

    /// Ends it and takes its data away.
    public func stop() {
        try? halt()
        FileTree.remove(directory)
    }
}

/// What stands between a client and the server, and does what networks and servers do: see `faulty-proxy.py`.
public final class FaultyProxy: Sendable {
    public let endpoint: String
    /// The file of the authority that its certificate is from, where it speaks TLS. Everybody can read it.
    public let certificates: String
    private let directory: String
    private let process: Int32

    public init(before server: S3Server, tls: Bool = false) throws {
        let script =
            "/" + #filePath.split(separator: "/").dropLast(2).joined(separator: "/") + "/Servers/faulty-proxy.py"
        let directory = try Shell.root.run("d=$(mktemp -d /tmp/berth-proxy-XXXXXX) && chmod 755 $d && echo $d")
        certificates = "\(directory)/cert.pem"
        if tls {
            try Shell.root.run(
                "cd '\(directory)' && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>&1 && chmod 644 cert.pem"
            )
        }
        let words = tls ? "cert.pem key.pem" : ""
        let text = try Shell.root.run(
            "cd '\(directory)'; exec setsid /usr/bin/python3 '\(script)' \(server.port) '\(directory)' \(words) </dev/null >log 2>&1 & echo $!"
        )
        guard let process = Int32(text) else { throw TestFailure("no pid: \(text)") }
        self.directory = directory
        self.process = process
        var port = ""
        try eventually("the proxy listens") {
            port = String(decoding: try AtomicFile.read("\(directory)/port") ?? [], as: UTF8.self)
            return !port.isEmpty
        }
        endpoint = tls ? "https://localhost:\(port)" : "http://127.0.0.1:\(port)"
    }

    deinit {
        // The group: the shell that started it waits for it.
        kill(-process, SIGTERM)
        kill(process, SIGTERM)
        FileTree.remove(directory)
    }

    /// What happens to the next requests: lines of `METHOD FAULT COUNT`. Forgets the requests seen so far.
    public func set(_ faults: String) throws {
        unlink("\(directory)/requests")
        unlink("\(directory)/traffic")
        try AtomicFile.replace("\(directory)/faults", Array(faults.utf8))
    }

    /// Bytes of bodies since the last `set`: what clients sent, and what they were sent.
    public func traffic() throws -> (sent: UInt64, received: UInt64) {
        let bytes = try AtomicFile.read("\(directory)/traffic", limit: 16 << 20) ?? []
        let numbers = String(decoding: bytes, as: UTF8.self).split(separator: "\n").map {
            $0.split(separator: " ").dropFirst().map { UInt64($0) ?? 0 }
        }
        return (numbers.reduce(0) { $0 + $1[0] }, numbers.reduce(0) { $0 + $1[1] })
    }

    /// The requests since the last `set`, as `METHOD PATH STATUS FAULTS`.
    public func requests() throws -> [String] {
        let bytes = try AtomicFile.read("\(directory)/requests", limit: 16 << 20) ?? []
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}
