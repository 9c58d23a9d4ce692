import Control
import FileModel
import LinuxSystem

/// What `berth volume create -o` and `podman volume create -o` say of a new volume. The words are the same.
public struct VolumeOptions: Equatable, Sendable, Codable {
    public enum Compression: String, Sendable, Codable, CaseIterable {
        case zstd
        case none
    }

    public enum Durability: String, Sendable, Codable, CaseIterable {
        /// fsync waits for the disk.
        case local
        /// fsync and close wait for the store.
        case store
    }

    /// `file:///absolute/path` or `s3://bucket/prefix`; nil: below the user's data directory.
    public var store: String?
    /// Whether others may write where the store's directory lies: they could then replace what is in it. Nil: not.
    public var isStoreShared: Bool?
    /// How a bucket is asked; nil where the store is a directory.
    public var bucket: BucketOptions?
    /// The container path the volume belongs at.
    public var path: String?
    public var compression: Compression = .zstd
    /// What fsync and close wait for; nil: the disk.
    public var durability: Durability?
    /// Bytes at most: of file data, extended attributes and targets of links.
    public var size: UInt64?
    /// Files and directories at most; nil: see `inodeLimit`.
    public var inodes: UInt64?
    /// Where copies of packs are kept, each volume's in a directory of its own: places as `CachePlaces` reads them, after
    /// colons, the first that can be used; nil: the user's setting.
    public var cacheDirectory: String?
    /// Bytes of copies at most; nil: the user's setting.
    public var cacheSize: UInt64?
    /// What the cache leaves free of its file system; nil: the user's setting.
    public var freeSpace: FreeSpace?
    /// How often the metadata is copied into the store, seconds; 0: never; nil: what suits the store.
    public var copySeconds: Int64?
    /// Nil: as of a volume that says nothing of it.
    public var trash: TrashOptions?
    /// Whether `.snapshots` is found in the volume's root; nil: it is.
    public var snapshotDirectory: Bool?

    public var showsSnapshots: Bool { snapshotDirectory ?? true }

    /// Files and directories that a volume with a size holds at most where nobody said how many: tens of millions, and
    /// one for each KiB of a larger one. They take room outside of it (decision 0076).
    static let usualInodes: UInt64 = 20_000_000
    static let usualBytesPerInode: UInt64 = 1024

    /// Files and directories at most; nil: no limit.
    public var inodeLimit: UInt64? {
        inodes ?? size.map { max(Self.usualInodes, $0 / Self.usualBytesPerInode) }
    }

    /// Whether the trash counts for `size` and `inodes`. Where there are such limits it does unless told otherwise: they
    /// would not bound the volume.
    public var countsTrash: Bool { trash?.isCounted ?? (size != nil || inodes != nil) }

    public init() {}

    /// The words in the order in which messages list them.
    public static let known = [
        "store=file:///DIR|s3://BUCKET/PREFIX", "path=/DIR", "compression=zstd|none", "size=BYTES[K|M|G|T]",
        "inodes=COUNT", "cache-dir=/DIR[:/DIR…]", "cache-size=BYTES[K|M|G|T]", "free-space=BYTES[K|M|G|T]|PERCENT%",
        "trash=TIME[s|m|h|d|w]|0", "trash-quota=on|off", "trash-truncate=on|off", "snapshot-dir=on|off",
        "endpoint=URL", "region=NAME", "path-style=true|false", "profile=NAME", "ca-file=/FILE",
        "upload-limit=BYTES[K|M|G]", "download-limit=BYTES[K|M|G]", "durability=local|store",
        "metadata-copy=TIME[s|m|h]|off", "insecure=true|false", "store-shared=true|false",
    ]

    /// Reads `key=value` words. An unknown word is refused with the known ones.
    public init(words: [String]) throws(SystemFailure) {
        for word in words { try apply(word) }
        try checkBucket()
    }

