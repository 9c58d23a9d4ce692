import LinuxSystem
import TestSupport
import Testing

/// `install.sh` of the tarball, over nothing and over what runs.
@Suite("upgrades")
struct UpgradeTests {
    /// A later version: the same programs, that say so.
    private static let later = "9.9.9"

    @Test("programs are replaced while a volume is mounted; status says what runs the old ones until it is restarted")
    func upgrade() throws {
        let host = try Installed(programs: "h/.local/bin")
        try host.unpack(as: "a")
        try host.shell.run("a/install.sh")
        let version = try host.shell.run("berth --version")
        try makeLater(host, version)
        try host.shell.run(
            "berth setup && berth serve --detach && berth volume create v && berth mount v m && echo old > m/f")
        #expect(!(try host.shell.run("berth status")).contains("restart with"), "nothing is old yet")
        // Somebody reads and writes all the while.
        let text = try host.shell.run(
            """
            set -e
            (while [ ! -e done ]; do [ "$(cat m/f)" = old ] && echo x >> m/log || echo broken; done) & reader=$!
            b/install.sh; touch done; wait $reader
            """)
        #expect(!text.contains("broken"))
        let note = "runs \(version), this is \(Self.later); restart with: berth "
        #expect(text.contains("installed Berth \(Self.later) in \(host.site.home)/.local (was \(version))"))
        #expect(text.occurrences(of: note) == 2, "the plugin and the server: \(text)")
        #expect(
            try host.shell.run("berth --version; berthfs --version; cat m/f") == "\(Self.later)\n\(Self.later)\nold")
        let status = try host.shell.run("berth status")
        #expect(status.occurrences(of: note) == 2, "\(status)")
        #expect(status.contains("restart with: berth restart v"))
        let server = try #require(try host.site.server(of: "v"))
        #expect(try Shell.root.run("readlink /proc/\(server)/exe").hasSuffix("(deleted)"))

        // The server is replaced while a program reads and writes, with a file open all the while.
        let replaced = try host.shell.run(
            """
            set -e
            rm done; (exec 4>> m/held; while [ ! -e done ]; do [ "$(cat m/f)" = old ] && echo x >&4 && echo x >> own || echo broken; done) & reader=$!
            sleep 0.2; berth restart v; sleep 0.2; touch done; wait $reader; [ $(wc -l < m/held) = $(wc -l < own) ] && echo all
            """)
        #expect(replaced.hasSuffix("version \(Self.later)\nall") && !replaced.contains("broken"), "\(replaced)")
        try host.shell.run("echo more > m/g && berth stop && berth serve --detach")
        #expect(try host.shell.run("cat m/f m/g") == "old\nmore")
        #expect(!(try host.shell.run("berth status")).contains("restart with"))
        let json = try host.shell.run("berth status --json")
        for key in ["version", "pluginVersion", "serverVersion"] {
            #expect(json.contains("\"\(key)\" : \"\(Self.later)\""), "\(json)")
        }
    }

    @Test("install.sh --remove takes away what it installed, and no volume")
    func remove() throws {
        let host = try Installed(programs: "h/.local/bin")
        try host.unpack(as: "a")
        let text = try host.shell.run(
            "a/install.sh && berth setup >/dev/null && berth volume create v && a/install.sh --remove")
        #expect(text.contains("next: berth setup && berth serve --detach"))
        #expect(try host.shell.run("cd h/.local && find . -type f | grep -v ^./share/berth/volumes/v/ || true") == "")
        #expect(try host.shell.run("ls h/.local/share/berth/volumes") == "v")
    }

    @Test("where a file cannot be written, the old version stays whole and nothing else is left")
    func noSpace() throws {
        let host = try Installed(programs: "h/.local/bin")
        try host.unpack(as: "a")
        try host.shell.run("a/install.sh")
        let listing = "cd h && find . -type f -exec md5sum {} + | sort"
        let before = try host.shell.run(listing)
        try makeLater(host, try host.shell.run("berth --version"))
        // No file may be as long as the programs are.
        let outcome = try host.shell.attempt("ulimit -f 4000; b/install.sh")
        #expect(outcome.end == .exited(73))
        #expect(outcome.errors.contains("berthfs cannot be written (see above); nothing was replaced"))
        #expect(try host.shell.run(listing) == before)
    }

    @Test("an argument or a prefix that install.sh cannot use is refused before anything is written")
    func refused() throws {
        let host = try Installed(programs: "h/.local/bin")
        try host.unpack(as: "a")
        for words in ["--prefix", "--what", "--prefix '/tmp/a b'"] {
            let outcome = try host.shell.attempt("a/install.sh \(words)")
            #expect(!outcome.succeeded && !outcome.errors.isEmpty, "\(words)")
        }
        #expect(try host.shell.run("ls -A h") == "")
    }

    /// Makes `b` from `a`. The version is bytes in the programs; another of the same length takes their place.
    private func makeLater(_ host: Installed, _ version: String) throws {
        try #require(version.utf8.count == Self.later.utf8.count)
        let pattern = version.split(separator: ".").joined(separator: "\\.")
        try host.shell.run("cp -R a b && LC_ALL=C sed -i 's/\(pattern)/\(Self.later)/g' b/bin/*")
        try #require(
            try host.shell.run("b/bin/berth --version; b/bin/berthfs --version") == "\(Self.later)\n\(Self.later)")
    }
}

extension String {
    /// How often a text occurs.
    fileprivate func occurrences(of part: String) -> Int {
        var count = 0
        var rest = self[...]
        while let found = rest.firstRange(of: part) {
            count += 1
            rest = rest[found.upperBound...]
        }
        return count
    }
}
