import FileModel
import LinuxSystem
import Metrics
import ObjectStorage

/// Objects of a bucket that somebody else writes. Keys are whole keys in the bucket.
///
/// An object is the one that was imported as long as its ETag and its size are; the store is told the ETag with each
/// range, and what it answers is compared.
public struct S3ForeignStore: ForeignStore {
    /// A listing does not tell.
    private static let permissions: UInt32 = 0o644

    private let client: S3Client
    private let errand: StoreErrand?
    private var url: String { client.location.url }

    /// Reads the credentials, and asks the store nothing yet. The location's prefix is not used.
    public init(
        _ location: S3Location, certificates: String?, surroundings: S3Surroundings, meter: StoreMeter = StoreMeter(),
        credentials: @escaping @Sendable () throws(SystemFailure) -> S3Credentials
    ) throws(SystemFailure) {
        client = try S3Client(
            location, certificates: certificates, limits: S3Limits(), surroundings: surroundings, meter: meter,
            credentials: credentials)
        errand = nil
    }

    private init(_ client: S3Client, on errand: StoreErrand) {
        self.client = client
        self.errand = errand
    }

    public func on(_ errand: StoreErrand) -> any ForeignStore { S3ForeignStore(client, on: errand) }

    public func read(
        _ object: ForeignObject, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(ObjectStoreError) {
        guard !buffer.isEmpty else { return }
        let range = offset...offset.addingClamped(UInt64(buffer.count) - 1)
        do throws(S3Failure) {
            _ = try client.send(
                S3Call(
                    method: .get, key: String(decoding: object.key, as: UTF8.self),
                    headers: [
                        "range": "bytes=\(range.lowerBound)-\(range.upperBound)", "if-match": "\"\(object.tag)\"",
                    ],
                    target: buffer, permission: "s3:GetObject", errand: errand,
                    check: { Self.fault($0, of: object) ?? RangeCheck(range: range).fault($0) }))
        } catch {
            throw translate(error, object.key, "cannot be read")
        }
    }

    public func find(_ key: [UInt8]) throws(ObjectStoreError) -> ForeignEntry? {
        // Not HEAD: some servers know their directories by it. The object itself comes first, if there is one.
        let page = try client.listing(of: "bucket \(url)") { () throws(S3Failure) in
            try client.page(
                below: String(decoding: key, as: UTF8.self), limit: 1, budget: .transfer, errand: errand)
        }
        return try entries(page).first { $0.key == key }
    }

    public func list(below prefix: [UInt8], _ take: ([ForeignEntry]) -> Bool) throws(ObjectStoreError) {
        var problem: ObjectStoreError?
        try client.listing(of: "bucket \(url)") { () throws(S3Failure) in
            try client.list(below: String(decoding: prefix, as: UTF8.self), budget: .transfer, errand: errand) { page in
                do throws(ObjectStoreError) {
                    let entries = try entries(page)
                    return entries.isEmpty || take(entries)
                } catch {
                    problem = error
                    return false
                }
            }
        }
        if let problem { throw problem }
    }

    // MARK: Parts

    /// Whether a reply is of another object than was asked for.
    private static func fault(_ reply: HTTPReply, of object: ForeignObject) -> S3Failure? {
        let tag = reply.headers["etag"].map(ListingPage.bare)
        let total = reply.headers["content-range"]?.words(at: "/").last.flatMap { UInt64($0) }
        let size = reply.status == 206 ? total : reply.headers["content-length"].flatMap { UInt64($0) }
        return tag == object.tag && size == object.size ? nil : S3Failure(kind: .taken, cause: "")
    }

    private func entries(_ page: ListingPage) throws(ObjectStoreError) -> [ForeignEntry] {
        try page.objects.map { object throws(ObjectStoreError) in
            guard let size = object.size, let tag = object.tag, let seconds = object.modified else {
                throw .failed(
                    .io, "bucket \(url) cannot be listed: it tells no size, ETag or time of \"\(object.key)\"")
            }
            return ForeignEntry(
                key: Array(object.key.utf8), content: .object(size: size, tag: tag), permissions: Self.permissions,
                modified: Timestamp(seconds: seconds, nanoseconds: 0))
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
