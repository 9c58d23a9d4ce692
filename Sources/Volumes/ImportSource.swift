import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem

/// What `berth import` is told of where data lies.
public struct ImportSource: Equatable, Sendable {
    /// `s3://bucket/key` or `file:///path`, absolute and without links.
    public let url: String
    /// How a bucket is asked; nil for files.
    public let bucket: BucketOptions?

    public var isBucket: Bool { bucket != nil }
    public var looksLikeArchive: Bool { url.endsWithBytes(of: ".tar") }

    /// `text` is a URL or a path. `words` say how a bucket is asked; what they leave open is as for the volume's own store.
    public init(
        _ text: String, words: [(key: String, value: String)], ofVolume own: BucketOptions?
    ) throws(SystemFailure) {
        if text.startsWithBytes(of: BucketOptions.scheme) {
            let parts = text.droppingBytes(first: BucketOptions.scheme.utf8.count).parts(at: "/", atMost: 1)
            guard let name = parts.first, BucketOptions.isBucketName(name) else {
                throw SystemFailure(
                    text, "is not s3://bucket/prefix with a bucket of 3 to 63 characters", status: .usage)
            }
            var options = own ?? BucketOptions()
            // The volume's word holds as long as the volume has it; it is not written down with each source.
            let isAllowed = options.isInsecure == true
            options.isInsecure = nil
            for word in words { _ = try options.set(word.key, word.value) }
            if let endpoint = options.endpoint, !isAllowed, options.isInsecure != true,
                LoopbackAddress.isOpen(endpoint: endpoint)
            {
                throw SystemFailure(
                    "endpoint \(endpoint)", "has no encryption: who is on the way reads and changes what is imported",
                    fix: "write https://, or add --insecure where that is meant", status: .usage)
            }
            url = text
            bucket = options
            return
        }
        guard words.isEmpty else {
            throw SystemFailure(text, "is no bucket, and --\(words[0].key) is about one", status: .usage)
        }
        let scheme = "file://"
        let path = text.startsWithBytes(of: scheme) ? String(text.droppingBytes(first: scheme.utf8.count)) : text
        guard !text.startsWithBytes(of: scheme) || path.startsWithBytes(of: "/") else {
            throw SystemFailure(text, "is not file:///absolute/path", status: .usage)
        }
        guard text.startsWithBytes(of: scheme) || !text.contains("://") else {
            throw SystemFailure(
                text, "is of a kind that cannot be imported", fix: "use s3:// or file://", status: .usage)
        }
        guard let found = realpath(path, nil) else { throw SystemFailure(path, "cannot be found", .current) }
        defer { free(found) }
        url = scheme + String(cString: found)
        bucket = nil
    }

    /// The source that metadata keep, whose objects these are: the bucket, or the directory; of a single file the one above.
    public func entry() throws(SystemFailure) -> SourceEntry {
        var place = url
        if isBucket {
            let rest = url.dropFirst(BucketOptions.scheme.utf8.count)
            place = BucketOptions.scheme + rest.prefix { $0 != "/" }
        } else {
            var status = stat()
            let path = String(url.dropFirst("file://".utf8.count))
            guard lstat(path, &status) == 0 else { throw SystemFailure(path, "cannot be examined", .current) }
            if status.st_mode & S_IFMT != S_IFDIR {
                place = "file:///" + path.words(at: "/").dropLast().joined(separator: "/")
            }
        }
        guard let entry = SourceEntry(url: place, options: try encodedOptions()) else {
            throw SystemFailure(url, "names no source", status: .usage)
        }
        return entry
    }

    /// The options as the volume's metadata keeps them: the same text for the same options.
    public func encodedOptions() throws(SystemFailure) -> String {
        guard let bucket else { return "" }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return String(decoding: try encoder.encode(bucket), as: UTF8.self)
        } catch {
            throw SystemFailure(url, "its options cannot be written down: \(error)", status: .software)
        }
    }
}

extension BucketOptions {
    /// What `ImportSource.encodedOptions` wrote; nil for anything else.
    public init?(encoded text: String) {
        if text.isEmpty {
            self.init()
            return
        }
        guard let options = try? JSONDecoder().decode(BucketOptions.self, from: Data(text.utf8)) else { return nil }
        self = options
    }
}
