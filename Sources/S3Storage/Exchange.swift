import CCurl
import Glibc
import Metrics

/// One request and what came back.
struct HTTPRequest {
    enum Method: String {
        case get = "GET"
        case head = "HEAD"
        case put = "PUT"
        case delete = "DELETE"
    }

    var method: Method
    var url: String
    var headers: [String: String]
    /// Stays valid as long as the request runs.
    var body: UnsafeRawBufferPointer?
    /// Where the body of a 206, or of a 200 of that length, goes. Other bodies are collected.
    var target: UnsafeMutableRawBufferPointer?
    /// Counts the bytes of both bodies as they come and go.
    var meter: StoreMeter
    /// Over all, for a request that makes progress.
    var timeout: Duration
    /// What its body and its reply's may take of the network; nil: all there is.
    var rate: RequestRate?
    /// Looked at while it runs.
    var isAbandoned: @Sendable () -> Bool = { false }
}

struct HTTPReply {
    var status = 0
    /// Names in lower case.
    var headers: [String: String] = [:]
    var body: [UInt8] = []
    /// Bytes in the request's target.
    var received = 0
}

/// Why no whole reply came.
struct TransferFailure: Error {
    var code: CURLcode
    var words: String

    /// Whether another try may go better.
    var isPassing: Bool {
        switch code {
        case CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE,
            CURLE_SSL_CERTPROBLEM, CURLE_OUT_OF_MEMORY, CURLE_FAILED_INIT, CURLE_SSL_ENGINE_NOTFOUND:
            false
        default: true
        }
    }

    var isAboutTrust: Bool {
        code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM
    }
}

/// What libcurl's callbacks work on while one request runs.
///
/// Invariants
/// - At most `target.count` bytes are written to the target, and `bodyLimit` bytes kept otherwise: more ends the
///   transfer.
final class Exchange {
    /// A page of a listing: 1,000 keys of at most 1 KiB, and what stands around them.
    private static let bodyLimit = 4 << 20

    private let request: HTTPRequest
    var isAbandoned: Bool { request.isAbandoned() }
    private(set) var reply = HTTPReply()
    private var sent = 0

    init(_ request: HTTPRequest) {
        self.request = request
    }

    /// One line of headers. A status line starts anew: what came before was "100 Continue", or a proxy's.
    func take(header line: UnsafeRawBufferPointer) {
        let text = String(decoding: line, as: UTF8.self)
        if text.hasPrefix("HTTP/") {
            reply = HTTPReply()
            let words = text.split(separator: " ")
            reply.status = words.count > 1 ? Int(words[1].prefix { $0.isNumber }) ?? 0 : 0
            return
        }
        guard let colon = text.firstIndex(of: ":") else { return }
        let value = text[text.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
        let end = value.lastIndex { !$0.isWhitespace }.map { value.index(after: $0) } ?? value.startIndex
        reply.headers[text[..<colon].lowercased()] = String(value[..<end])
    }

    /// Part of a body. Answers how much was taken; anything but all of it ends the transfer.
    func take(body bytes: UnsafeRawBufferPointer) -> Int {
        guard request.rate?.takeDown(bytes.count, unless: request.isAbandoned) ?? true else { return 0 }
        request.meter.countReceived(bytes.count)
        guard let target = request.target, isForTarget(target.count) else {
            guard reply.body.count + bytes.count <= Self.bodyLimit else { return 0 }
            reply.body.append(contentsOf: bytes)
            return bytes.count
        }
        guard reply.received + bytes.count <= target.count else { return 0 }
        UnsafeMutableRawBufferPointer(rebasing: target[reply.received...]).copyMemory(from: bytes)
        reply.received += bytes.count
        return bytes.count
    }

    private func isForTarget(_ count: Int) -> Bool {
        reply.status == 206 || (reply.status == 200 && reply.headers["content-length"] == String(count))
    }

    /// Fills libcurl's buffer with what is still to be sent; nil ends the transfer.
    func give(_ buffer: UnsafeMutableRawBufferPointer) -> Int? {
        guard let body = request.body else { return 0 }
        let count = min(buffer.count, body.count - sent)
        guard count > 0 else { return 0 }
        guard request.rate?.takeUp(count, unless: request.isAbandoned) ?? true else { return nil }
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: body[sent..<sent + count]))
        sent += count
        request.meter.countSent(count)
        return count
    }

    /// libcurl sends again where a kept connection was gone already.
    func rewind(to offset: Int) -> Bool {
        guard offset >= 0, offset <= request.body?.count ?? 0 else { return false }
        sent = offset
        return true
    }
}
