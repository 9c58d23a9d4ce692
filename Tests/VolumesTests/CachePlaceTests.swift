import FileModel
import Glibc
import LinuxSystem
import TestSupport
import Testing

@testable import Volumes

@Suite("where caches are, and how large")
struct CachePlaceTests {
    private let directory = TemporaryDirectory()

    private func record(_ name: String = "v", _ words: String...) throws -> VolumeRecord {
        VolumeRecord(name: try VolumeName(name), createdAt: "x", options: try VolumeOptions(words: words))
    }

    private func places(_ list: String, _ variables: [String: String] = [:]) throws -> CachePlaces {
        CachePlaces(
            try record("v", "cache-dir=\(list)"), SitePaths(environment: ["HOME": "\(directory.path)/h"]),
            UserSettings(), environment: variables, user: "ada")
    }

    @Test("places are tried in order; what a node lacks is passed over, and the reasons are told where none is left")
    func order() throws {
        let base = directory.path
        let list = "/no-such-disk/%u:$JOB_DISK/x:${BASE}/%u.d:\(base)/last"
        #expect(try places(list, ["JOB_DISK": "\(base)/job", "BASE": base]).choose() == "\(base)/job/x/v")
        #expect(try places(list, ["BASE": base]).choose() == "\(base)/ada.d/v")
        #expect(try places(list, ["BASE": "relative", "JOB_DISK": ""]).choose() == "\(base)/last/v")
        #expect(try places(list).existing == ["\(base)/last/v"])
        #expect(
            try places(list, ["BASE": base, "JOB_DISK": "/../x"]).existing == ["\(base)/ada.d/v", "\(base)/last/v"])
        let failure = #expect(throws: SystemFailure.self) { try places("$NONE:/no-such-disk/x").choose() }
        #expect(failure?.message.contains("$NONE: names nothing here; /no-such-disk: is not there") == true)
        #expect(access("/no-such-disk", F_OK) != 0)
    }

    @Test("a place that others can write to is refused, and not passed over")
    func others() throws {
        let base = directory.path
        for (mode, what) in [(0o775, "the place"), (0o777, "the place"), (0o702, "the place")] {
            try Shell.root.run(
                "rm -rf '\(base)/d'; mkdir '\(base)/d'; chgrp 54321 '\(base)/d' 2>/dev/null; chmod \(String(mode, radix: 8)) '\(base)/d'"
            )
            let failure = #expect(throws: SystemFailure.self, "\(what)") {
                try places("\(base)/d:\(base)/e").choose()
            }
            #expect(failure?.status == .noPermission)
            #expect(
                failure?.message.contains(
                    "\(base)/d: can be written to by others, and \(base)/d/v lies below it; run: chmod go-w \(base)/d")
                    == true)
            #expect(throws: SystemFailure.self) { try places("\(base)/d").judge() }
        }
        // The volume's own directory in it, and a place of another user.
        try Shell.root.run(
            "chmod 755 '\(base)/d'; mkdir '\(base)/d/v'; chgrp 54321 '\(base)/d/v' 2>/dev/null; chmod 770 '\(base)/d/v'"
        )
        #expect(throws: SystemFailure.self) { try places("\(base)/d").choose() }
        try Shell.root.run("chmod 1777 '\(base)/d'; chmod 750 '\(base)/d/v'")
        #expect(try places("\(base)/d").choose() == "\(base)/d/v", "as /tmp is")
        #expect(try Shell.root.run("stat -c %a '\(base)/d/v'") == "700")
        #expect(access("\(base)/e", F_OK) != 0)
        if geteuid() == 0 {
            for theirs in ["d", "d/v"] {
                try Shell.root.run("chmod 755 '\(base)/d'; chown 0 '\(base)/d'; chown 12345 '\(base)/\(theirs)'")
                #expect(throws: SystemFailure.self) { try places("\(base)/d").choose() }
            }
        }
    }

    @Test(
        "what cannot be understood is refused when it is written",
        arguments: [
            "c", "/", "/a:", ":/a", "/a/../b", "/a//b", "/a/$", "/a/${X", "/a/%h", "%u/x", "/a\n", "$", "/a/$-x",
        ])
    func wrong(list: String) {
        #expect(throws: SystemFailure.self) { try VolumeOptions(words: ["cache-dir=\(list)"]) }
    }

    @Test("beside its store a volume keeps little of what nobody asked for, unless its user or it says how much")
    func besideStore() throws {
        func unasked(_ words: String..., user: String = "", quarter: UInt64 = 5 << 30, beside: Bool = true) throws
            -> UInt64?
        {
            CacheShare(
                of: try record("a", words.joined(separator: " ")), beside: [], try UserSettings(text: user, path: "/c"),
                quarter: quarter, diskBytes: 1 << 40, besideStore: beside
            ).unasked
        }
        #expect(try unasked("free-space=0") == 256 << 20)
        #expect(try unasked("free-space=0", quarter: 100 << 20) == 100 << 20)
        #expect(try unasked("free-space=0", beside: false) == nil)
        #expect(try unasked("cache-size=1G") == nil)
        #expect(try unasked("free-space=0", user: "cache-size = 20G\n") == nil)
        #expect(try unasked("free-space=0", user: "cache-total = 20G\n") == 256 << 20)
    }

    @Test("a volume has its own share, the user's, or what suits the disk; a total shrinks all in proportion")
    func shares() throws {
        let terabyte: UInt64 = 1 << 40
        func share(_ own: VolumeRecord, _ others: [VolumeRecord], _ settings: UserSettings) -> CacheShare {
            CacheShare(of: own, beside: others, settings, quarter: 5 << 30, diskBytes: terabyte)
        }
        func values(_ share: CacheShare) -> [UInt64] { [share.bytes, share.free] }
        var settings = UserSettings()
        let (plain, large) = (try record("a"), try record("b", "cache-size=60G", "free-space=1%"))
        #expect(values(share(plain, [large], settings)) == [5 << 30, 10 << 30])
        #expect(values(share(large, [plain], settings)) == [60 << 30, terabyte / 100])
        settings = try UserSettings(text: "cache-size = 20G\nfree-space = 0\n", path: "/c")
        #expect(values(share(plain, [large], settings)) == [20 << 30, 0])
        settings = try UserSettings(text: "cache-size = 20G\ncache-total = 40G\n", path: "/c")
        #expect(share(plain, [], settings).bytes == 20 << 30)
        #expect(share(large, [], settings).bytes == 40 << 30)
        #expect(share(plain, [large], settings).bytes == 10 << 30)
        #expect(share(large, [plain], settings).bytes == 30 << 30)
        // Together never more than the total, whatever they ask for.
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<200 {
            let records = try (0..<Int.random(in: 1...12, using: &generator)).map {
                try record("v\($0)", "cache-size=\(Int.random(in: 32...90_000, using: &generator))M")
            }
            let all = records.map { own in share(own, records.filter { $0 != own }, settings).bytes }
            #expect(all.reduce(0, +) <= 40 << 30)
            #expect(all.allSatisfy { $0 > 0 })
        }
    }

    @Test("settings of the cache are read, and changed without touching any other line")
    func settings() throws {
        let text = "# mine\nserver-idle = 1s # quick\ncache-size = 1G\n"
        let changed = try UserSettings.changed(
            text, ["cache-size": "2G", "free-space": "5%", "cache-dir": "/a/%u:$X"], path: "/c")
        #expect(changed == "# mine\nserver-idle = 1s # quick\ncache-size = 2G\ncache-dir = /a/%u:$X\nfree-space = 5%\n")
        let read = try UserSettings(text: changed, path: "/c")
        #expect(read.cacheSize == 2 << 30 && read.freeSpace == .percent(5) && read.cacheDirectory == "/a/%u:$X")
        #expect(
            try UserSettings.changed(changed, ["cache-size": "", "cache-dir": ""], path: "/c").count < changed.count)
        for (key, value) in [("cache-size", "1M"), ("cache-total", "x"), ("free-space", "100%"), ("cache-dir", "x")] {
            let failure = #expect(throws: SystemFailure.self) {
                try UserSettings.changed(text, [key: value], path: "/c")
            }
            #expect(failure?.message.hasPrefix("/c, line ") == true)
        }
    }

    @Test("only options of the cache can be changed later, and an empty value takes one back")
    func change() throws {
        var options = try record("v", "size=1G", "cache-size=1G").options
        try options.change("cache-size=2G")
        try options.change("free-space=10%")
        #expect(options.words["cache-size"] == "2147483648" && options.words["free-space"] == "10%")
        try options.change("cache-size=")
        try options.change("free-space=")
        #expect(options == (try VolumeOptions(words: ["size=1G"])))
        for word in [
            "size=x", "inodes=0", "compression=none", "cache-size", "store=file:///x", "x=1", "cache-size=1M",
            "free-space=-1",
        ] {
            #expect(throws: SystemFailure.self) { try options.change(word) }
        }
    }
}
