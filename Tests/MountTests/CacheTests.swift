import FileModel
import LinuxSystem
import TestSupport
import Testing

/// The cache as its user has it: places, shares, pins, and disks that fail.
@Suite("the cache of a volume", .serialized)
struct VolumeCacheTests {
    private let site: UserSite

    init() throws {
        site = try UserSite()
    }

    private var log: String { "$HOME/.local/share/berth/logs/v.log" }

    private func shell(_ script: String) throws -> String { try site.shell.run("set -e; " + script) }

    /// Four files of 20 MB, stored, with their sums.
    private func write(_ options: String) throws {
        _ = try shell(
            """
            mkdir -p s; berth volume create v -o store=file://$PWD/s -o compression=none \(options) >/dev/null
            berth mount v m >/dev/null
            for f in a b c d; do mkdir m/$f; head -c 20000000 /dev/urandom > m/$f/f; done; md5sum m/*/f > sums
            berth sync v --wait >/dev/null
            """)
    }

    /// A new server, which has nothing in memory.
    private let again = "berth umount m; berth stop --all --force >/dev/null; berth mount v m >/dev/null"

    @Test("the first place of cache-dir that a node has is used, and one that others can write to is refused")
    func places() throws {
        try write("-o 'cache-dir=/no-such-disk/%u:$NODE_DISK:'$PWD/last")
        #expect(try shell("ls last; berth cache ls v | tail -n 1 | grep -c $PWD/last/v") == "v\n1")
        let text = try shell(
            """
            berth umount m; berth stop --all --force >/dev/null; mkdir node; export NODE_DISK=$PWD/node
            berth mount v m >/dev/null; md5sum -c --quiet sums; ls node; berth cache ls v --json | grep -c $PWD/node/v
            berth umount m; berth stop --all --force >/dev/null; chmod 707 node
            berth mount v m 2>&1 || echo "status $?"; chmod 700 node; berth mount v m >/dev/null; md5sum -c --quiet sums
            berth volume set v cache-dir=$PWD/new 2>&1 || echo "status $?"; berth umount m
            berth stop --all --force >/dev/null; berth volume set v cache-dir=$PWD/new; ls last node; berth mount v m >/dev/null; ls new; berth umount m
            berth stop --all --force >/dev/null; berth volume rm v; ls new
            """)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        #expect(lines[0] == "v" && lines[1] == "1")
        #expect(
            lines[2].contains("/node: can be written to by others, and ")
                && lines[2].contains("/node/v lies below it; run: chmod go-w"), "\(text)")
        #expect(lines[3] == "status 77")
        #expect(lines[4].contains("is mounted at") && lines[5] == "status 75", "\(text)")
        // The one that this command sees is removed; the one of another node's variable is none of its business.
        #expect(lines[6] == "cache-dir=\(site.directory)/new")
        #expect(lines.suffix(2) == ["v", "v"], "\(text)")
        let created = try site.shell.attempt("chmod 777 new; berth volume create w -o cache-dir=$PWD/new")
        #expect(created.end == .exited(77) && created.errors.contains("can be written to by others"))
    }

    @Test(
        "beside its store in the home directory a volume keeps little, what is warmed up stays, and it is told what it takes"
    )
    func besideStore() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            export XDG_DATA_HOME=$HOME/d XDG_CACHE_HOME=$HOME/c; copies() { du -sm $XDG_CACHE_HOME/berth/v | cut -f1; }
            berth volume create v >/dev/null; berth mount v m >/dev/null
            for i in 1 2 3; do yes "line $i of a docking run" | head -c 110000000 > m/f$i; done; md5sum m/f* > sums; echo gone > m/gone; rm m/gone
            berth sync v --wait >/dev/null; md5sum -c --quiet sums && [ $(copies) -le 270 ] && echo little || copies
            berth warm v >/dev/null && [ $(copies) -gt 300 ] && echo warm
            berth umount m; berth stop --all --force >/dev/null; berth mount v m >/dev/null; berth warm v --check >/dev/null && echo kept
            berth cache ls v --json | tr -d ' \n' | grep -oE '"live":.{1}"bytes":330000000,"files":4|"trash":.{1}"bytes":5,"files":1|"unaskedLimit":268435456'
            berth umount m; berth stop --all --force >/dev/null
            berth doctor | grep -cE 'space of v: live 314.7 MiB in 4, trash 5 B in 1, stored .* in [0-9]+, staged .*, cached .*, metadata .* in [0-9]+'
            """, timeout: .seconds(600))
        #expect(
            text == """
                little
                warm
                kept
                "live":{"bytes":330000000,"files":4
                "trash":{"bytes":5,"files":1
                "unaskedLimit":268435456
                1
                """, "\(text)")
    }

    @Test("pins hold across restarts, no more can be pinned than the cache holds, and drop and evict say what stays")
    func pins() throws {
        try write("-o cache-size=64M")
        let text = try shell(
            """
            berth cache drop v; berth warm v:/a --pin | tail -n 1 | grep -o '"isOver":true'
            berth cache pin v:/a v:/b v:/c 2>&1 >/dev/null || echo "status $?"
            berth warm v:/a --check >/dev/null && echo here; \(again); cat m/*/f >/dev/null; cat m/*/f >/dev/null
            berth warm v:/a --check >/dev/null && echo here
            berth evict v:/a | tail -n 1; berth cache drop v | tail -n 1; berth warm v:/a --check >/dev/null && echo here
            berth umount m; berth stop --all --force >/dev/null; berth cache ls v --json | grep pinnedPacks; berth cache drop v | tail -n 1
            berth warm v:/a --check >/dev/null && echo here; berth cache unpin v:/a; berth cache drop --all
            berth warm v:/a --check >/dev/null || echo "status $?"; berth cache pin v:/b >/dev/null; berth stop --all --force >/dev/null
            berth cache drop v --pinned; ls -d $HOME/.cache/berth/v 2>&1 | grep -c 'No such'
            """)
        let lines = text.split(separator: "\n").map(String.init)
        let stay = "3 pinned packs stay; let go of them with: berth cache unpin v"
        #expect(lines.count == 17, "\(text)")
        guard lines.count == 17 else { return }
        #expect(lines[0].hasPrefix("dropped ") && lines[1] == "\"isOver\":true")
        #expect(lines[2].contains("pinned packs would take") && lines[2].contains("raise cache-size"), "\(lines[2])")
        #expect(lines[3] == "status 73" && lines[4] == "here" && lines[5] == "here")
        #expect(lines[6] == stay && lines[7] == stay && lines[8] == "here")
        #expect(
            lines[9].contains(" : 3") && lines[10] == stay && lines[11] == "here" && lines[12] == "unpinned 3 packs")
        #expect(lines[13].hasPrefix("v: dropped 3 packs") && lines[14] == "status 75")
        #expect(lines[15].hasPrefix("dropped 3 packs") && lines[16] == "1", "\(text)")
    }

    @Test("verify finds each flipped byte and drops that copy; reads under a running mount never show one")
    func flipped() throws {
        try write("")
        #expect(try shell("berth cache verify v | tail -n 1 | grep -o '\"damaged\":0'") == "\"damaged\":0")
        // Every copy, in the middle, under the mount that has them open; the kernel's own copies are dropped.
        let flip =
            #"for p in $HOME/.cache/berth/v/*-*; do printf '\x55\xaa' | dd of=$p bs=1 seek=7000000 conv=notrunc status=none; done"#
        #expect(try shell("\(flip); \(dropPages); md5sum -c --quiet sums && echo same") == "same")
        #expect(try shell("grep -c 'frames of its copy were damaged' \(log)") != "0")
        let found = try site.shell.attempt("berth warm v >/dev/null; \(flip); berth cache verify v")
        #expect(found.end == .exited(65) && found.errors.contains("copies were damaged, and are dropped"), "\(found)")
        let left = try shell(
            "find $HOME/.cache/berth/v -name '*-*' -printf '%b\\n' | awk '$1 > 14000' | wc -l; berth warm v >/dev/null")
        #expect(left == "0", "each is longer than where the byte was")
        #expect(try shell("berth cache verify v >/dev/null; md5sum -c --quiet sums && echo same") == "same")
        // By another process, which has proved nothing yet.
        #expect(try shell("\(flip); \(again); md5sum -c --quiet sums && echo same") == "same")
        #expect(
            try shell(
                "berth umount m; berth stop --all --force >/dev/null; berth volume check v --data | grep -c whole")
                == "1"
        )
    }

    /// Has the mount read again: the kernel keeps what it has shown.
    private let dropPages = "berth umount m; berth mount v m >/dev/null"

    @Test("a cache directory removed under a running mount costs nothing but time, and is said once")
    func removed() throws {
        try write("")
        let text = try shell(
            """
            rm -rf $HOME/.cache/berth/v; \(dropPages); md5sum -c --quiet sums && echo same
            for f in a b c d; do head -c 20000000 /dev/urandom > m/$f/g; done; md5sum m/*/* > sums
            rm -rf $HOME/.cache/berth; berth sync v --wait >/dev/null; \(dropPages); md5sum -c --quiet sums && echo same
            for i in $(seq 600); do [ -d $HOME/.cache/berth/v ] && break; sleep 0.1; done
            berth warm v >/dev/null; berth warm v --check >/dev/null && ls $HOME/.cache/berth; n=$(grep -c 'was removed' \(log)); [ $n -ge 1 ] && [ $n -le 2 ] && echo said
            \(again); md5sum -c --quiet sums && echo same
            """)
        #expect(text == "same\nsame\nv\nsaid\nsame", "\(text)")
    }

    @Test("on a full cache disk nothing is lost, reads go on from the store, and it is said once")
    func full() throws {
        let user = try TestUser.shared()
        // A disk of its own, for one script and what it starts.
        var shell = site.shell
        let place = "\(site.directory)/c"
        try site.shell.run("mkdir c")
        shell.wrapper = [
            "unshare", "-m", "bash", "-c",
            "mount -t tmpfs -o size=40m,mode=0700,uid=\(user.userID) none '\(place)' && exec \"$@\"", "-",
        ]
        let text = try shell.run(
            """
            set -e; mkdir s; berth volume create v -o store=file://$PWD/s -o compression=none -o cache-dir=\(place) \\
                -o cache-size=1G -o free-space=0 >/dev/null; berth mount v m >/dev/null
            for f in a b c d; do head -c 20000000 /dev/urandom > m/$f; done
            for i in $(seq 300); do head -c 5000 /dev/urandom > m/s$i; done; md5sum m/* > sums
            berth sync v --wait >/dev/null; \(again); md5sum -c --quiet sums && echo same
            # It holds others' data now, and no copy fits.
            berth cache drop v >/dev/null; head -c 50M /dev/zero > c/filler 2>/dev/null || true
            \(dropPages); md5sum -c --quiet sums && echo same; \(again); md5sum -c --quiet sums && echo same
            head -c 20000000 /dev/urandom > m/e; md5sum m/* > sums; berth sync v --wait >/dev/null
            \(dropPages); md5sum -c --quiet sums && echo same
            grep -c 'cannot be used: No space' \(log)
            rm c/filler; sleep 11; berth warm v:/a >/dev/null; berth warm v:/a --check >/dev/null && echo here
            berth umount m; berth stop --all --force >/dev/null; berth volume check v --data | grep -c whole
            """)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.filter { $0 == "same" }.count == 4 && lines.suffix(2) == ["here", "1"], "\(text)")
        // Two servers found it so, each once.
        #expect(lines.dropFirst(4).first.flatMap { Int($0) }.map { (1...3).contains($0) } == true, "\(text)")
    }

    @Test("a volume's share is its own, a total for all shrinks them, and both can be changed under a mount")
    func shares() throws {
        try write("-o cache-size=1G")
        let text = try shell(
            """
            berth setup --cache-total 1G --free-space 0 >/dev/null || true; grep -c . $HOME/.config/berth/berth.conf
            berth volume set v cache-size=64M
            size() { du -sm $HOME/.cache/berth/v | cut -f1; }
            for i in $(seq 600); do [ $(size) -lt 70 ] && break; sleep 0.1; done; [ $(size) -lt 70 ] && echo shrunk
            berth volume create w -o cache-size=960M -o store=file://$PWD/s >/dev/null; mkdir m2; berth mount w m2 >/dev/null
            for i in $(seq 600); do berth cache ls v --json | grep -q '"limit" : 67108864' && break; sleep 0.1; done
            berth volume set w cache-size=2G >/dev/null
            for i in $(seq 600); do berth cache ls v --json | grep -q '"limit" : 67108864' || break; sleep 0.1; done
            berth cache ls --json | grep '"limit"'; berth umount m2; md5sum -c --quiet sums && echo same
            """)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.prefix(3) == ["2", "cache-size=67108864", "shrunk"], "\(text)")
        let limits = lines.compactMap { $0.contains("limit") ? UInt64($0.filter(\.isNumber)) : nil }
        #expect(limits.count == 2 && limits[0] < 64 << 20 && limits[1] < 1 << 30, "\(text)")
        #expect(lines.last == "same")
    }
}
