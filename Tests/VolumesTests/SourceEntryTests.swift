import FileModel
import LinuxSystem
import Testing

@testable import Volumes

@Suite("sources that a volume's user named")
struct SourceEntryTests {
    private func entry(_ url: String, _ options: String = "") -> String? {
        SourceEntry(url: url, options: options)?.description
    }

    @Test("an entry of a bucket says who is asked and with whose keys, so that another endpoint is another source")
    func buckets() {
        #expect(entry("s3://bucket") == "s3://bucket")
        #expect(
            entry("s3://bucket", #"{"endpoint":"https://a.example","profile":"p","downloadLimit":100000}"#)
                == "s3://bucket?endpoint=https://a.example&profile=p")
        #expect(
            entry("s3://bucket", #"{"certificates":"/c","isPathStyle":true,"region":"eu"}"#)
                == "s3://bucket?ca-file=/c&path-style=true&region=eu")
        // One value cannot look like two.
        let two = entry("s3://bucket", #"{"endpoint":"https://a","profile":"p"}"#)
        #expect(entry("s3://bucket", #"{"endpoint":"https://a&profile=p"}"#) != two)
        #expect(entry("s3://bucket?endpoint=https://a&profile=p") == nil)
        for url in ["s3://bucket/key", "http://host/", "file:relative", "/etc", "s3://b", ""] {
            #expect(entry(url) == nil, "\(url)")
        }
        #expect(entry("s3://bucket", "no options") == nil)
        #expect(entry("file:///data/x") == "file:///data/x")
    }

    @Test("a person's text is the entry that is shown, and anything else is refused")
    func texts() throws {
        #expect(try SourceEntry(text: "file:///data/").description == "file:///data")
        #expect(try SourceEntry(text: "file:///").description == "file:///")
        #expect(
            try SourceEntry(text: "s3://bucket?endpoint=https://a")
                == SourceEntry(
                    url: "s3://bucket", options: #"{"endpoint":"https://a"}"#))
        for text in ["", "/data", "file://data", "file:///a/../b", "s3://", "https://x", "s3://bucket? x"] {
            #expect(throws: SystemFailure.self, "\(text)") { _ = try SourceEntry(text: text) }
        }
        #expect(SourceEntry(url: "file:///a\u{1B}[2J\n", options: "")?.display == "file:///a%1B[2J%0A")
    }

    @Test(
        "a volume that comes back takes no place, host or keys from the record in its store, and no value that cannot be"
    )
    func adopted() throws {
        let hostile = try VolumeOptions(words: [
            "store=s3://other/bucket", "endpoint=https://evil.example", "profile=work", "ca-file=/evil.pem",
            "cache-dir=/home/me", "cache-size=1G", "free-space=1M", "path=/data", "size=1G", "inodes=5", "trash=3d",
            "compression=none", "durability=store", "metadata-copy=60s", "snapshot-dir=off",
        ])
        var own = try VolumeOptions(words: ["store=file:///mine"])
        #expect(own.adopt(hostile) == [])
        #expect(
            own.words == [
                "store": "file:///mine", "path": "/data", "size": "\(1 << 30)", "inodes": "5", "trash": "3d",
                "compression": "none", "durability": "store", "metadata-copy": "60s", "snapshot-dir": "off",
            ])
        var impossible = VolumeOptions()
        impossible.path = "/data/../etc"
        impossible.trash = TrashOptions()
        impossible.trash?.seconds = .max
        impossible.copySeconds = -1
        impossible.size = .max
        #expect(own.adopt(impossible).count == 4)
        #expect(own.path == "/data" && own.size == 1 << 30)
    }
}
