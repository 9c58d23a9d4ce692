import FileModel

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
        let parts = text.dropFirst(6).words(at: "/")
        let ends = parts.first?.split(separator: "-").compactMap { UInt64($0) } ?? []
        // No object is larger than a file can be: what says so is no answer.
        guard parts.count == 2, ends.count == 2, ends[0] <= ends[1], ends[1] < UInt64(Int64.max) else { return nil }
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
