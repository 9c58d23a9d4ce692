import LinuxSystem
import Logging

/// Tells Prometheus, on a unix socket of the user's and, where it was asked for, on a loopback address.
public final class MetricsServer: Sendable {
    private static let threads = 2

    private let services: [HTTPService]

    /// Starts to serve a listening unix socket, and a bound one of the loopback. `text` is asked for each scrape.
    public init(
        _ socket: consuming FileDescriptor, loopback: consuming FileDescriptor?, contentType: String, userID: UInt32,
        logger: Logger, text: @escaping @Sendable () -> String
    ) throws(SystemFailure) {
        let responder = MetricsResponder(contentType: contentType, text: text)
        var services = [
            try HTTPService(
                socket, named: "the metrics socket", threads: Self.threads, responder: responder, userID: userID,
                logger: logger)
        ]
        if let address = loopback.take() {
            services.append(
                try HTTPService(
                    address, named: "the metrics address", threads: Self.threads, responder: responder, userID: nil,
                    logger: logger))
        }
        self.services = services
    }

    public func stop() {
        for service in services { service.stop() }
    }
}

private struct MetricsResponder: HTTPResponder {
    let contentType: String
    let text: @Sendable () -> String

    func respond(method: String, path: String, body: [UInt8], peer: PeerProcess?) -> PluginResponse {
        guard path == "/metrics" || path.hasPrefix("/metrics?") else {
            return plain(404, "\(path.prefix(200)): is not here; ask for /metrics\n")
        }
        guard method == "GET" else { return plain(405, "/metrics: is asked with \(method); use GET\n") }
        return PluginResponse(status: 200, body: Array(text().utf8), contentType: contentType)
    }

    private func plain(_ status: Int, _ words: String) -> PluginResponse {
        PluginResponse(status: status, body: Array(words.utf8), contentType: "text/plain; charset=utf-8")
    }
}
