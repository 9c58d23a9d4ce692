import Control
import FileModel
import Glibc
import LinuxSystem

/// A foreign source as a volume's record lists it: where it is and, of a bucket, what decides who gets the user's signed
/// requests. Metadata name sources, too, but metadata can come from others; the list is the user's own word.
///
///     file:///directory
///     s3://bucket
///     s3://bucket?ca-file=/FILE&endpoint=URL&path-style=true&profile=NAME&region=NAME
///
/// Words are in the order of their names, each only where it is set; `%`, `&`, `=` and what is no plain character are %XX.
public struct SourceEntry: Hashable, Sendable, CustomStringConvertible {
    private static let fileScheme = "file://"

    public let description: String

    public var isBucket: Bool { Self.isBucket(description) }

    static func isBucket(_ entry: String) -> Bool { entry.hasPrefix(BucketOptions.scheme) }

    /// Nil for what no version of Berth has written into metadata.
    public init?(_ source: ForeignSource) {
        self.init(url: source.url, options: source.options)
    }

    /// Where an object of such a source is; `options` as metadata have them.
    public init?(url: String, options: String) {
        if url.hasPrefix(Self.fileScheme + "/") {
            description = url
            return
        }
        guard url.hasPrefix(BucketOptions.scheme), let bucket = BucketOptions(encoded: options),
            BucketOptions.isBucketName(url.dropFirst(BucketOptions.scheme.utf8.count))
        else { return nil }
        // How fast it may be asked gives nobody anything.
        let words = bucket.words.filter { !$0.key.hasSuffix("-limit") }.sorted { $0.key < $1.key }
            .map { "\($0.key)=\(Self.escaped($0.value))" }
        description = url + (words.isEmpty ? "" : "?" + words.joined(separator: "&"))
    }

    /// As a person names one: the text that `berth` shows.
    public init(text: String) throws(SystemFailure) {
        let url =
            text.hasSuffix("/") && text.utf8.count > Self.fileScheme.utf8.count + 1 ? String(text.dropLast()) : text
        if url.hasPrefix(Self.fileScheme) {
            let path = url.dropFirst(Self.fileScheme.utf8.count)
            guard path.hasPrefix("/"), path == "/" || PathBytes.isClean(path) else {
                throw SystemFailure(text, "is not file:///absolute/path", status: .usage)
            }
        } else {
            let bucket = url.dropFirst(BucketOptions.scheme.utf8.count).prefix { $0 != "?" }
            guard url.hasPrefix(BucketOptions.scheme), BucketOptions.isBucketName(bucket),
                url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
            else {
                throw SystemFailure(
                    text, "names no source",
                    fix: "write file:///DIR or s3://BUCKET?…, as `berth volume trust NAME` shows it",
                    status: .usage)
            }
        }
        description = url
    }

    /// On one line of a terminal, whatever a hostile volume calls it.
    public var display: String {
        String(
            decoding: description.utf8.flatMap { byte -> [UInt8] in
                byte >= 0x20 && byte != 0x7F ? [byte] : Array(Self.escape(byte).utf8)
            }, as: UTF8.self)
    }

    private static func escaped(_ text: String) -> String {
        text.utf8.map { byte in
            switch byte {
            case 0x25, 0x26, 0x3D, 0...0x20, 0x7F...: escape(byte)
            default: String(UnicodeScalar(byte))
            }
        }.joined()
    }

    private static func escape(_ byte: UInt8) -> String {
        "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
    }
}

extension VolumeRecord {
    /// Lists sources, each once; a bucket among them makes the volume's servers reach the network. True where that is new.
    public mutating func add(_ entries: [SourceEntry]) -> Bool {
        let before = self
        var list = sources ?? []
        for entry in entries where !list.contains(entry.description) { list.append(entry.description) }
        sources = list
        if entries.contains(where: \.isBucket) { reachesBuckets = true }
        return self != before
    }
}

