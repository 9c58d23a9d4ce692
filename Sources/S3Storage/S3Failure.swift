import FileModel

/// Why a request did not do what it was sent for, in words: the cause, and what a person can do.
struct S3Failure: Error, Equatable {
    enum Kind: Equatable {
        /// 404 for an object.
        case missing
        /// 412: `If-None-Match` found an object.
        case taken
        /// 416: the object ends before the range.
        case pastEnd
        /// 501, or 400 that says so: the store knows no conditional requests.
        case unknownFeature
        /// The store cannot be reached, or has no time now.
        case away
        case refused(Errno)
    }

    var kind: Kind
    var cause: String
    var fix = ""
    /// Another try may go better.
    var isPassing = false
    /// Keys that were renewed meanwhile may be taken.
    var mayHaveOldKeys = false
    /// Seconds that the store asked to wait.
    var retryAfter: Double?

    var words: String { fix.isEmpty ? cause : "\(cause); \(fix)" }
}

/// Reads a store's refusals.
struct S3Diagnosis {
    let location: S3Location
    /// Where the keys come from.
    let keys: String
    /// The permission that the request needs, such as `s3:GetObject`.
    let permission: String
    let now: Int

    private static let errorLimit = 300

    /// Why a reply with a status of 300 or more is no success.
    func failure(_ reply: HTTPReply) -> S3Failure {
        let error = try? XMLReader.parse(reply.body)
        let code = error?.name == "Error" ? error?["Code"] ?? "" : ""
        if code.isEmpty, Self.isWebPage(reply) { return webPage(reply) }
        var failure = named(code, error, reply) ?? numbered(reply, code)
        if failure.cause.isEmpty {
            let message = (error?["Message"] ?? "").prefix(Self.errorLimit)
            failure.cause = "the store answers \(reply.status)" + (code.isEmpty ? "" : " \(code)")
            if !message.isEmpty { failure.cause += " (\(message))" }
        }
        failure.retryAfter = reply.headers["retry-after"].flatMap { Double($0) }
        return failure
    }

    /// By the code of S3's error document.
    private func named(_ code: String, _ error: XMLReader.Element?, _ reply: HTTPReply) -> S3Failure? {
        let refused = S3Failure.Kind.refused(.accessDenied)
        switch code {
        case "NoSuchKey": return S3Failure(kind: .missing, cause: "")
        case "NoSuchBucket":
            return S3Failure(
                kind: .refused(.noEntry), cause: "there is no bucket \"\(location.bucket)\" at \(location.endpoint)",
                fix: "make it, or correct store= and endpoint=")
        case "InvalidAccessKeyId":
            return S3Failure(
                kind: refused, cause: "the store does not know the access key of \(keys)",
                fix: "correct it, or endpoint=", mayHaveOldKeys: true)
        case "SignatureDoesNotMatch":
            return S3Failure(
                kind: refused, cause: "the secret key of \(keys) is not the one of its access key", fix: "correct it",
                mayHaveOldKeys: true)
        case "ExpiredToken", "InvalidToken", "TokenRefreshRequired":
            return S3Failure(
                kind: refused, cause: "the session token of \(keys) has expired or is wrong", fix: "renew it",
                mayHaveOldKeys: true)
        case "AccessDenied", "AllAccessDisabled", "AccountProblem":
            return S3Failure(
                kind: refused, cause: "the store refuses access with \(keys) (\(code))",
                fix: "allow \(permission) on \(location.url) to them", mayHaveOldKeys: true)
        case "RequestTimeTooSkewed", "RequestExpired": return S3Failure(kind: refused, cause: clock(reply))
        case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException":
            return redirect(error?["Region"] ?? reply.headers["x-amz-bucket-region"], error?["Endpoint"])
        case "InvalidRange": return S3Failure(kind: .pastEnd, cause: "")
        case "PreconditionFailed": return S3Failure(kind: .taken, cause: "")
        case "NotImplemented": return S3Failure(kind: .unknownFeature, cause: "")
        case "RequestTimeout", "OperationAborted", "ConditionalRequestConflict", "BadDigest", "IncompleteBody",
            "XAmzContentSHA256Mismatch", "InternalError", "ServiceUnavailable", "SlowDown":
            return S3Failure(kind: .away, cause: "", isPassing: true)
        default: return nil
        }
    }