    mutating func apply(_ word: String) throws(SystemFailure) {
        let parts = word.parts(at: "=", atMost: 1).map(String.init)
        guard parts.count == 2 else { throw Self.unknown(word) }
        try set(parts[0], parts[1])
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
                for word in value.words(at: ",").map(String.init) where !word.startsWithBytes(of: "timeout=") {
                    try apply(word)
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
        case "store-shared": isStoreShared = try Self.truth(key, value)
        case "path": path = try Self.containerPath(value)
        case "compression":
            guard let found = Compression(rawValue: value) else {
                throw Self.bad(key, value, "is not one of zstd, none")
            }
            compression = found
        case "durability":
            guard let found = Durability(rawValue: value) else {
                throw Self.bad(key, value, "is not one of local, store")
            }
            durability = found
        case "size": size = try Self.bytes(value)
        case "inodes":
            guard let count = UInt64(value), count > 0, count <= UInt64(Int64.max) else {
                throw Self.bad(key, value, "is not a number above 0")
            }
            inodes = count
        case "cache-dir": cacheDirectory = try CachePlaces.checked(value)
        case "cache-size": cacheSize = try Self.cacheBytes(value, key: key)
        case "free-space": freeSpace = try FreeSpace(value)
        case "snapshot-dir": snapshotDirectory = try TrashOptions.flag(key, value)
        case "metadata-copy":
            copySeconds = value == "off" ? 0 : try UserSettings.duration(value[...], "option \(key)").components.seconds
        default:
            var trash = trash ?? TrashOptions()
            if try trash.set(key, value) {
                self.trash = trash
                return
            }
            var bucket = bucket ?? BucketOptions()
            guard try bucket.set(key, value) else { throw Self.unknown("\(key)=\(value)") }
            self.bucket = bucket
        }
    }

    /// What a volume takes over from the record in its store, which somebody else may have written: nothing that names a place
    /// of the machine, a host or keys, nor how much of the machine it takes.
    static let adoptable = [
        "path", "compression", "durability", "size", "inodes", "metadata-copy", "snapshot-dir", "trash", "trash-quota",
        "trash-truncate",
    ]

    /// Takes over what may be, as if it had been asked for. Answers the words that were no options.
    public mutating func adopt(_ found: VolumeOptions) -> [String] {
        var refused: [String] = []
        let words = found.words
        for key in Self.adoptable {
            guard let value = words[key] else { continue }
            do throws(SystemFailure) {
                try set(key, value)
            } catch {
                refused.append("\(key) of the volume's record in the store is not usable, and is left out")
            }
        }
        return refused
    }

    /// What can be changed later, and how: an empty value takes an option back.
    public static let changeable = [
        "size", "inodes", "cache-dir", "cache-size", "free-space", "trash", "trash-quota", "trash-truncate",
        "snapshot-dir", "metadata-copy", "insecure", "store-shared",
    ]

    /// Changes an option of a volume that is there, as `key=value`.
    mutating func change(_ word: String) throws(SystemFailure) {
        let parts = word.parts(at: "=", atMost: 1).map(String.init)
        guard parts.count == 2, Self.changeable.contains(parts[0]) else {
            throw SystemFailure(
                "option \"\(word)\"", "is not one that can be changed",
                fix: "write one of \(Self.changeable.map { "\($0)=…" }.joined(separator: ", "))", status: .usage)
        }
        if parts[0] == "metadata-copy", !["", "off"].contains(parts[1]), store == nil {
            throw SystemFailure(
                "option \"\(word)\"", "has no effect: the volume's store is on the disk of its metadata",
                fix: "make a volume with store=, whose metadata is copied there", status: .usage)
        }
        if !parts[1].isEmpty { return try set(parts[0], parts[1]) }
        switch parts[0] {
        case "size": size = nil
        case "inodes": inodes = nil
        case "cache-dir": cacheDirectory = nil
        case "cache-size": cacheSize = nil
        case "free-space": freeSpace = nil
        case "snapshot-dir": snapshotDirectory = nil
        case "metadata-copy": copySeconds = nil
        case "insecure": bucket?.isInsecure = nil
        case "store-shared": isStoreShared = nil
        default: trash?.reset(parts[0])
        }
    }

