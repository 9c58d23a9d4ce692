import LinuxSystem
import TestSupport
import Testing

/// What is mounted, what a server serves, and what commands say of both: one thing (decision 0084).
@Suite("unmounting ends", .serialized)
struct SessionStateTests {
    private let site: UserSite

    init() throws { site = try UserSite() }

    /// `copying` starts a process in a mount namespace of its own, as podman's pause process is; `left` ends those.
    private static let tools = #"""
        others=()
        copying() { unshare -Urm --propagation private sh -c "$1" & others+=($!); for i in $(seq 500); do [ -e ready ] && break; sleep 0.01; done; rm -f ready; }
        left() { kill -9 "${others[@]}" 2>/dev/null; wait "${others[@]}" 2>/dev/null; others=(); }
        trap left EXIT

        """#

    @Test(
        "a mount that another namespace has a copy of is unmounted for good: its session ends, and what was mapped is kept"
    )
    func copied() throws {
        let text = try site.shell.run(
            Self.tools + #"""
                berth volume create v >/dev/null; berth mount v m >/dev/null; head -c 8192 /dev/zero >m/f
                copying 'touch ready; exec sleep 1000'
                grep -c " $PWD/m .* fuse.berth " /proc/${others[0]}/mountinfo
                python3 -c "
                import mmap, os
                f = os.open('m/f', os.O_RDWR); memory = mmap.mmap(f, 8192); memory[0:6] = b'mapped'; memory[4096:4099] = b'too'; os.close(f)
                os.kill(os.getpid(), 9)"
                berth umount m; echo "status $?"
                berth status | grep -c "$PWD/m"; berth umount m 2>&1 | grep -c 'is not a mount of Berth'
                berth mount v m >/dev/null; head -c 6 m/f; head -c 4099 m/f | tail -c 3; echo; berth umount m
                berth volume rm v
                """#)
        #expect(text == "1\nstatus 0\n0\n1\nmappedtoo\nv", "\(text)")
    }

    @Test("a copy that a program uses keeps the session: who that is, is said by all, and --force ends it")
    func used() throws {
        let text = try site.shell.run(
            Self.tools + #"""
                berth volume create v >/dev/null; berth mount v m >/dev/null; echo x >m/f
                copying 'cd m; touch ../ready; exec sleep 1000'
                berth umount m 2>said; echo "status $?"; grep -c "process ${others[0]} (sleep)" said
                berth status | grep -c "unmounted; kept by process ${others[0]} (sleep)"
                berth status --json | grep -o '"state" : "[a-z]*"'
                cat /proc/${others[0]}/cwd/f
                for command in 'volume rm v' 'stop --all' 'umount m'; do
                    berth $command 2>said >/dev/null; echo "status $?"; grep -c "process ${others[0]} (sleep).*berth umount --force $PWD/m" said
                done
                berth umount --force m; berth status | grep -c kept; ls /proc/${others[0]}/cwd/ 2>&1 | grep -c 'not connected'
                berth volume rm v
                """#)
        #expect(
            text
                == "status 0\n1\n1\n\"state\" : \"kept\"\nx\nstatus 75\n1\nstatus 75\n1\nstatus 75\n1\n0\n1\nv",
            "\(text)")
    }

    @Test("`berth serve` ends a session that only copies keep, and no session whose mount is there or in use")
    func swept() throws {
        let text = try site.shell.run(
            Self.tools + #"""
                mkdir m2 m3; berth serve --detach >/dev/null
                for v in a b c; do berth volume create $v >/dev/null 2>&1; done
                berth mount a m >/dev/null; berth mount b m2 >/dev/null; berth mount c m3 >/dev/null; echo x >m3/f
                copying 'touch ready; exec sleep 1000'; copying 'cd m3; touch ../ready; exec sleep 1000'
                fusermount3 -u m; fusermount3 -u m3
                for i in $(seq 300); do berth status | grep -q "$PWD/m " || break; sleep 0.1; done
                berth status | grep -o "$PWD/m[^ ]*" | xargs -n 1 basename; cat /proc/${others[1]}/cwd/f
                berth umount m2; left; berth stop --all >/dev/null; berth volume rm a b c | xargs
                """#)
        #expect(text == "m2\nm3\nx\na b c", "\(text)")
    }

    @Test("whatever state a volume is in, no command is refused without advice that works, and status says what is so")
    func noDeadEnds() throws {
        let seed = UInt32.random(in: 0...9999)
        let text = try site.shell.run(Self.tools + Self.walk(seed: seed), timeout: .seconds(600))
        #expect(text == "walked 18", "seed \(seed)\n\(text)")
    }

    /// In every state two commands by chance, each followed by another one by chance, and by the removal. (Of all pairs in all
    /// states, 441, 310 were walked once by hand.)
    private static func walk(seed: UInt32) -> String {
        #"""
        RANDOM=\#(seed); M=$PWD/m
        berth serve --detach >/dev/null
        ask() { curl -sS --max-time 60 --unix-socket $BERTH_RUNTIME_DIR/plugin.sock http://plugin/VolumeDriver.$1 -d "{\"Name\":\"$2\"}" | tee asked; ! grep -q '"Err":"..*"' asked; }
        states=(unserved mounted copied left busy lazy dead run placed)
        enter() {
            berth volume create v -o path=/v >/dev/null 2>&1
            case $1 in unserved) return ;; run) (exec berth run --volume v -- sh -c "touch $PWD/ready; exec sleep 1000") & others+=($!)
                for i in $(seq 1000); do [ -e ready ] && break; sleep 0.01; done; rm -f ready; return ;;
            placed) berth env --volume v >/dev/null 2>&1 || berth env >/dev/null; return ;; esac
            berth mount v m >/dev/null; echo x >m/f
            case $1 in
            copied|left) copying 'touch ready; exec sleep 1000' ;;
            busy) copying 'cd m; touch ../ready; exec sleep 1000' ;;
            lazy) exec 9<m/f; sleep 1000 <&9 & others+=($!); exec 9<&- ;;
            dead) p=$(berth volume inspect v --json | grep -E '"(server|keeper)"' | tr -dc '0-9\n'); kill -9 $p; while kill -0 $p 2>/dev/null; do sleep 0.01; done ;;
            esac
            case $1 in left|busy) fusermount3 -u m ;; lazy) fusermount3 -uz m ;; esac
        }
        commands=('berth umount m' 'berth umount --all' 'berth stop --all' 'berth volume set v cache-dir=/tmp' 'berth mount v m' 'ask Remove v' 'berth volume rm v')
        # Status lists as mounted on the host what is mounted there, and nothing else is.
        agree() {
            shown=$(berth status --json | tr -d '\n' | grep -o '"mountpoint" : "[^"]*"[^}]*"state" : "[a-z]*"' | grep "\"$M\"" | grep -c '"mounted"')
            there=$(grep -c " $M .* fuse.berth " /proc/self/mountinfo)
            [ "$state" = dead ] || [ "$shown" = "$there" ] || echo "$state, $1: status shows $shown mounts at m, and there are $there"
        }
        follow() {
            for round in 1 2 3 4 5; do
                out=$(eval "$1" 2>&1) && { agree "$1"; return; }
                case $out in
                *'is not a mount of Berth'*) berth status | grep -q "$M  host" && echo "$state, $1: no mount, and status lists it"; return ;;
                *'"v\"'*'does not exist'*|*'"v"'*'does not exist'*) return ;;
                esac
                advice=$(grep -o '`berth [^`]*`' <<<"$out" | tr -d '`' | tail -1)
                [ -n "$advice" ] || { echo "$state, $1: no advice: $out"; return; }
                eval "$advice" >/dev/null 2>&1
            done
            echo "$state, $1: a dead end: $out"
        }
        count=0
        for state in "${states[@]}"; do for turn in 0 1; do
            first=${commands[(RANDOM + turn * 3) % 7]}
            enter $state; second=${commands[RANDOM % 7]}
            follow "$first"; follow "$second"; follow 'berth volume rm v'; count=$((count + 1))
            [ -e h/.local/share/berth/volumes/v ] && { echo "$state, $first, $second: the volume is there still"; berth umount --force m; berth volume rm v; } 2>&1
            berth volume rm --removed v >/dev/null 2>&1; left; berth umount --lazy m 2>/dev/null; eval "$(berth env --unset)" 2>/dev/null
        done; done
        berth stop --all >/dev/null
        echo "walked $count"
        """#
    }
}
