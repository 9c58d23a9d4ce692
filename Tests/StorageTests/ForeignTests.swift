import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import S3Storage
import TestSupport
import Testing

/// Objects that somebody else writes, in a directory and in a bucket of a real server.
@Suite("foreign stores", .serialized)
struct ForeignTests {
    /// One of the two kinds, and how somebody else writes to it.
    private struct Place {
        let store: any ForeignStore
        let prefix: String
        let put: (String, String) throws -> Void
        let remove: (String) throws -> Void
        let directory = TemporaryDirectory()

        init(_ kind: StoreKind, endpoint: String? = nil) throws {
            let root = directory.path
            guard kind != .directory else {
                prefix = ""
                store = ForeignDirectory(root: root)
                put = { key, text in
                    let parent = "\(root)/\(key)".split(separator: "/").dropLast().joined(separator: "/")
                    try Shell.root.run("mkdir -p '/\(parent)'")
                    try AtomicFile.replace("\(root)/\(key)", Array(text.utf8))
                }
                remove = { unlink("\(root)/\($0)") }
                return
            }
            let server = try S3Server.shared().endpoint
            let prefix = "foreign/\(Buckets.unique())/"
            self.prefix = prefix
            let location = try #require(
                S3Location(
                    store: "s3://\(S3Server.bucket)", endpoint: endpoint ?? server, region: "us-east-1",
                    isPathStyle: nil))
            store = try S3ForeignStore(
                location, certificates: nil,
                surroundings: S3Surroundings(now: { time(nil) }, chance: { 0.5 }, sleep: { _ in }),
                credentials: { () throws(SystemFailure) in
                    S3Credentials(accessKey: S3Server.accessKey, secretKey: S3Server.secretKey, source: "the test")
                })
            let curl =
                "curl -sSf --aws-sigv4 aws:amz:us-east-1:s3 --user \(S3Server.accessKey):\(S3Server.secretKey)"
            put = { key, text in
                let path = "\(root)/upload"
                try AtomicFile.replace(path, Array(text.utf8))
                let encoded = key.replacing(" ", with: "%20").replacing("+", with: "%2B")
                try Shell.root.run("\(curl) -T '\(path)' '\(server)/\(S3Server.bucket)/\(prefix)\(encoded)'")
            }
            remove = { try Shell.root.run("\(curl) -X DELETE '\(server)/\(S3Server.bucket)/\(prefix)\($0)'") }
        }

        func object(_ key: String) throws -> ForeignObject {
            let entry = try #require(try store.find(Array((prefix + key).utf8)))
            guard case .object(let size, let tag) = entry.content else { throw TestFailure("\(entry) is no object") }
            return ForeignObject(source: 1, key: entry.key, size: size, tag: tag, modified: entry.modified)
        }

        func read(_ object: ForeignObject, _ range: Range<Int>) throws -> String {
            var bytes = [UInt8](repeating: 0, count: range.count)
            try bytes.withUnsafeMutableBytes { try store.read(object, at: UInt64(range.lowerBound), into: $0) }
            return String(decoding: bytes, as: UTF8.self)
        }

