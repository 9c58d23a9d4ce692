import Control
import FileModel
import LinuxSystem

/// What `berth volume create -o` and `podman volume create -o` say of a new volume. The words are the same.
public struct VolumeOptions: Equatable, Sendable, Codable {
    public enum Compression: String, Sendable, Codable, CaseIterable {
        case zstd
        case none
    }

    /// `file:///absolute/path` or `s3://bucket/prefix`; nil: below the user's data directory.
    public var store: String?
    /// How a bucket is asked; nil where the store is a directory.
    public var bucket: BucketOptions?
    /// The container path the volume belongs at.
    public var path: String?
    public var compression: Compression = .zstd
    /// Bytes of file data at most.
    public var size: UInt64?
    /// Files and directories at most.
    public var inodes: UInt64?
    /// Where copies of packs are kept, each volume's in a directory of its own; nil: the user's cache directory.
    public var cacheDirectory: String?
    /// Bytes of copies at most; nil: what suits the disk.
    public var cacheSize: UInt64?
    /// How often the metadata is copied into the store, seconds; 0: never; nil: what suits the store.
    public var copySeconds: Int64?

    public init() {}

    /// The words in the order in which messages list them.
    public static let known = [
        "store=file:///DIR|s3://BUCKET/PREFIX", "path=/DIR", "compression=zstd|none", "size=BYTES[K|M|G|T]",
        "inodes=COUNT", "cache-dir=/DIR", "cache-size=BYTES[K|M|G|T]", "endpoint=URL", "region=NAME",
        "path-style=true|false", "profile=NAME", "ca-file=/FILE", "metadata-copy=TIME[s|m|h]|off",
    ]

    /// Reads `key=value` words. An unknown word is refused with the known ones.
    public init(words: [String]) throws(SystemFailure) {
        for word in words {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2 else { throw Self.unknown(word) }
            try set(parts[0], parts[1])
        }
        try checkBucket()
    }

    /// Reads the options of a plugin request. Podman adds `device`, `o` and `type` when a Kubernetes claim
    /// asks: `o` holds words of ours, and podman keeps `timeout` in it for itself.
    public init(plugin options: [String: String]) throws(SystemFailure) {
        for key in options.keys.sorted() {
            guard let value = options[key] else { continue }
            switch key {
            case "device", "type":
                guard value.isEmpty || (key == "type" && value == "berth") else {
                    throw SystemFailure(
                        "option \(key)=\(value)", "means nothing to a Berth volume", fix: "leave it out", status: .usage
                    )
                }
            case "o":
                for word in value.split(separator: ",").map(String.init) where !word.hasPrefix("timeout=") {
                    let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                    guard parts.count == 2 else { throw Self.unknown(word) }
                    try set(String(parts[0]), String(parts[1]))
                }
            default:
                try set(key, value)
            }
        }
        try checkBucket()
    }

    private mutating func set(_ key: String, _ value: String) throws(SystemFailure) {
        switch key {
        case "store": store = try Self.storeURL(value)
        case "path": path = try Self.containerPath(value)
        case "compression":
            guard let found = Compression(rawValue: value) else {
                throw Self.bad(key, value, "is not one of zstd, none")
            }
            compression = found
        case "size": size = try Self.bytes(value)
        case "inodes":
            guard let count = UInt64(value), count > 0, count <= UInt64(Int64.max) else {
                throw Self.bad(key, value, "is not a number above 0")
            }
            inodes = count
        case "cache-dir":
            guard value.hasPrefix("/"), value.count > 1, Self.isClean(Substring(value)) else {
                throw Self.bad(key, value, "must name a directory below / without \"..\" or empty parts")
            }
            cacheDirectory = value
        case "cache-size":
            let bytes = try Self.bytes(value, key: key)
            guard bytes >= Self.smallestCache else { throw Self.bad(key, value, "is less than two packs, 32M") }
            cacheSize = bytes
        case "metadata-copy":
            copySeconds = value == "off" ? 0 : try UserSettings.duration(value[...], "option \(key)").components.seconds
        default:
            var bucket = bucket ?? BucketOptions()
            guard try bucket.set(key, value) else { throw Self.unknown("\(key)=\(value)") }
            self.bucket = bucket
        }
    }

    private static let smallestCache: UInt64 = 32 << 20

    static func isBucket(_ store: String) -> Bool { store.hasPrefix(BucketOptions.scheme) }

    /// Words for a bucket need one.
    private func checkBucket() throws(SystemFailure) {
        guard let word = bucket?.words.keys.min(), store.map(Self.isBucket) != true else { return }
        throw SystemFailure(
            "option \(word)", "is for a bucket, and the store is a directory", fix: "add store=s3://bucket/prefix",
            status: .usage)
    }

    private static func storeURL(_ value: String) throws(SystemFailure) -> String {
        if isBucket(value) { return try BucketOptions.checked(store: value) }
        let scheme = "file://"
        guard value.hasPrefix(scheme + "/") else {
            throw bad("store", value, "is not a file:///absolute/path or s3://bucket/prefix URL")
        }
        let path = value.dropFirst(scheme.utf8.count)
        guard path.count > 1, isClean(path) else {
            throw bad("store", value, "must name a directory below / without \"..\", empty parts or control characters")
        }
        return value
    }

    private static func containerPath(_ value: String) throws(SystemFailure) -> String {
        do {
            return try ContainerPath(value).description
        } catch {
            throw bad("path", value, "\(error.cause); it must be an absolute path in the container, such as /data")
        }
    }

    private static func isClean(_ path: Substring) -> Bool {
        path.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
            && path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
                .allSatisfy { !$0.isEmpty && $0 != ".." && $0 != "." }
    }

    /// Digits and one of K, M, G, T (each 1024 times the one before), with or without "iB".
    static func bytes(_ value: String, key: String = "size") throws(SystemFailure) -> UInt64 {
        let digits = value.prefix { $0.isASCII && $0.isNumber }
        var unit = value.dropFirst(digits.count)
        if unit.hasSuffix("iB") { unit = unit.dropLast(2) }
        let factors: [Substring: UInt64] = ["": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]
        guard let number = UInt64(digits), number > 0, let factor = factors[Substring(unit.uppercased())] else {
            throw bad(key, value, "is not a size, such as 500M or 2T")
        }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow, bytes <= UInt64(Int64.max) else { throw bad(key, value, "is too large") }
        return bytes
    }

    static func bad(_ key: String, _ value: String, _ cause: String) -> SystemFailure {
        SystemFailure("option \(key)=\(value)", cause, status: .usage)
    }

    private static func unknown(_ word: String) -> SystemFailure {
        SystemFailure(
            "option \"\(word)\"", "is unknown", fix: "the options are \(known.joined(separator: ", "))", status: .usage)
    }

    /// The words that say the same, for people and for `inspect`.
    public var words: [String: String] {
        var words = ["compression": compression.rawValue]
        words["store"] = store
        words["path"] = path
        words["size"] = size.map(String.init)
        words["inodes"] = inodes.map(String.init)
        words["cache-dir"] = cacheDirectory
        words["cache-size"] = cacheSize.map(String.init)
        words["metadata-copy"] = copySeconds.map { $0 == 0 ? "off" : "\($0)s" }
        words.merge(bucket?.words ?? [:]) { own, _ in own }
        return words
    }
}
