import FileModel
import ObjectStorage
import S3Storage
import Synchronization
import TestSupport
import Testing

/// What a network and a server do to requests.
@Suite("a bucket behind a faulty network", .serialized)
struct FaultTests {
    private let proxy: FaultyProxy
    private let store: S3Store
    private let name = ObjectName(pack: PackID(epoch: 1, sequence: 2))
    private let bytes = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 / 5) }

    init() throws {
        proxy = try FaultyProxy(before: try S3Server.shared())
        store = try Buckets.store(prefix: "faults/\(Buckets.unique())", endpoint: proxy.endpoint, sleep: { _ in })
    }

    @Test("a put whose reply was lost is recognised as done, not as somebody else's")
    func lostReply() throws {
        try proxy.set("PUT lose-reply 1")
        try store.put(name, bytes)
        #expect(try store.get(name, 0, bytes.count) == bytes)
        let puts = try proxy.requests().filter { $0.hasPrefix("PUT") }
        #expect(puts.count == 2 && puts[1].contains(" 412 "), "\(puts)")
    }

    @Test("a store without conditional requests is looked at first, and still never overwritten")
    func noConditions() throws {
        try proxy.set("PUT no-conditions 1")
        try store.put(name, bytes)
        #expect(throws: ObjectStoreError.exists) { try store.put(name, [1]) }
        #expect(try store.get(name, 0, bytes.count) == bytes)
    }

    @Test("what passes is tried again", arguments: ["throttle", "error", "close", "cut", "wrong-range", "delay-300"])
    func passing(fault: String) throws {
        try store.put(name, bytes)
        try proxy.set("GET \(fault) 2")
        #expect(try store.get(name, 1000, 5000) == Array(bytes[1000..<6000]))
        #expect(try proxy.requests().count == (fault == "delay-300" ? 1 : 3))
        guard !["wrong-range", "cut"].contains(fault) else { return }
        let other = ObjectName(pack: PackID(epoch: 1, sequence: 3))
        try proxy.set("PUT \(fault) 2")
        try store.put(other, bytes)
        #expect(try store.get(other, 0, bytes.count) == bytes)
    }

    @Test("tries end: their number is bounded, and the pauses grow")
    func bounded() throws {
        let pauses = Mutex<[Double]>([])
        let endpoint = proxy.endpoint
        let store = try Buckets.store(
            prefix: "faults/x", endpoint: endpoint, sleep: { pause in pauses.withLock { $0.append(pause) } })
        try proxy.set("* throttle 1000")
        let text = words { _ = try store.get(name, 0, 10) }
        #expect(text.contains("503 SlowDown") && text.contains("(tried 8 times)"), "\(text)")
        let made = pauses.withLock { $0 }
        #expect(made.count == 7 && made == made.sorted() && made[0] < made[6], "\(made)")
        #expect(try proxy.requests().count == 8)
    }

    @Test("bytes other than those asked for never come back as data")
    func otherBytes() throws {
        try store.put(name, bytes)
        try proxy.set("GET wrong-range 100")
        #expect(
            words { _ = try store.get(name, 100, 100) }.contains("answers bytes 101...200 where 100...199 were asked"))
        try proxy.set("GET ignore-range 100")
        #expect(words { _ = try store.get(name, 100, 100) }.contains("whole object where a range was asked for"))
        try proxy.set("GET cut 100")
        #expect(words { _ = try store.get(name, 0, bytes.count) }.contains("tried 8 times"))
        try proxy.set("GET html 100")
        #expect(words { _ = try store.get(name, 0, 10) } != "no failure")
    }

    @Test("a web page, a redirect to another region and a wrong clock are named, with what to do")
    func explained() throws {
        try proxy.set("* html 100")
        let page = words { _ = try store.list() }
        #expect(page.contains("answers with a web page and no S3") && page.contains("correct endpoint="), "\(page)")
        try proxy.set("* redirect 100")
        let redirect = words { _ = try store.size(name) }
        #expect(
            redirect.contains("the bucket is in region eu-test-1, and the request was for us-east-1"), "\(redirect)")
        #expect(redirect.contains("-o region=eu-test-1"))
        try proxy.set("* skew 100")
        let skew = words { _ = try store.list() }
        #expect(skew.contains("this machine's clock is 60 minutes ahead of the store's"), "\(skew)")
    }

    @Test("wrong keys, no bucket and no permission are named, with what to do")
    func refused() throws {
        let name = name
        let wrong = try Buckets.store(prefix: "x", keys: (S3Server.accessKey, "wrong"))
        let wrongText = words { _ = try wrong.size(name) }
        #expect(wrongText.contains("the secret key of the test is not the one"), "\(wrongText)")
        #expect(!wrongText.contains("wrong") && !wrongText.contains("\n"))
        let unknown = try Buckets.store(prefix: "x", keys: ("AKIANOBODY", "x"))
        #expect(words { _ = try unknown.list() }.contains("does not know the access key of the test"))
        let absent = try Buckets.store(bucket: "no-such-bucket", prefix: "x")
        #expect(
            words { try absent.put(name, [1]) }.contains("there is no bucket \"no-such-bucket\" at http://127.0.0.1"))
        #expect(words { _ = try absent.probe() }.contains("no bucket \"no-such-bucket\""))
        let reader = try Buckets.store(
            bucket: "readable", prefix: "x", keys: (S3Server.readerKey, S3Server.readerSecret))
        #expect(try reader.list().isEmpty)
        let denied = words { try reader.put(name, [1]) }
        #expect(
            denied.contains("AccessDenied") && denied.contains("allow s3:PutObject on s3://readable/x"), "\(denied)")
        let nobody = try Buckets.store(prefix: "x", endpoint: "http://127.0.0.1:1", sleep: { _ in })
        #expect(words { _ = try nobody.size(name) }.contains("Failed to connect to 127.0.0.1 port 1"))
    }

    @Test("a clock that is off by an hour is refused by a real server, and the message says so")
    func realClock() throws {
        let store = try Buckets.store(prefix: "x", clockOffset: 3600)
        let text = words { _ = try store.size(name) }
        #expect(text.contains("this machine's clock is") && text.contains("ahead of the store's"), "\(text)")
    }
}
