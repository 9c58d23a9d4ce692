import FileModel
import LinuxSystem

/// How a volume's bucket is asked. No keys: those are in the user's own files or environment.
public struct BucketOptions: Equatable, Sendable, Codable {
    static let scheme = "s3://"

    /// `https://host:port`; nil: the environment's, else Amazon's.
    public var endpoint: String?
    public var region: String?
    /// Nil: what suits the endpoint.
    public var isPathStyle: Bool?
    /// The section of the user's files of keys; nil: $AWS_PROFILE, or "default".
    public var profile: String?
    /// A file of CAs to trust.
    public var certificates: String?
    /// Bytes a second to the bucket and from it, over all connections; nil: all there is.
    public var uploadLimit: UInt64?
    public var downloadLimit: UInt64?

    /// Whether the bucket may be asked without encryption on the way; nil: only on this machine.
    public var isInsecure: Bool?

    public init() {}

    /// False for a word that is not about buckets.
    mutating func set(_ key: String, _ value: String) throws(SystemFailure) -> Bool {
        switch key {
        case "endpoint": endpoint = try Self.endpoint(value)
        case "region":
            guard Self.isName(value) else { throw VolumeOptions.bad(key, value, "is not a region, such as eu-west-1") }
            region = value
        case "path-style":
            isPathStyle = try VolumeOptions.truth(key, value)
        case "insecure": isInsecure = try VolumeOptions.truth(key, value)
        case "profile":
            guard !value.isEmpty, value.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F && $0 != 0x5D }) else {
                throw VolumeOptions.bad(key, value, "is not a profile's name")
            }
            profile = value
        case "ca-file":
            guard value.hasPrefix("/"), value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
                throw VolumeOptions.bad(key, value, "is not an absolute path")
            }
            certificates = value
        case "upload-limit": uploadLimit = try Self.rate(key, value)
        case "download-limit": downloadLimit = try Self.rate(key, value)
        default: return false
        }
        return true
    }

    var words: [String: String] {
        var words: [String: String] = [:]
        words["endpoint"] = endpoint
        words["region"] = region
        words["path-style"] = isPathStyle.map { "\($0)" }
        words["insecure"] = isInsecure.map { "\($0)" }
        words["profile"] = profile
        words["ca-file"] = certificates
        words["upload-limit"] = uploadLimit.map(String.init)
        words["download-limit"] = downloadLimit.map(String.init)
        return words
    }

    /// Less would let a request of one pack take a quarter of an hour.
    private static let slowestRate: UInt64 = 64 << 10

    private static func rate(_ key: String, _ value: String) throws(SystemFailure) -> UInt64 {
        let rate = try VolumeOptions.bytes(value, key: key)
        guard rate >= slowestRate else { throw VolumeOptions.bad(key, value, "is less than 64K a second") }
        return rate
    }

    /// An `http` or `https` URL of a host. A slash at its end is dropped.
    private static func endpoint(_ value: String) throws(SystemFailure) -> String {
        let text = value.hasSuffix("/") ? String(value.dropLast()) : value
        guard let scheme = ["https://", "http://"].first(where: { text.hasPrefix($0) }) else {
            throw VolumeOptions.bad("endpoint", value, "is not an https:// or http:// URL")
        }
        let host = text.dropFirst(scheme.utf8.count)
        // No path, no query, and above all no user and password: the record is no place for them.
        guard !host.isEmpty, host.allSatisfy({ isHostLetter($0) }) else {
            throw VolumeOptions.bad("endpoint", "\(scheme)…", "must name a host and perhaps a port, and nothing more")
        }
        return text
    }

    private static func isHostLetter(_ letter: Character) -> Bool {
        letter.isASCII && (letter.isLetter || letter.isNumber || ".-_:[]".contains(letter))
    }

    private static func isName(_ text: String) -> Bool {
        !text.isEmpty && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") }
    }

    /// `s3://bucket` or `s3://bucket/prefix`, of letters that every service takes.
    static func checked(store value: String) throws(SystemFailure) -> String {
        let parts = value.dropFirst(scheme.utf8.count).parts(at: "/")
        let isBucket = parts.first.map(isBucketName) ?? false
        // One slash at the end is how many write it.
        let names = parts.dropFirst().last == "" ? parts.dropFirst().dropLast() : parts.dropFirst()
        guard isBucket, names.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." && $0.allSatisfy(isKeyLetter) })
        else {
            throw VolumeOptions.bad(
                "store", value,
                "is not s3://bucket/prefix with a bucket of 3 to 63 characters, and letters, digits, . _ - only")
        }
        return value
    }

    static func isBucketName(_ text: Substring) -> Bool {
        (3...63).contains(text.count) && text.allSatisfy(isKeyLetter)
    }

    private static func isKeyLetter(_ letter: Character) -> Bool {
        letter.isASCII && (letter.isLetter || letter.isNumber || "._-".contains(letter))
    }
}

extension VolumeOptions {
    /// Refuses an endpoint without encryption on another machine, unless the user wants that.
    func refuseOpenEndpoint() throws(SystemFailure) {
        guard let bucket, bucket.isInsecure != true, let endpoint = bucket.endpoint,
            LoopbackAddress.isOpen(endpoint: endpoint)
        else { return }
        throw SystemFailure(
            "option endpoint=\(endpoint)", "has no encryption: who is on the way reads and changes what is stored",
            fix: "write https://, or add insecure=true where that is meant", status: .usage)
    }
}
