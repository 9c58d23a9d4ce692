import Crypto
import FileModel
import Glibc

/// Keys for a store. They are never printed: `description` says only where they come from.
public struct S3Credentials: Equatable, Sendable, CustomStringConvertible, CustomDebugStringConvertible {
    let accessKey: String
    let secretKey: String
    let sessionToken: String?
    /// Where they were found, such as a file's path.
    public let source: String

    public init(accessKey: String, secretKey: String, sessionToken: String? = nil, source: String) {
        self.accessKey = accessKey
        self.secretKey = secretKey
        self.sessionToken = sessionToken
        self.source = source
    }

    public var description: String { "the keys of \(source)" }
    public var debugDescription: String { description }
}

/// AWS Signature Version 4, for requests whose body's hash is known before they are sent.
///
/// After https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, whose examples are tests.
struct RequestSignature {
    static let emptyBodyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    let credentials: S3Credentials
    let region: String
    /// Seconds since 1970, UTC.
    let time: Int

    /// The headers to add to a request so that the store believes it, in lower case. `headers` are those to be signed
    /// beside them, `host` among them; `path` is encoded already, `query` is not.
    func headers(
        method: String, path: String, query: [(name: String, value: String)], headers: [String: String],
        bodyHash: String
    ) -> [String: String] {
        let stamp = Self.timestamp(time)
        let scope = "\(stamp.prefix(8))/\(region)/s3/aws4_request"
        var added = ["x-amz-date": stamp, "x-amz-content-sha256": bodyHash]
        if let token = credentials.sessionToken { added["x-amz-security-token"] = token }
        let signed = headers.merging(added) { _, new in new }.sorted { $0.key < $1.key }
        let names = signed.map(\.key).joined(separator: ";")
        let canonical = [
            method, path, Self.query(query), signed.map { "\($0.key):\($0.value)\n" }.joined(), names, bodyHash,
        ].joined(separator: "\n")
        let text = "AWS4-HMAC-SHA256\n\(stamp)\n\(scope)\n\(Self.hash(Array(canonical.utf8)))"
        added["authorization"] =
            "AWS4-HMAC-SHA256 Credential=\(credentials.accessKey)/\(scope),SignedHeaders=\(names),"
            + "Signature=\(signature(of: text, day: String(stamp.prefix(8))))"
        return added
    }

    private func signature(of text: String, day: String) -> String {
        var key = SymmetricKey(data: Array("AWS4\(credentials.secretKey)".utf8))
        for part in [day, region, "s3", "aws4_request"] {
            key = SymmetricKey(data: HMAC<SHA256>.authenticationCode(for: Array(part.utf8), using: key))
        }
        return Self.hexadecimal(HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: key))
    }

    static func hash(_ bytes: [UInt8]) -> String { hexadecimal(SHA256.hash(data: bytes)) }

    static func hash(_ bytes: UnsafeRawBufferPointer) -> String {
        var hash = SHA256()
        hash.update(bufferPointer: bytes)
        return hexadecimal(hash.finalize())
    }

    private static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for byte in bytes { text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]] }
        return String(decoding: text, as: UTF8.self)
    }

    /// The query as it is signed and sent: names and values encoded, sorted by name.
    static func query(_ query: [(name: String, value: String)]) -> String {
        query.map { (encode($0.name), encode($0.value)) }.sorted { $0.0 < $1.0 }
            .map { "\($0.0)=\($0.1)" }.joined(separator: "&")
    }

    /// Percent-encodes all but letters, digits and "-._~", and the slash where it is part of a path.
    static func encode(_ text: String, isPath: Bool = false) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var result: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: result.append(byte)
            case 0x2F where isPath: result.append(byte)
            default: result += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// `20130524T000000Z`
    static func timestamp(_ time: Int) -> String {
        var time = time_t(time)
        var parts = tm()
        gmtime_r(&time, &parts)
        var buffer = [CChar](repeating: 0, count: 32)
        let count = strftime(&buffer, buffer.count, "%Y%m%dT%H%M%SZ", &parts)
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
