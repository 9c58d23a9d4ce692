import LinuxSystem
import TestSupport
import Testing

/// Volumes named by an annotation, without `-v`: real podman, both OCI runtimes, as an ordinary user.
@Suite("OCI hooks", .serialized)
struct HookTests {
    /// Functions for scripts.
    static let helpers = """
        R=$XDG_RUNTIME_DIR/berth
        # What of this user's volumes is left: mounts in any namespace, servers, files of the runtime directory.
        left() {
            for p in /proc/[0-9]*; do
                grep -s " fuse.berth berth:" $p/mountinfo | grep "$PWD/" | cut -d' ' -f5 | sed 's/^/mount /'
            done | sort -u
            # A server is not dumpable, and its environment nobody's to read: who holds a volume's lock is one.
            for lock in $HOME/.local/share/berth/volumes/*/lock; do
                [ ! -e $lock ] || flock -n $lock true || echo "server of $lock"
            done
            find $R -mindepth 2 | sed 's/^/file /'
        }
        nothing_left() {
            SECONDS=0; while [ $SECONDS -lt 120 ]; do [ -z "$(left)" ] && return 0; sleep 0.1; done
            echo "LEFT: $(left | xargs)"
        }
        wait_for() { for i in $(seq 600); do eval "$1" && return 0; sleep 0.1; done; echo "NOT WITHIN 60 s: $1"; }

        """
    static let impatient = "session-idle = 1s\nserver-idle = 1s"

    @Test(
        "an annotation alone puts the volume at its path, for every container user, with crun and runc; nothing is left",
        arguments: Machine.runtimes)
    func annotation(machine: Machine) throws {
        let host = try PodmanHost(machine, settings: Self.impatient)
        let uid = try host.site.shell.run("id -u")
        let text = try host.run(
            Self.helpers + """
                berth volume create data -o path=/data >/dev/null; berth volume create more >/dev/null
                A="--annotation berth.volume"
                echo "first=$($RUN $A=data $IMAGE sh -c 'echo hello > /data/a; mkdir -m 1777 /data/t; stat -c %u:%g /data /data/a | xargs; grep -c " /data fuse.berth " /proc/mounts' | xargs)"
                echo "user=$($RUN --user 1000 $A=data $IMAGE sh -c 'cat /data/a; echo u > /data/t/u; stat -c %u:%g /data/t/u' | xargs)"
                echo "keep=$($RUN --userns keep-id $A=data $IMAGE sh -c 'cat /data/a; echo k > /data/k; stat -c %u:%g /data/k /data/a' | xargs)"
                echo "path=$($RUN $A=data:/an/other $IMAGE sh -c 'cat /an/other/a; ls /data')"
                echo "ro=$($RUN $A=data:ro $IMAGE sh -c 'cat /data/a; touch /data/b 2>&1' | xargs)"
                echo "two=$($RUN $A=data:/x:ro $A.2=more:/y $IMAGE sh -c 'cp /x/a /y/a; cat /y/a')"
                echo "comma=$($RUN --annotation '"berth.volume=data:/x,more:/y"' $IMAGE sh -c 'cmp /x/a /y/a && echo same')"
                echo "entrypoint=$($RUN --read-only $A=data $IMAGE cat /data/a)"
                nothing_left
                berth mount data m >/dev/null; echo "host=$(cat m/a) $(stat -c %u m/a m/k | xargs)"; berth umount m
                """)
        let expected = """
            first=0:0 0:0 1
            user=hello 1000:1000
            keep=hello \(uid):\(uid) \(uid):\(uid)
            path=hello
            ro=hello touch: /data/b: Read-only file system
            two=hello
            comma=same
            entrypoint=hello
            host=hello \(uid) \(uid)
            """
        #expect(text == expected)
    }

    @Test("stop and start, restart and kill keep the volume, with crun and runc", arguments: Machine.runtimes)
    func lifecycle(machine: Machine) throws {
        let host = try PodmanHost(machine, settings: Self.impatient)
        let text = try host.run(
            Self.helpers + """
                berth volume create data -o path=/data >/dev/null
                podman run -d --name one --runtime \(machine.runtime) --network none --annotation berth.volume=data $IMAGE sh -c 'echo x >> /data/n; exec sleep 1000' >/dev/null
                n() { wait_for "podman exec one cat /data/n 2>/dev/null | grep -c x | grep -qx $1"; }
                n 1; podman stop -t 0 one >/dev/null; nothing_left
                podman start one >/dev/null; n 2
                podman restart -t 0 one >/dev/null; n 3
                podman kill one >/dev/null; podman start one >/dev/null; n 4
                podman exec one grep -c " /data fuse.berth " /proc/mounts
                podman rm -f -t 0 one >/dev/null; nothing_left
                """)
        #expect(text == "1")
    }