        func list() throws -> [String] {
            var names: [String] = []
            try store.list(below: Array(prefix.utf8)) { page in
                names += page.filter { $0.content != .directory }.map {
                    String(String(decoding: $0.key, as: UTF8.self).dropFirst(prefix.count))
                }
                return true
            }
            return names.sorted()
        }
    }

    @Test("keys, sizes and ranges are what was written", arguments: [StoreKind.directory, .bucket])
    func whole(kind: StoreKind) throws {
        let place = try Place(kind)
        for key in ["a", "d/b", "d/e/c", "with space+plus", "empty"] {
            try place.put(key, key == "empty" ? "" : "content of \(key)")
        }
        #expect(try place.list() == ["a", "d/b", "d/e/c", "empty", "with space+plus"])
        let object = try place.object("with space+plus")
        #expect(object.size == 26)
        #expect(try place.read(object, 11..<26) == "with space+plus")
        #expect(try place.object("empty").size == 0)
        #expect(try place.store.find(Array((place.prefix + "none").utf8)) == nil)
        try place.store.prove(object, "x")
    }

    @Test("what has changed, shrunk or gone is refused with its name", arguments: [StoreKind.directory, .bucket])
    func changed(kind: StoreKind) throws {
        let place = try Place(kind)
        for key in ["same-size", "shorter", "gone"] { try place.put(key, "first content") }
        let before = try ["same-size", "shorter", "gone"].map { try place.object($0) }
        try place.put("same-size", "other content")
        try place.put("shorter", "x")
        try place.remove("gone")
        for (object, word) in zip(before, ["same-size has changed", "shorter has changed", "gone is gone"]) {
            let text = words { _ = try place.read(object, 0..<5) }
            #expect(text.contains(word), "\(text)")
            #expect(words { try place.store.prove(object, "x") }.contains(word))
        }
        #expect(try place.read(try place.object("same-size"), 0..<5) == "other")
    }

    @Test("a bucket that ignores the condition is found out, and a faulty network brings no other bytes")
    func conditions() throws {
        let proxy = try FaultyProxy(before: try S3Server.shared())
        let place = try Place(.bucket, endpoint: proxy.endpoint)
        try place.put("k", "first content")
        let object = try place.object("k")
        for fault in ["throttle", "close", "cut", "wrong-range", "error"] {
            try proxy.set("GET \(fault) 2")
            #expect(try place.read(object, 2..<9) == "rst con", "\(fault)")
        }
        try place.put("k", "other content")
        try proxy.set("GET ignore-match 1")
        #expect(words { _ = try place.read(object, 0..<5) }.contains("has changed"))
        #expect(try proxy.requests().allSatisfy { !$0.contains(" 412 ") })
        #expect(words { _ = try place.read(object, 0..<5) }.contains("has changed"))
        #expect(try proxy.requests().contains { $0.contains(" 412 ") })
    }

    @Test("who reads what was imported is let go at the end, as who reads packs")
    func errand() throws {
        let proxy = try FaultyProxy(before: try S3Server.shared())
        let place = try Place(.bucket, endpoint: proxy.endpoint)
        try place.put("k", "first content")
        let object = try place.object("k")
        try proxy.set("GET hang 1")
        let errand = StoreErrand()
        let store = place.store.on(errand)
        let ending = WorkerThread(name: "end") {
            usleep(300_000)
            errand.finish()
        }
        var buffer = [UInt8](repeating: 0, count: 5)
        let text = words {
            if let error = buffer.withUnsafeMutableBytes({ buffer -> ObjectStoreError? in
                do throws(ObjectStoreError) { try store.read(object, at: 0, into: buffer) } catch { return error }
                return nil
            }) {
                throw error
            }
        }
        ending.join()
        #expect(text.contains("is ending"), "\(text)")
        #expect(words { _ = try store.find(object.key) }.contains("is ending"))
        try proxy.set("")
        #expect(try place.read(object, 0..<5) == "first")
    }

    @Test("more keys than a page has are all listed, once")
    func pages() throws {
        let place = try Place(.bucket)
        let server = try S3Server.shared()
        // Through the server's own copy of one object: a second instead of a minute.
        try Shell.root.run(
            """
            for i in $(seq 2100); do printf 'url="\(server.endpoint)/\(S3Server.bucket)/\(place.prefix)k%d"\\nupload-file="/etc/hostname"\\n' $i; done > '\(place.directory.path)/list'
            curl -sSf --parallel --parallel-max 16 --aws-sigv4 aws:amz:us-east-1:s3 --user \(S3Server.accessKey):\(S3Server.secretKey) -K '\(place.directory.path)/list' > /dev/null 2>&1
            """, timeout: .seconds(180))
        let names = try place.list()
        #expect(names.count == 2100 && Set(names).count == 2100)
    }
}