    /// By the status alone: a reply to HEAD has no body, and other servers have other documents.
    private func numbered(_ reply: HTTPReply, _ code: String) -> S3Failure {
        switch reply.status {
        case 301, 302, 307, 308:
            return redirect(reply.headers["x-amz-bucket-region"], reply.headers["location"])
        case 403 where isFarOff(reply): return S3Failure(kind: .refused(.accessDenied), cause: clock(reply))
        case 401, 403: return S3Failure(kind: .refused(.accessDenied), cause: "", fix: "check the keys of \(keys)")
        case 404: return S3Failure(kind: .missing, cause: "")
        case 407:
            return S3Failure(kind: .refused(.accessDenied), cause: "the proxy refuses", fix: "correct https_proxy")
        case 408, 425, 429: return S3Failure(kind: .away, cause: "", isPassing: true)
        case 412: return S3Failure(kind: .taken, cause: "")
        case 416: return S3Failure(kind: .pastEnd, cause: "")
        case 501: return S3Failure(kind: .unknownFeature, cause: "")
        case 507: return S3Failure(kind: .refused(.noSpace), cause: "the store is full", isPassing: true)
        case 500...: return S3Failure(kind: .away, cause: "", isPassing: true)
        default: return S3Failure(kind: .refused(.io), cause: "")
        }
    }

    private func redirect(_ region: String?, _ elsewhere: String?) -> S3Failure {
        let place = elsewhere.map { " (\($0.prefix(Self.errorLimit)))" } ?? ""
        let cause =
            region.map { "the bucket is in region \($0), and the request was for \(location.region)" }
            ?? "the store says that the bucket is elsewhere\(place)"
        return S3Failure(
            kind: .refused(.invalidArgument), cause: cause,
            fix: region.map { "make the volume with -o region=\($0)" } ?? "correct endpoint= and region=")
    }

    // MARK: Clock

    /// A signature is good for 15 minutes.
    private static let clockTolerance = 900

    private func isFarOff(_ reply: HTTPReply) -> Bool { skew(reply).map { abs($0) > Self.clockTolerance } ?? false }

    /// Seconds that this machine's clock is ahead of the store's.
    private func skew(_ reply: HTTPReply) -> Int? {
        reply.headers["date"].flatMap(HTTPDate.seconds).map { now - Int($0) }
    }

    private func clock(_ reply: HTTPReply) -> String {
        guard let skew = skew(reply) else {
            return "this machine's clock and the store's differ by more than 15 minutes; set the clock"
        }
        return
            "this machine's clock is \(abs(skew) / 60) minutes \(skew > 0 ? "ahead of" : "behind") the store's; set the clock"
    }

    // MARK: Web pages

    private static func isWebPage(_ reply: HTTPReply) -> Bool {
        let start = String(decoding: reply.body.prefix(200).drop { $0 <= 0x20 }, as: UTF8.self).lowercased()
        return start.hasPrefix("<!doctype html") || start.hasPrefix("<html")
            || reply.headers["content-type"]?.lowercased().hasPrefix("text/html") == true
    }

    func webPage(_ reply: HTTPReply) -> S3Failure {
        // A gateway's page for a store that is down passes.
        let isPassing = [429, 500, 502, 503, 504].contains(reply.status)
        return S3Failure(
            kind: isPassing ? .away : .refused(.invalidArgument),
            cause: "\(location.endpoint) answers with a web page and no S3 (status \(reply.status))",
            fix: "correct endpoint=, or the proxy's settings", isPassing: isPassing)
    }

    /// Why no reply came at all.
    func failure(_ failure: TransferFailure) -> S3Failure {
        if failure.isAboutTrust {
            return S3Failure(
                kind: .refused(.accessDenied),
                cause: "the certificate of \(location.endpoint) is not trusted: \(failure.words)",
                fix: "name the file of its CA with -o ca-file= or AWS_CA_BUNDLE")
        }
        return S3Failure(
            kind: .away, cause: "\(location.endpoint): \(failure.words)",
            fix: "check endpoint=, the network and the proxy",
            isPassing: failure.isPassing)
    }
}

/// `Tue, 15 Nov 1994 08:12:31 GMT`
enum HTTPDate {
    static func seconds(_ text: String) -> Int64? {
        let words = text.split { $0 == " " || $0 == ":" }
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        guard words.count == 8, let day = Int(words[1]), let month = months.firstIndex(of: String(words[2])),
            let year = Int(words[3]), let hour = Int(words[4]), let minute = Int(words[5]), let second = Int(words[6])
        else { return nil }
        return Timestamp.seconds(
            year: year, month: month + 1, day: day, hour: hour, minute: minute, second: second)
    }
}