    @Test("many containers at once share one session; file locks hold between them, and with a container of -v")
    func together() throws {
        let host = try PodmanHost(settings: Self.impatient)
        let text = try host.run(
            Self.helpers + """
                berth volume create data -o path=/data >/dev/null
                for i in 1 2 3 4 5 6; do
                    $RUN --annotation berth.volume=data $IMAGE sh -c 'for j in $(seq 50); do echo x >> /data/log; done' &
                done; wait
                echo "lines=$($RUN --annotation berth.volume=data $IMAGE sh -c 'wc -l < /data/log')"
                # busybox has no flock.
                H="-v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro $IMAGE /usr/bin/flock"
                $RUN --annotation berth.volume=data $H -n /data/lock true && echo free
                podman run -d --name one --runtime runc --network none --annotation berth.volume=data $H /data/lock sleep 1000 >/dev/null
                wait_for 'podman exec one /usr/bin/sh -c "! /usr/bin/flock -n /data/lock true"'
                $RUN --annotation berth.volume=data $H -n -E 9 /data/lock true || echo "held for a hook's container $?"
                $RUN -v data:/data $H -n -E 9 /data/lock true || echo "held for -v $?"
                for i in $(seq 600); do n=$(berth status --json | grep -c '"session"' || true); [ "$n" = 1 ] && break; sleep 0.1; done; echo $n
                podman rm -f -t 0 one >/dev/null; nothing_left
                """)
        #expect(text == "lines=300\nfree\nheld for a hook's container 9\nheld for -v 9\n1")
    }

    @Test("a container that fails after its hook leaves nothing once it has been idle", arguments: Machine.runtimes)
    func failedCreation(machine: Machine) throws {
        let host = try PodmanHost(machine, settings: Self.impatient)
        let outcome = try host.attempt(
            Self.helpers + """
                berth volume create data -o path=/data >/dev/null
                $RUN --annotation berth.volume=data $IMAGE /no/such/program && exit 98
                $RUN --annotation berth.volume=data --workdir /data/none -v /etc/passwd:/data/none $IMAGE true
                nothing_left
                $RUN --annotation berth.volume=data $IMAGE echo works
                """)
        #expect(outcome.output == "works\n", "\(outcome)")
    }

    @Test("a hook takes less than 30 ms where the volume is served, mounted or not")
    func speed() throws {
        let host = try PodmanHost()
        let text = try host.run(
            """
            berth volume create data -o path=/data >/dev/null
            for i in $(seq 12); do $RUN --annotation berth.volume=data $IMAGE true; done
            berth log -n 1000 hook --json > log
            # A container as podman hands it over, and some hundred others in its storage.
            podman create --name c --network none --annotation berth.volume=data $IMAGE true > id; id=$(cat id)
            S=$(podman info --format '{{.Store.GraphRoot}} {{.Store.GraphDriverName}}'); D=${S#* }; S=${S% *}
            list=$(ls $S/$D-containers/*containers.json | head -1); L=$(grep -o '"layer":"[0-9a-f]*"' $list | cut -d'"' -f4)
            case $D in overlay) root=$S/overlay/$L/merged ;; vfs) root=$S/vfs/dir/$L ;; esac
            cp $list one; { for i in $(seq 300); do sed "s/^.//;s/.$/,/;s/$id/$(printf %064d $i)/g;s/$L/$(printf %064d $i)/g" one; done; sed 's/^.//' one; } | tr -d '\n' | sed 's/^/[/' > $list
            cat > config <<END
            {"ociVersion":"1.0.2","root":{"path":"$root"},"mounts":[{"destination":"/proc","type":"proc","source":"proc"}],"annotations":{"berth.volume":"data"}}
            END
            cat > measure <<'END'
            for i in $(seq 21); do
                [ $1 = mounted ] || umount $XDG_RUNTIME_DIR/berth/hook/data
                a=${EPOCHREALTIME/./}; berth-hook precreate < config > out; b=${EPOCHREALTIME/./}
                grep -q '"destination":"/data"' out || exit 1
                echo $((b - a))
            done | sort -n | sed -n 11p
            END
            # The best of three: others work on this machine, too.
            for kind in mounted unmounted; do
                for round in 1 2 3; do podman unshare bash measure $kind; done | sort -n | head -1
            done
            rm -f $XDG_RUNTIME_DIR/berth/leases/*; cp one $list
            """)
        let medians = text.split(separator: "\n").compactMap { Int($0) }
        print(
            "berth-hook precreate, best median of 21: mounted \(medians.first ?? -1) µs, not mounted \(medians.last ?? -1) µs"
        )
        #expect(medians.count == 2 && medians.allSatisfy { $0 > 0 && $0 < 30_000 }, "\(text)")
    }
}