    private static let smallestCache: UInt64 = 32 << 20

    static func cacheBytes(_ value: String, key: String) throws(SystemFailure) -> UInt64 {
        let bytes = try Self.bytes(value, key: key)
        guard bytes >= smallestCache else { throw bad(key, value, "is less than two packs, 32M") }
        return bytes
    }

    static func isBucket(_ store: String) -> Bool { store.startsWithBytes(of: BucketOptions.scheme) }

    /// Words for a bucket need one.
    private func checkBucket() throws(SystemFailure) {
        guard let word = bucket?.words.keys.min(), store.map(Self.isBucket) != true else {
            return try refuseOpenEndpoint()
        }
        throw SystemFailure(
            "option \(word)", "is for a bucket, and the store is a directory", fix: "add store=s3://bucket/prefix",
            status: .usage)
    }

    private static func storeURL(_ value: String) throws(SystemFailure) -> String {
        if isBucket(value) { return try BucketOptions.checked(store: value) }
        let scheme = "file://"
        guard value.startsWithBytes(of: scheme + "/") else {
            throw bad("store", value, "is not a file:///absolute/path or s3://bucket/prefix URL")
        }
        let path = value.droppingBytes(first: scheme.utf8.count)
        guard path.utf8.count > 1, PathBytes.isClean(path) else {
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

    /// Digits and one of K, M, G, T (each 1024 times the one before), with or without "iB".
    public static func bytes(_ value: String, key: String = "size") throws(SystemFailure) -> UInt64 {
        let digits = value.prefix { $0.isASCII && $0.isNumber }
        var unit = value.dropFirst(digits.count)
        if unit.endsWithBytes(of: "iB") { unit = unit.dropLast(2) }
        let factors: [Substring: UInt64] = ["": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40]
        guard let number = UInt64(digits), number > 0, let factor = factors[Substring(unit.uppercased())] else {
            throw bad(key, value, "is not a size, such as 500M or 2T")
        }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow, bytes <= UInt64(Int64.max) else { throw bad(key, value, "is too large") }
        return bytes
    }

    /// Digits, and K or M for thousands or millions.
    public static func count(_ value: String) throws(SystemFailure) -> UInt64 {
        let digits = value.prefix { $0.isASCII && $0.isNumber }
        let factors: [String: UInt64] = ["": 1, "K": 1000, "M": 1_000_000]
        guard let number = UInt64(digits), number > 0,
            let factor = factors[value.dropFirst(digits.count).uppercased()],
            case (let count, false) = number.multipliedReportingOverflow(by: factor), count <= UInt64(Int64.max)
        else { throw bad("inodes", value, "is not a number above 0, such as 5000 or 2M") }
        return count
    }

    static func truth(_ key: String, _ value: String) throws(SystemFailure) -> Bool {
        guard value == "true" || value == "false" else { throw bad(key, value, "is not one of true, false") }
        return value == "true"
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
        words["store-shared"] = isStoreShared.map { "\($0)" }
        words["path"] = path
        words["size"] = size.map(String.init)
        words["inodes"] = inodes.map(String.init)
        words["durability"] = durability?.rawValue
        words["cache-dir"] = cacheDirectory
        words["cache-size"] = cacheSize.map(String.init)
        words["free-space"] = freeSpace?.description
        words["snapshot-dir"] = snapshotDirectory.map { $0 ? "on" : "off" }
        words["metadata-copy"] = copySeconds.map { $0 == 0 ? "off" : "\($0)s" }
        words.merge(trash?.words ?? [:]) { own, _ in own }
        words.merge(bucket?.words ?? [:]) { own, _ in own }
        return words
    }
}
