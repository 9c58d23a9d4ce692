import Glibc
import LinuxSystem
import ObjectStorage
import TestSupport
import Testing

@testable import S3Storage

/// What is sent, and how answers are read.
@Suite("the S3 protocol")
struct WireTests {
    private let credentials = S3Credentials(
        accessKey: "AKIAIOSFODNN7EXAMPLE", secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", source: "the manual")
    /// 20130524T000000Z
    private let time = 1_369_353_600

    private func signature(
        _ method: String, _ path: String, _ query: [(String, String)], _ headers: [String: String],
        body: String = RequestSignature.emptyBodyHash
    ) -> String {
        let signer = RequestSignature(credentials: credentials, region: "us-east-1", time: time)
        let host = ["host": "examplebucket.s3.amazonaws.com"]
        let added = signer.headers(
            method: method, path: path, query: query.map { (name: $0.0, value: $0.1) },
            headers: headers.merging(host) { own, _ in own }, bodyHash: body)
        return (added["authorization"]?.split(separator: "=").last).map(String.init) ?? ""
    }

    @Test("the examples of Amazon's manual have the signatures of Amazon's manual")
    func signatures() {
        #expect(
            signature("GET", "/test.txt", [], ["range": "bytes=0-9"])
                == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
        #expect(
            signature("GET", "/", [("max-keys", "2"), ("prefix", "J")], [:])
                == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
        #expect(
            signature(
                "PUT", RequestSignature.encode("/test$file.text", isPath: true), [],
                ["date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"],
                body: RequestSignature.hash(Array("Welcome to Amazon S3.".utf8)))
                == "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")
    }

    @Test("a range that no object has is an error of the store's, and ends nobody")
    func impossibleRanges() {
        let numbers = [
            "0", "9", "9223372036854775807", "18446744073709551614", "18446744073709551615", "99999999999999999999",
        ]
        for first in numbers {
            for last in numbers {
                for total in numbers + ["*"] {
                    var reply = HTTPReply()
                    reply.status = 206
                    reply.headers = ["content-range": "bytes \(first)-\(last)/\(total)"]
                    let isWhole = RangeCheck(range: 0...9).fault(reply) == nil
                    #expect(!isWhole, "\(reply.headers)")
                    #expect(TailCheck(count: 10).size(reply) == nil, "\(reply.headers)")
                }
            }
        }
    }

    @Test("a session token is sent and signed, and keys are never printed")
    func token() {
        let keys = S3Credentials(accessKey: "A", secretKey: "SECRET", sessionToken: "TOKEN", source: "a file")
        let headers = RequestSignature(credentials: keys, region: "r", time: time).headers(
            method: "GET", path: "/", query: [], headers: ["host": "h"], bodyHash: "x")
        #expect(headers["x-amz-security-token"] == "TOKEN")
        #expect(headers["authorization"]?.contains("x-amz-security-token") == true)
        #expect("\(keys) \(String(reflecting: keys))" == "the keys of a file the keys of a file")
    }