extension VolumeRegistry {
    /// What metadata of a version that kept no list name is the user's own: taken over once. Answers the record as it is then.
    public func adoptSources(_ record: VolumeRecord, _ sources: [ForeignSource]) throws(SystemFailure) -> VolumeRecord {
        guard record.sources == nil else { return record }
        return try change(try VolumeName(record.name)) { record in
            guard record.sources == nil else { return }
            _ = record.add(sources.compactMap { SourceEntry($0) })
        }
    }

    /// Metadata that come from elsewhere: what their user named for them is all that is open.
    public func replaceSources(_ name: VolumeName, _ entries: [SourceEntry]) throws(SystemFailure) {
        _ = try change(name) { record in
            record.sources = []
            record.reachesBuckets = nil
            _ = record.add(entries)
        }
    }
}

extension MountService {
    /// Opens sources to a volume for good, on the word of its user. A server that runs takes them up; where it was started
    /// without what they need it is replaced, while its mounts go on. Answers why it still may not reach them: a server that
    /// cannot be replaced now may have to be ended.
    public func trust(_ name: VolumeName, _ entries: [SourceEntry]) throws(SystemFailure) -> SystemFailure? {
        var record = try registry.record(name)
        let reached = record.reachesBuckets
        let paths = registry.paths.volume(record.name)
        let isBucket = entries.contains(where: \.isBucket)
        // One of an older version is adopted by its next server, whole.
        if record.sources == nil { record = try adopted(name) }
        guard record.sources != nil else {
            // That one is in use and cannot be replaced: the next adopts what this one imports.
            if isBucket { _ = try registry.change(name) { $0.reachesBuckets = true } }
            guard case .directory = record.place(paths), isBucket, reached != true else { return nil }
            throw Self.irreplaceable(record.name, "the network", "it is of an older version")
        }
        var isNew = false
        _ = try registry.change(name) { isNew = $0.add(entries) }
        guard let client = try supervisor.running(paths) else { return nil }
        if isNew { try client.ask(.reload, timeout: .seconds(10)) }
        let known = try client.status().sourcesAtStart ?? []
        let isFirstBucket: Bool =
            if case .directory = record.place(paths) {
                isBucket && !known.contains { SourceEntry.isBucket($0) }
            } else { false }
        let lacksDirectory = entries.contains { !$0.isBucket && !known.contains($0.description) }
        guard isFirstBucket || lacksDirectory else { return nil }
        let refusal = try replace(paths, client, isFirstBucket: isFirstBucket)
        if isFirstBucket, let refusal { throw refusal }
        return refusal
    }

    /// Nil where the next requests go to a server that was started with the record as it is now.
    private func replace(
        _ paths: VolumePaths, _ client: ServerClient, isFirstBucket: Bool
    ) throws(SystemFailure) -> SystemFailure? {
        guard try !client.status().sessions.isEmpty else {
            try stopServer(paths)
            return nil
        }
        let lacks = isFirstBucket ? "the network" : "the source"
        // A keeper starts the next server with what it has itself.
        if isFirstBucket, environment["AWS_ACCESS_KEY_ID"] != nil {
            return Self.irreplaceable(
                paths.name, lacks, "keys of your environment reach a server only when it is started")
        }
        do throws(SystemFailure) {
            _ = try restartServer(paths)
            return nil
        } catch {
            return Self.irreplaceable(paths.name, lacks, error.cause)
        }
    }

    private static func irreplaceable(_ name: String, _ lacks: String, _ cause: String) -> SystemFailure {
        SystemFailure(
            "volume \"\(name)\"", "is mounted, and its server was started without \(lacks) (\(cause))",
            fix: "unmount it once; from then on its servers reach it", errno: .busy, status: .temporaryFailure)
    }

    /// The record of an older version, once a server has taken over what its metadata name.
    private func adopted(_ name: VolumeName) throws(SystemFailure) -> VolumeRecord {
        let paths = registry.paths.volume(name.description)
        if let client = try supervisor.running(paths) {
            if try client.status().sessions.isEmpty { try stopServer(paths) } else { _ = try? restartServer(paths) }
        }
        _ = try supervisor.client(for: paths)
        return try registry.record(name)
    }
}
