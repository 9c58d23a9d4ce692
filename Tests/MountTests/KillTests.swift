import Glibc
import LinuxSystem
import TestSupport
import Testing

/// Ends and jumps that come from outside: the clock, the kernel's OOM killer, a store that is gone for long.
@Suite("faults from outside", .serialized)
struct KillTests {
    @Test(
        "with a clock that jumps a day, or a year, forward and back nothing leaves the trash early, no wait hangs, and times are the clock's"
    )
    func clock() throws {
        let site = try UserSite()
        let clock = try Programs.compile("jumping-clock.c", "-shared -fPIC")
        // The server alone lives with the false clock; what nobody sets stays true.
        let text = try site.shell.run(
            FaultTests.functions + """
                mkdir s; berth volume create v -o store=file://$PWD/s -o trash=3d >/dev/null
                # Where the server may read.
                clock=$HOME/.local/share/berth/volumes/v/clock; echo 0 > $clock
                BERTH_TEST_CLOCK=$clock LD_PRELOAD='\(clock)' berthfs serve v </dev/null >/dev/null 2>&1 &
                for t in $(seq 600); do berth status | grep -q 'v  pid' && break; sleep 0.1; done; berth mount v m >/dev/null
                echo gone > m/gone; sleep 2.2; rm m/gone; sync m
                for jump in 86400 31536000 -86400; do echo $jump > $clock; sleep 6; berth trash ls v | grep -c /gone; timeout 10 sync m && echo x > m/at$jump; done
                echo $(( ($(stat -c %Y m/at86400) - $(date +%s) + 3600) / 86400 )) $(( ($(stat -c %Y m/at31536000) - $(date +%s) + 3600) / 86400 ))
                echo 0 > $clock; berth trash restore v:/gone >/dev/null; cat m/gone; timeout 20 berth sync v --wait >/dev/null && echo stored
                berth umount m; timeout 20 berth stop --all --force >/dev/null && berth volume check v | grep -o 'v: whole'
                """)
        #expect(text == "1\n1\n1\n1 365\ngone\nstored\nv: whole", "\(text)")
    }

    @Test(
        "a server that the OOM killer takes is replaced: programs go on, and nothing that was acknowledged is missing",
        .enabled(if: geteuid() == 0 && access("/sys/fs/cgroup/memory", W_OK) == 0, "needs root and memory cgroups"))
    func outOfMemory() throws {
        let site = try UserSite()
        try site.shell.run(
            """
            mkdir s; berth volume create v -o store=file://$PWD/s >/dev/null; berth mount v m >/dev/null; sync m
            cat > fill.sh <<'END'
            # Memory that it can give back to nobody: what gathers for the store.
            for i in $(seq 12); do while [ ! -e stop ]; do head -c 4000000 /dev/zero > m/.large$i; done & done
            for i in $(seq 100000); do [ ! -e stop ] || break; echo $i > m/n$i && echo $i > next && mv next written || { echo $i > failed; break; }; sleep 0.002; done
            wait; touch ended
            END
            """)
        let server = try site.server(of: "v") ?? 0
        let group = "/sys/fs/cgroup/memory/berth-test-\(getpid())"
        try Shell.root.run("mkdir '\(group)'; echo \(server) > '\(group)/cgroup.procs'")
        defer { _ = try? Shell.root.attempt("rmdir '\(group)'") }
        try site.shell.run("bash fill.sh </dev/null >/dev/null 2>&1 & while [ ! -s written ]; do sleep 0.05; done")
        // What it has and cannot give back is more than it may have now.
        try Shell.root.run(
            """
            for t in $(seq 1200); do
                kill -0 \(server) 2>/dev/null || exit 0
                cat '\(group)/memory.usage_in_bytes' > '\(group)/memory.limit_in_bytes' 2>/dev/null || true; sleep 0.05
            done
            grep . '\(group)'/memory.oom_control; exit 1
            """
        )
        let killed = try Shell.root.run("grep -o 'oom_kill [0-9]*' '\(group)/memory.oom_control'")
        #expect(killed != "oom_kill 0", "\(killed)")
        let text = try site.shell.run(
            """
            before=$(cat written); for t in $(seq 600); do [ "$(cat written)" -gt $((before + 20)) ] && break; sleep 0.1; done
            touch stop; for t in $(seq 600); do [ -e ended ] && break; sleep 0.1; done; cat failed 2>/dev/null
            last=$(cat written); [ $last -gt $before ] && echo "went on"; [ $(ls m | wc -l) -eq $last ] && echo all
            for i in $(seq $last); do [ "$(cat m/n$i)" = $i ] || echo bad $i; done
            berth umount m; berth stop --all --force >/dev/null; berth volume check v --data | grep -o 'v: whole'
            """)
        #expect(text == "went on\nall\nv: whole", "\(text)")
    }

    @Test(
        "a store that is gone for long: cached data is read, misses are errors soon, writes go on, and all is sent within seconds once it is back"
    )
    func storeGone() throws {
        let site = try UserSite()
        let disk = "\(site.directory)/m-store"
        let user = try TestUser.shared()
        try Shell.root.run("mkdir '\(disk)'; mount -t tmpfs -o mode=0700,uid=\(user.userID) berth-test '\(disk)'")
        try site.shell.run(
            FaultTests.functions + """
                mkdir '\(disk)/s'; berth volume create v -o store=file://\(disk)/s >/dev/null; berth mount v m >/dev/null
                for i in 1 2 3; do head -c 3000000 /dev/urandom > m/f$i; done; sync m/f1; md5sum m/f* > sums; berth sync v --wait >/dev/null
                """)
        // Unreachable, as with a server of files that is down: its name leads to nothing.
        try Shell.root.run(
            "mount --move '\(disk)' /mnt 2>/dev/null || { mkdir -p '\(site.directory)/aside'; mount --make-private / 2>/dev/null; mount --move '\(disk)' '\(site.directory)/aside'; }; chmod 0 '\(disk)'"
        )
        let away = try site.shell.run(
            FaultTests.functions + """
                remount; md5sum -c --quiet sums && echo cached; head -c 3000000 /dev/urandom > m/new; sync m/new; md5sum m/new >> sums
                noted 'store: the store takes no packs' & berth sync v --wait --timeout 1 >/dev/null 2>&1; wait
                # Longer than the first waits of a back-off.
                sleep 20; echo small > m/small; sync m/small && cat m/small; berth evict v >/dev/null; remount; timeout 60 md5sum m/f1 2>&1 >/dev/null | grep -c 'm/f1'
                """)
        #expect(away == "cached\nsmall\n1", "\(away)")
        try Shell.root.run(
            "m=/mnt; mountpoint -q \"$m\" || m='\(site.directory)/aside'; mount --move \"$m\" '\(disk)'")
        let back = try site.shell.run(
            FaultTests.functions + """
                timeout 40 berth sync v --wait >/dev/null && echo sent; remount; md5sum -c --quiet sums && echo same; quiet
                berth umount m; berth stop --all --force >/dev/null; berth volume check v --data | grep -o 'v: whole'
                """)
        #expect(back == "sent\nsame\nv: whole", "\(back)")
    }
}