    @Test("buckets are in the host's name at big providers, and in the path elsewhere, unless told")
    func styles() throws {
        func origin(_ store: String, _ endpoint: String?, _ pathStyle: Bool? = nil) -> String? {
            S3Location(store: store, endpoint: endpoint, region: "eu-west-1", isPathStyle: pathStyle)
                .map { $0.transport + $0.origin.host + $0.origin.path + " " + $0.prefix }
        }
        #expect(origin("s3://data/a/b", nil) == "https://data.s3.eu-west-1.amazonaws.com a/b")
        #expect(origin("s3://da.ta", nil) == "https://s3.eu-west-1.amazonaws.com/da.ta ")
        #expect(
            origin("s3://data", "https://oss-cn-beijing.aliyuncs.com") == "https://data.oss-cn-beijing.aliyuncs.com ")
        #expect(origin("s3://data/p", "http://127.0.0.1:9000") == "http://127.0.0.1:9000/data p")
        #expect(origin("s3://data/p", "http://s3.example:9000", false) == "http://data.s3.example:9000 p")
        for bad in ["s3://", "s3://ab", "s3://data/../x", "s3://data//x", "file:///x", "s3://da ta"] {
            #expect(origin(bad, nil) == nil, "\(bad)")
        }
        #expect(origin("s3://data", "https://user:word@host") == nil)
        #expect(origin("s3://data", "ftp://host") == nil)
    }

    @Test("listings are read strictly: what is cut, mistyped or no XML is refused")
    func listings() throws {
        let text = """
            <?xml version="1.0" encoding="UTF-8"?>
            <!-- made by hand -->
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>
            <IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b&#x3D;</NextContinuationToken>
            <Contents><Key>p/a%2Bb+c</Key><Size>1</Size></Contents><Contents><Key><![CDATA[p/d]]></Key><ETag/></Contents>
            </ListBucketResult>
            """
        let page = try ListingPage(Array(text.utf8))
        #expect(page.objects.map(\.key) == ["p/a+b c", "p/d"] && page.next == "a&b=")
        let bytes = Array(text.utf8)
        for length in 0..<bytes.count - 1 {
            #expect(throws: (any Error).self, "\(length)") { try ListingPage(Array(bytes[..<length])) }
        }
        for bad in [
            "<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult/>", "<ListBucketResult></Other>", "<html></html>",
            "<ListBucketResult><Contents/></ListBucketResult>", "<ListBucketResult>&nope;</ListBucketResult>",
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            String(repeating: "<a>", count: 100_000),
        ] {
            #expect(throws: (any Error).self, "\(bad.prefix(60))") { try ListingPage(Array(bad.utf8)) }
        }
    }

    @Test("dates of replies are read to the second")
    func dates() {
        #expect(HTTPDate.seconds("Fri, 24 May 2013 00:00:00 GMT") == Int64(time))
        #expect(HTTPDate.seconds("Thu, 29 Feb 2024 23:59:59 GMT") == 1_709_251_199)
        #expect(HTTPDate.seconds("Thu, 01 Jan 1970 00:00:01 GMT") == 1)
        #expect(HTTPDate.seconds("yesterday") == nil)
    }
}

/// Where keys are found.
@Suite("credentials")
struct CredentialTests {
    private let directory = TemporaryDirectory()

    private func finder(_ environment: [String: String] = [:], profile: String? = nil) -> S3CredentialFinder {
        S3CredentialFinder(
            environment: environment, home: directory.path, ownFile: "\(directory.path)/own", profile: profile)
    }

    private func section(_ name: String, _ key: String) -> String {
        "[\(name)]\naws_access_key_id = \(key)\naws_secret_access_key=s/\(key)=\n"
    }

    @Test("the environment comes first, then Berth's own file, then AWS's, each by profile")
    func order() throws {
        try Shell.root.run("mkdir '\(directory.path)/.aws'")
        #expect(throws: SystemFailure.self) { try finder().credentials() }
        try AtomicFile.replace(
            "\(directory.path)/.aws/config",
            Array(
                "# mine\n\(section("profile sso", "C"))region = eu-1\ns3 =\n  region = no\n[default]\nregion = us-9\n"
                    .utf8))
        #expect(try finder(profile: "sso").credentials().accessKey == "C")
        #expect(try finder(["AWS_PROFILE": "sso"]).credentials().secretKey == "s/C=")
        #expect(try finder(profile: "sso").setting(nil, ["AWS_REGION"], key: "region") == "eu-1")
        #expect(try finder().setting(nil, ["AWS_REGION"], key: "region") == "us-9")
        #expect(try finder(["AWS_REGION": "x"]).setting(nil, ["AWS_REGION"], key: "region") == "x")
        try AtomicFile.replace("\(directory.path)/.aws/credentials", Array(section("default", "B").utf8))
        #expect(try finder().credentials().accessKey == "B")
        try AtomicFile.replace("\(directory.path)/own", Array(section("default", "A").utf8))
        #expect(try finder().credentials().accessKey == "A")
        let environment = ["AWS_ACCESS_KEY_ID": "E", "AWS_SECRET_ACCESS_KEY": "S", "AWS_SESSION_TOKEN": "T"]
        #expect(try finder(environment).credentials().sessionToken == "T")
        #expect(try finder(environment, profile: "sso").credentials().accessKey == "C")
        #expect(throws: SystemFailure.self) { try finder(["AWS_ACCESS_KEY_ID": "E"]).credentials() }
    }

    @Test("a file of Berth's own that others can read is refused, with the fix")
    func mode() throws {
        let path = "\(directory.path)/own"
        for mode in [0o640, 0o604, 0o644] {
            try AtomicFile.replace(path, Array(section("default", "A").utf8), mode: mode_t(mode))
            do {
                _ = try finder().credentials()
                Issue.record("taken with mode \(mode)")
            } catch {
                #expect("\(error)".contains("chmod 600 \(path)"), "\(error)")
            }
        }
    }
}
