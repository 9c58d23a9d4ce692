import Glibc
import LinuxSystem
import TestSupport
import Testing

/// Disks that fill up below a volume: each part of it on a small file system of its own.
@Suite("full disks", .serialized)
struct FullDiskTests {
    private let site: UserSite

    init() throws { site = try UserSite() }

    /// A file system in memory at `m-NAME` of the site's directory, which the site unmounts.
    private func mountSmall(_ name: String, megabytes: Int) throws -> String {
        let path = "\(site.directory)/m-\(name)"
        let user = try TestUser.shared()
        try Shell.root.run(
            "mkdir -p '\(path)' && mount -t tmpfs -o size=\(megabytes)m,mode=0700,uid=\(user.userID) berth-test '\(path)'"
        )
        return path
    }

    private func remount(_ path: String, _ options: String) throws {
        try Shell.root.run("mount -o remount,\(options) '\(path)'")
    }

    @Test(
        "where the disk of metadata and staging is full, writers hear ENOSPC, what was fsynced stays, files can be removed, and it goes on by itself"
    )
    func staging() throws {
        let data = try mountSmall("data", megabytes: 160)
        // The store is away, so that staging cannot empty itself.
        let text = try site.shell.run(
            """
            export XDG_DATA_HOME=\(data); mkdir s; berth volume create v -o store=file://$PWD/s >/dev/null; berth mount v m >/dev/null; chmod 0 s
            i=0; while i=$((i + 1)); [ $i -lt 400 ] && { head -c 1000000 /dev/urandom > m/f$i && sync m/f$i; } 2>>errors; do md5sum m/f$i >> sums; done
            grep -o 'No space left on device' errors | sort -u; [ $(wc -l < sums) -gt 20 ] && echo filled
            md5sum -c --quiet sums && echo kept; mkdir m/d 2>&1 | grep -o 'No space' ; cat m/f1 > /dev/null && echo readable
            rm m/f? && echo removed; chmod 700 s
            for t in $(seq 600); do sleep 0.1; echo x > m/again 2>/dev/null && break; done; cat m/again
            sed -i '/m.f.$/d' sums; md5sum -c --quiet sums && echo kept; berth umount m; berth stop --all --force >/dev/null
            berth volume check v --data | grep -o 'v: whole'
            """, timeout: .seconds(600))
        #expect(
            text == "No space left on device\nfilled\nkept\nNo space\nreadable\nremoved\nx\nkept\nv: whole", "\(text)")
    }

    @Test("a cache that is full, cannot be written to or is deleted costs time and nothing else")
    func cache() throws {
        let cache = try mountSmall("cache", megabytes: 40)
        let text = try site.shell.run(
            """
            mkdir s; berth volume create v -o store=file://$PWD/s -o cache-dir=\(cache)/c -o cache-size=1G >/dev/null; berth mount v m >/dev/null
            for i in 1 2 3 4 5; do head -c 20000000 /dev/urandom > m/f$i; done; md5sum m/f* > sums; berth sync v --wait >/dev/null
            md5sum -c --quiet sums && echo full
            """)
        #expect(text == "full")
        #expect(
            try site.shell.run(
                "berth evict v >/dev/null; chmod -R a-w \(cache)/c; md5sum -c --quiet sums && echo read-only; chmod -R u+w \(cache)/c"
            ) == "read-only")
        #expect(try site.shell.run("rm -rf \(cache)/c; md5sum -c --quiet sums && echo gone") == "gone")
        try site.shell.run("berth umount m; berth stop --all --force; berth volume check v --data")
    }

    @Test("a store that is full keeps data in staging, says so once, and takes it when it has room")
    func store() throws {
        let store = try mountSmall("store", megabytes: 30)
        try site.shell.run(
            """
            berth volume create v -o store=file://\(store) -o compression=none >/dev/null; berth mount v m >/dev/null
            for i in $(seq 60); do head -c 1000000 /dev/urandom > m/f$i; done; sync m/f1; md5sum m/f* > sums
            for t in $(seq 600); do sleep 0.1; grep -qs 'takes no packs' $HOME/.local/share/berth/logs/v.log && break; done
            grep -q 'No space left' $HOME/.local/share/berth/logs/v.log; md5sum -c --quiet sums
            """)
        try remount(store, "size=200m")
        let text = try site.shell.run(
            """
            berth sync v --wait --timeout 60 >/dev/null && echo stored; md5sum -c --quiet sums && echo same
            berth umount m; berth stop --all --force >/dev/null; berth volume check v --data | grep -o 'v: whole.*packs'
            grep -c 'takes no packs' $HOME/.local/share/berth/logs/v.log
            """, timeout: .seconds(600))
        #expect(text.hasPrefix("stored\nsame\nv: whole"), "\(text)")
    }

    @Test("another program that fills the disk costs the trash nothing, and the log tells no loss of what nobody did")
    func trash() throws {
        let data = try mountSmall("data", megabytes: 160)
        let text = try site.shell.run(
            """
            export XDG_DATA_HOME=\(data); berth volume create v >/dev/null; berth mount v m >/dev/null; mkdir m/d m/e
            noise() { head -c $1 /dev/urandom | split -b 4000 -a 3 - $2; }; items() { berth trash ls v --json | grep -c '"id"'; }
            noise 8000000 m/d/f; md5sum m/d/* > sums; sync m/d; berth sync v --wait >/dev/null
            noise 4000000 m/e/f; sync m/e; berth sync v --wait >/dev/null; rm m/d/f?[a-h]? m/e/*; before=$(items); [ $before -gt 1500 ] || echo "few: $before"
            head -c $(($(df -B1 --output=avail \(data) | tail -1) - 3000000)) /dev/zero > \(data)/other
            # Two looks of housekeeping, then two while the volume's own writers are refused.
            sleep 11; [ $(items) -eq $before ] && echo idle || echo "$before, then $(items)"
            for t in $(seq 11); do sleep 1; echo $t > m/mine$t; done 2>&1 | grep -o 'No space left' | sort -u
            head -c 9000000 /dev/zero >> \(data)/other 2>/dev/null; grep -c ' are lost' \(data)/berth/logs/v.log; rm \(data)/other
            for t in $(seq 600); do sleep 0.1; echo x > m/again 2>/dev/null && break; done; cat m/again
            berth trash restore v:/d >/dev/null; md5sum -c --quiet sums && echo same
            berth umount m; berth stop --all --force >/dev/null; berth volume check v --data | grep -o 'v: whole'
            """, timeout: .seconds(600))
        #expect(text == "idle\nNo space left\n0\nx\nsame\nv: whole", "\(text)")
    }
}
