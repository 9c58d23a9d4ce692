import FileModel
import ObjectStorage

/// A page of ListObjectsV2.
package struct ListingPage: Equatable {
    struct NotAListing: Error {}

    package struct Object: Equatable {
        package let key: String
        let size: UInt64?
        /// Without its quotes.
        let tag: String?
        /// Seconds since 1970.
        let modified: Int64?
    }

    package let objects: [Object]
    /// What asks for the next page.
    package let next: String?

    package init(_ bytes: [UInt8]) throws {
        let root = try XMLReader.parse(bytes)
        guard root.name == "ListBucketResult" else { throw NotAListing() }
        let isEncoded = root["EncodingType"] == "url"
        objects = try root.all("Contents").map { entry in
            guard let name = entry["Key"], let key = isEncoded ? Self.decode(name) : name else { throw NotAListing() }
            return Object(
                key: key, size: entry["Size"].flatMap { UInt64($0) }, tag: entry["ETag"].map(Self.bare),
                modified: entry["LastModified"].flatMap { Timestamp($0)?.seconds })
        }
        next = root["IsTruncated"] == "true" ? root["NextContinuationToken"] ?? "" : nil
        if next?.isEmpty == true { throw NotAListing() }
    }

    /// An ETag without its quotes.
    static func bare(_ tag: String) -> String {
        tag.count >= 2 && tag.hasPrefix("\"") && tag.hasSuffix("\"") ? String(tag.dropFirst().dropLast()) : tag
    }

    /// Percent-encoding as S3 does it; nil where it is none.
    static func decode(_ text: String) -> String? {
        var bytes: [UInt8] = []
        var rest = Substring(text).utf8
        while let byte = rest.popFirst() {
            switch byte {
            case 0x25:
                guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
                else { return nil }
                rest = rest.dropFirst(2)
                bytes.append(value)
            case 0x2B: bytes.append(0x20)
            default: bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension S3Client {
    /// Keys of a page: the most that S3 gives.
    private static let pageKeys = 1000

    /// All objects whose keys begin with `prefix`, a page at a time, in the order of their keys, until `take` answers
    /// false.
    func list(
        below prefix: String, budget: RetryBudget, errand: StoreErrand? = nil, _ take: (ListingPage) -> Bool
    ) throws(S3Failure) {
        var token: String?
        repeat {
            let page = try page(below: prefix, after: token, limit: Self.pageKeys, budget: budget, errand: errand)
            guard take(page) else { return }
            guard page.next == nil || page.next != token else {
                throw S3Failure(kind: .refused(.io), cause: "it gives the same page again and again")
            }
            token = page.next
        } while token != nil
    }

    /// Says of a listing that failed what could not be listed.
    func listing<Result>(
        of subject: String, _ body: () throws(S3Failure) -> Result
    ) throws(ObjectStoreError) -> Result {
        do throws(S3Failure) {
            return try body()
        } catch {
            throw .failed(error.errno, "\(subject) cannot be listed: \(error.words)")
        }
    }

    /// `token` is what the page before called the next one.
    func page(
        below prefix: String, after token: String? = nil, limit: Int, budget: RetryBudget, errand: StoreErrand? = nil
    ) throws(S3Failure) -> ListingPage {
        let diagnosis = S3Diagnosis(location: location, keys: "", permission: "", now: 0)
        var call = S3Call(method: .get, key: nil, permission: "s3:ListBucket", budget: budget)
        call.errand = errand
        call.query = [("list-type", "2"), ("max-keys", "\(limit)"), ("encoding-type", "url"), ("prefix", prefix)]
        if let token { call.query.append(("continuation-token", token)) }
        var page: ListingPage?
        call.check = { reply in
            page = try? ListingPage(reply.body)
            return page == nil ? diagnosis.webPage(reply) : nil
        }
        let reply = try send(call)
        guard let page else { throw diagnosis.webPage(reply) }
        return page
    }
}
