import FileModel
import LinuxSystem
import Metrics
import ObjectStorage

/// Objects of a bucket that somebody else writes. Keys are whole keys in the bucket.
///
/// An object is the one that was imported as long as its ETag and its size are; the store is told the ETag with each
/// range, and what it answers is compared.
public struct S3ForeignStore: ForeignStore {
    private static let pageKeys = 1000

    private let client: S3Client
    private var url: String { client.location.url }

    /// Reads the credentials, and asks the store nothing yet. The location's prefix is not used.
    public init(
        _ location: S3Location, certificates: String?, surroundings: S3Surroundings, meter: StoreMeter = StoreMeter(),
        credentials: @escaping @Sendable () throws(SystemFailure) -> S3Credentials
    ) throws(SystemFailure) {
        client = try S3Client(
            location, certificates: certificates, limits: S3Limits(), surroundings: surroundings, meter: meter,
            credentials: credentials)
    }

    public func read(
        _ object: ForeignObject, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {
        guard !buffer.isEmpty else { return }
        let range = offset...(offset + UInt64(buffer.count) - 1)
        do throws(S3Failure) {
            _ = try client.send(
                S3Call(
                    method: .get, key: String(decoding: object.key, as: UTF8.self),
                    headers: [
                        "range": "bytes=\(range.lowerBound)-\(range.upperBound)", "if-match": "\"\(object.tag)\"",
                    ],
                    target: buffer, permission: "s3:GetObject",
                    check: { Self.fault($0, of: object) ?? RangeCheck(range: range).fault($0) }))
        } catch {
            throw translate(error, object.key, "cannot be read")
        }
    }

    public func find(_ key: [UInt8]) throws(ObjectStoreError) -> ForeignEntry? {
        // Not HEAD: some servers know their directories by it. The object itself comes first, if there is one.
        try page(prefix: String(decoding: key, as: UTF8.self), after: nil, limit: 1).entries.first { $0.key == key }
    }

    public func list(below prefix: [UInt8], _ take: ([ForeignEntry]) -> Bool) throws(ObjectStoreError) {
        var token: String?
        repeat {
            let page = try page(
                prefix: String(decoding: prefix, as: UTF8.self), after: token, limit: Self.pageKeys)
            if !page.entries.isEmpty { guard take(page.entries) else { return } }
            guard page.next == nil || page.next != token else {
                throw .failed(.io, "bucket \(url) cannot be listed: it gives the same page again and again")
            }
            token = page.next
        } while token != nil
    }

    // MARK: Parts

    /// Whether a reply is of another object than was asked for.
    private static func fault(_ reply: HTTPReply, of object: ForeignObject) -> S3Failure? {
        let tag = reply.headers["etag"].map(ForeignPage.bare)
        let total = reply.headers["content-range"]?.split(separator: "/").last.flatMap { UInt64($0) }
        let size = reply.status == 206 ? total : reply.headers["content-length"].flatMap { UInt64($0) }
        return tag == object.tag && size == object.size ? nil : S3Failure(kind: .taken, cause: "")
    }

    private func page(prefix: String, after token: String?, limit: Int) throws(ObjectStoreError) -> ForeignPage {
        let location = client.location
        var call = S3Call(method: .get, key: nil, permission: "s3:ListBucket")
        call.query = [
            ("list-type", "2"), ("max-keys", "\(limit)"), ("encoding-type", "url"), ("prefix", prefix),
        ]
        if let token { call.query.append(("continuation-token", token)) }
        call.check = { reply in
            guard (try? XMLReader.parse(reply.body)) == nil else { return nil }
            return S3Diagnosis(location: location, keys: "", permission: "", now: 0).webPage(reply)
        }
        do {
            return try ForeignPage(try client.send(call).body)
        } catch let failure as S3Failure {
            throw .failed(failure.errno, "bucket \(url) cannot be listed: \(failure.words)")
        } catch {
            throw .failed(.io, "bucket \(url) cannot be listed: the answer is no S3 listing; correct --endpoint")
        }
    }

    private func translate(_ failure: S3Failure, _ key: [UInt8], _ doing: String) -> ObjectStoreError {
        switch failure.kind {
        case .missing: .vanished(url, key)
        case .taken, .pastEnd: .changed(url, key)
        default: .failed(failure.errno, "object \(ObjectStoreError.name(url, key)) \(doing): \(failure.words)")
        }
    }
}

/// A page of ListObjectsV2 with all that tells objects apart.
struct ForeignPage {
    private static let permissions: UInt32 = 0o644

    var entries: [ForeignEntry]
    /// What asks for the next page.
    var next: String?

    init(_ bytes: [UInt8]) throws {
        let root = try XMLReader.parse(bytes)
        guard root.name == "ListBucketResult" else { throw ListingPage.NotAListing() }
        let isEncoded = root["EncodingType"] == "url"
        entries = try root.all("Contents").map { entry in
            guard let name = entry["Key"], let key = isEncoded ? ListingPage.decode(name) : name,
                let size = entry["Size"].flatMap({ UInt64($0) }), let tag = entry["ETag"],
                let seconds = entry["LastModified"].flatMap(Self.seconds)
            else { throw ListingPage.NotAListing() }
            return ForeignEntry(
                key: Array(key.utf8), content: .object(size: size, tag: Self.bare(tag)),
                permissions: Self.permissions, modified: Timestamp(seconds: Int64(seconds), nanoseconds: 0))
        }
        guard root["IsTruncated"] == "true" else { return }
        guard let token = root["NextContinuationToken"], !token.isEmpty else { throw ListingPage.NotAListing() }
        next = token
    }

    /// An ETag without its quotes.
    static func bare(_ tag: String) -> String {
        tag.count >= 2 && tag.hasPrefix("\"") && tag.hasSuffix("\"") ? String(tag.dropFirst().dropLast()) : tag
    }

    /// `2009-10-12T17:50:30.000Z`, to the second: other answers tell no more.
    static func seconds(_ text: String) -> Int? {
        let parts = text.prefix { $0 != "." && $0 != "Z" }.split { $0 == "-" || $0 == "T" || $0 == ":" }
        let numbers = parts.compactMap { Int32($0) }
        guard parts.count == 6, numbers.count == 6 else { return nil }
        return UTCTime.seconds(
            year: Int(numbers[0]), month: Int(numbers[1]), day: Int(numbers[2]), hour: Int(numbers[3]),
            minute: Int(numbers[4]), second: Int(numbers[5]))
    }
}
