import FileModel
import LinuxSystem

/// Where a bucket is and how it is asked: what `store=s3://…`, `endpoint=`, `region=` and `path-style=` say.
public struct S3Location: Equatable, Sendable {
    public static let scheme = "s3://"

    public let bucket: String
    /// Between the bucket and an object's name; without slashes at its ends, and empty where there is none.
    public let prefix: String
    /// `https://host:port`, without a slash at the end.
    public let endpoint: String
    public let region: String
    public let isPathStyle: Bool

    /// Nil for a URL or an endpoint that is none. Without an endpoint it is Amazon's.
    public init?(store: String, endpoint: String?, region: String, isPathStyle: Bool?) {
        guard store.startsWithBytes(of: Self.scheme) else { return nil }
        let parts = store.droppingBytes(first: Self.scheme.utf8.count).parts(at: "/")
        guard let bucket = parts.first, Self.isBucket(bucket) else { return nil }
        let prefix = parts.dropFirst().joined(separator: "/")
        guard prefix.isEmpty || ObjectNameRules.isClean(prefix) else { return nil }
        let address = endpoint ?? "https://s3.\(region).amazonaws.com"
        guard let host = Self.host(of: address) else { return nil }
        self.bucket = String(bucket)
        self.prefix = prefix
        self.endpoint = address
        self.region = region
        // Big providers want the bucket in the host's name; what one runs oneself seldom has a name per bucket. A
        // certificate for `*.host` does not cover a bucket with a dot.
        let hasBucketHosts = host.endsWithBytes(of: ".amazonaws.com") || host.endsWithBytes(of: ".aliyuncs.com")
        self.isPathStyle = isPathStyle ?? (!hasBucketHosts || bucket.hasByte("."))
    }

    /// `s3://bucket/prefix`, for people.
    public var url: String { Self.scheme + bucket + (prefix.isEmpty ? "" : "/" + prefix) }

    /// What a request to the bucket is sent to: the host's name and the path before the object's key.
    var origin: (host: String, path: String) {
        let host = Self.host(of: endpoint) ?? ""
        return isPathStyle ? (host, "/" + bucket) : (bucket + "." + host, "")
    }

    /// Whether requests leave this machine without encryption.
    public var isOpen: Bool { LoopbackAddress.isOpen(endpoint: transport + origin.host) }

    var transport: String { endpoint.startsWithBytes(of: "http://") ? "http://" : "https://" }

    func key(_ name: String) -> String { prefix.isEmpty ? name : prefix + "/" + name }

    /// Host and port of an `http://` or `https://` address without a path.
    static func host(of address: String) -> String? {
        for transport in ["https://", "http://"] where address.startsWithBytes(of: transport) {
            let host = address.droppingBytes(first: transport.utf8.count)
            let isClean = host.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x3A, 0x5B, 0x5D, 0x5F: true
                default: false
                }
            }
            return host.isEmpty || !isClean ? nil : String(host)
        }
        return nil
    }

    private static func isBucket(_ name: Substring) -> Bool {
        (3...63).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
                default: false
                }
            }
    }
}

/// What a prefix may consist of: the letters of object names.
enum ObjectNameRules {
    static func isClean(_ prefix: String) -> Bool {
        prefix.parts(at: "/").allSatisfy { part in
            !part.isEmpty && part != "." && part != ".."
                && part.utf8.allSatisfy { byte in
                    switch byte {
                    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x3D, 0x2B, 0x40: true
                    default: false
                    }
                }
        }
    }
}
