import FileModel
import Glibc

/// A page of ListObjectsV2.
package struct ListingPage: Equatable {
    struct NotAListing: Error {}

    package let keys: [String]
    struct Detail: Equatable {
        var size: UInt64?
        /// Seconds since 1970.
        var modified: Int64?
    }

    /// Of each key.
    var details: [Detail]
    /// What asks for the next page.
    package private(set) var next: String?

    package init(_ bytes: [UInt8]) throws {
        let root = try XMLReader.parse(bytes)
        guard root.name == "ListBucketResult" else { throw NotAListing() }
        let isEncoded = root["EncodingType"] == "url"
        keys = try root.all("Contents").map { entry in
            guard let key = entry["Key"], let decoded = isEncoded ? Self.decode(key) : key else { throw NotAListing() }
            return decoded
        }
        details = root.all("Contents").map { entry in
            Detail(
                size: entry["Size"].flatMap { UInt64($0) }, modified: entry["LastModified"].flatMap(Self.seconds))
        }
        guard root["IsTruncated"] == "true" else { return }
        guard let token = root["NextContinuationToken"], !token.isEmpty else { throw NotAListing() }
        next = token
    }

    /// `2009-10-12T17:50:30.000Z`; nil for anything else.
    static func seconds(_ text: String) -> Int64? {
        let parts = text.dropLast().split(whereSeparator: { "-T:.".contains($0) }).map { Int32($0) }
        guard text.hasSuffix("Z"), (6...7).contains(parts.count), let year = parts[0], let month = parts[1],
            let day = parts[2], let hour = parts[3], let minute = parts[4], let second = parts[5]
        else { return nil }
        var time = tm()
        time.tm_year = year - 1900
        time.tm_mon = month - 1
        time.tm_mday = day
        time.tm_hour = hour
        time.tm_min = minute
        time.tm_sec = second
        return Int64(timegm(&time))
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

/// Whether a reply to a range holds these bytes and no others.
struct RangeCheck {
    let range: ClosedRange<UInt64>

    func fault(_ reply: HTTPReply) -> S3Failure? {
        if reply.status == 200 { return faultOfWhole(reply) }
        guard let text = reply.headers["content-range"], let found = Self.parse(text) else {
            return S3Failure(
                kind: .refused(.io), cause: "the store answers a range without saying which", isPassing: true)
        }
        if found.range.lowerBound == range.lowerBound, found.range.upperBound < range.upperBound,
            found.total == found.range.upperBound + 1
        {
            return S3Failure(kind: .pastEnd, cause: "")
        }
        guard found.range == range else {
            return S3Failure(
                kind: .refused(.io),
                cause: "the store answers bytes \(found.range) where \(range) were asked for", isPassing: true)
        }
        guard reply.received == range.count else {
            return S3Failure(
                kind: .refused(.io), cause: "\(reply.received) of \(range.count) bytes came", isPassing: true)
        }
        return nil
    }

    /// The whole object is what was asked for where it begins with the range and ends with it.
    private func faultOfWhole(_ reply: HTTPReply) -> S3Failure? {
        if range.lowerBound == 0, reply.received == range.count { return nil }
        return S3Failure(
            kind: .refused(.notSupported), cause: "the store answers with the whole object where a range was asked for",
            fix: "use a store, or a proxy, that knows range requests")
    }

    /// `bytes 0-9/100`; the total is nil for `*`.
    fileprivate static func parse(_ text: String) -> (range: ClosedRange<UInt64>, total: UInt64?)? {
        guard text.hasPrefix("bytes ") else { return nil }
        let parts = text.dropFirst(6).split(separator: "/")
        let ends = parts.first?.split(separator: "-").compactMap { UInt64($0) } ?? []
        guard parts.count == 2, ends.count == 2, ends[0] <= ends[1] else { return nil }
        return (ends[0]...ends[1], UInt64(parts[1]))
    }
}

/// Whether a reply to a range from the end holds the end of the object.
struct TailCheck {
    let count: Int

    /// Of the whole object; nil where the reply is not its end.
    func size(_ reply: HTTPReply) -> UInt64? {
        // A short object may come whole.
        if reply.status == 200 { return reply.body.count <= count ? UInt64(reply.body.count) : nil }
        guard let text = reply.headers["content-range"], let found = RangeCheck.parse(text), let total = found.total,
            found.range.upperBound + 1 == total, reply.body.count == found.range.count,
            UInt64(reply.body.count) == min(total, UInt64(count))
        else { return nil }
        return total
    }

    func fault(_ reply: HTTPReply) -> S3Failure? {
        if size(reply) != nil { return nil }
        return S3Failure(
            kind: .refused(.io), cause: "the store answers other bytes than the last \(count) that were asked for",
            isPassing: true)
    }
}
