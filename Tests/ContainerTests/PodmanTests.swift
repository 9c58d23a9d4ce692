import LinuxSystem
import TestSupport
import Testing

/// Real podman, as an ordinary user. Containers take turns: two cores are soon full.
@Suite("podman", .serialized)
struct PodmanTests {
    @Test(
        "a volume works with crun and runc, / private and shared, before and after the pause process, for every container user",
        arguments: Machine.all)
    func everywhere(machine: Machine) throws {
        let host = try PodmanHost(machine)
        let uid = try host.site.shell.run("id -u")
        let text = try host.run(
            """
            podman volume create --driver berth data >/dev/null
            podman system migrate 2>/dev/null
            echo "first=$($RUN -v data:/data $IMAGE sh -c 'echo hello > /data/a; mkdir -m 1777 /data/t; stat -c %u:%g /data /data/a | xargs')"
            echo "second=$($RUN -v data:/data $IMAGE sh -c 'cat /data/a; grep -c " /data fuse.berth " /proc/mounts' | xargs)"
            echo "user=$($RUN --user 1000 -v data:/data $IMAGE sh -c 'cat /data/a; echo u > /data/t/u; stat -c %u:%g /data/t/u; touch /data/no 2>/dev/null || echo denied' | xargs)"
            echo "keep=$($RUN --userns keep-id -v data:/data $IMAGE sh -c 'cat /data/a; echo k > /data/k; stat -c %u:%g /data/k /data/a' | xargs)"
            berth mount data m >/dev/null
            echo "host=$(stat -c %u:%g m m/a m/k | xargs) $(cat m/a) $(( $(stat -c %u m/t/u) > 1000 ))"
            berth umount m
            podman volume rm data >/dev/null
            """)
        let expected = """
            first=0:0 0:0
            second=hello 1
            user=hello 1000:1000 denied
            keep=hello \(uid):\(uid) \(uid):\(uid)
            host=\(uid):\(uid) \(uid):\(uid) \(uid):\(uid) hello 1
            """
        #expect(text == expected)
    }

    @Test("a project's group is nobody's in a container, whose root writes and removes its files as their owner")
    func projectGroup() throws {
        let user = try TestUser.shared().name
        let group = "berth-project:x:64110:\(user)"
        let host = try PodmanHost(
            prepare:
                "g=$(mktemp) && { cat /etc/group; echo \(group); } > $g && chmod 644 $g && mount --bind $g /etc/group; rm -f $g"
        )
        let text = try host.run(
            """
            podman volume create --driver berth data >/dev/null; berth mount data m >/dev/null
            for f in a b; do echo x > m/$f; chgrp berth-project m/$f; chmod 660 m/$f; done
            setfacl -m g:berth-project:rw,u:nobody:r m/a; mkdir m/d; chgrp berth-project m/d; chmod 2770 m/d
            $RUN -v data:/data $IMAGE sh -c 'stat -c %u:%g /data/a; echo y >> /data/a; cat /data/a; rm /data/b; echo z > /data/d/n; stat -c %g /data/d/n; ls /data | xargs'
            stat -c %G m/a m/d/n; getfacl -cp m/a | grep -c 'berth-project:rw\\|nobody:r'
            berth umount m; podman volume rm data >/dev/null
            """)
        #expect(text == "0:65534\nx\ny\n65534\na d\nberth-project\nberth-project\n2", "\(text)")
    }

    @Test("a container reads what was imported, writes to it, and the original stays")
    func imported() throws {
        let host = try PodmanHost()
        let text = try host.run(
            """
            mkdir -p p/d; echo original > p/d/f; echo gone > p/g; tar -cf p.tar -C p d
            podman volume create --driver berth data >/dev/null
            berth import data:/in p >/dev/null; berth import data:/tar p.tar >/dev/null; rm p/g
            $RUN -v data:/data $IMAGE sh -c 'cat /data/in/d/f /data/tar/d/f; cat /data/in/g 2>/dev/null || echo refused; echo own >> /data/in/d/f; cat /data/in/d/f'
            cat p/d/f; berth export data:/in/d - 2>/dev/null | tar -xOf - f
            podman volume rm data >/dev/null; cat p/d/f
            """)
        #expect(text == "original\noriginal\nrefused\noriginal\nown\noriginal\noriginal\nown\noriginal")
    }

    @Test("two containers and a host mount see each other's changes at once")
    func together() throws {
        let host = try PodmanHost()
        let text = try host.run(
            """
            podman volume create --driver berth data >/dev/null
            podman run -d --name one --runtime \(host.machine.runtime) --network none -v data:/data $IMAGE sleep 1000 >/dev/null
            $RUN -v data:/data $IMAGE sh -c 'echo two > /data/f'
            podman exec one cat /data/f
            berth mount data m >/dev/null; cat m/f
            echo host > m/f; podman exec one cat /data/f
            podman exec one sh -c 'echo one > /data/f; echo new > /data/g'; cat m/f m/g
            podman exec one sh -c 'mv /data/g /data/h'; ls m | xargs
            for i in $(seq 50); do echo $i >> m/log; podman exec one true; echo c$i; done | wc -l
            berth umount m
            podman stop -t 0 one >/dev/null; podman rm one >/dev/null
            """)
        #expect(text == "two\ntwo\nhost\none\nnew\nf h\n50")
    }

    @Test("stop, start, rm, prune, reload and rm of a volume do what podman's own driver does")
    func lifecycle() throws {
        let host = try PodmanHost()
        let text = try host.run(
            """
            podman volume create --driver berth -o size=100M data >/dev/null
            podman run -d --name one --runtime \(host.machine.runtime) --network none -v data:/data $IMAGE sh -c 'echo $$ >> /data/pids; sleep 1000' >/dev/null
            started() { for i in $(seq 600); do [ "$(podman exec one sh -c 'wc -l < /data/pids' 2>/dev/null)" = $1 ] && break; sleep 0.1; done; }
            started 1; podman stop -t 0 one >/dev/null; podman start one >/dev/null; started 2
            podman exec one sh -c 'wc -l < /data/pids; df -m /data | tail -1 | tr -s " " | cut -d" " -f2'
            podman volume rm data 2>&1 | grep -c 'being used' || true
            podman rm -f -t 0 one >/dev/null
            podman volume create --driver berth unused >/dev/null
            berth volume create outside >/dev/null
            podman volume reload
            podman volume ls -q | sort | xargs
            podman volume prune -f | sort | xargs
            berth volume ls --json | xargs
            """)
        #expect(text == "2\n100\n1\ndata outside unused\ndata outside unused\n[ ]")
    }

    @Test("kube play with a PersistentVolumeClaim makes and mounts the volume, and kube down keeps it")
    func kubePlay() throws {
        let host = try PodmanHost()
        let text = try host.run(
            """
            cat > pod.yaml <<'END'
            apiVersion: v1
            kind: PersistentVolumeClaim
            metadata:
              name: claim
              annotations:
                volume.podman.io/driver: berth
                volume.podman.io/mount-options: size=10M,path=/data
            ---
            apiVersion: v1
            kind: Pod
            metadata:
              name: pod
            spec:
              hostNetwork: true
              containers:
              - name: c
                image: localhost/berth-bb
                command: [/bin/sh, -c, "echo kube > /data/f; sleep 1000"]
                volumeMounts: [{name: v, mountPath: /data}]
              volumes: [{name: v, persistentVolumeClaim: {claimName: claim}}]
            END
            podman --runtime \(host.machine.runtime) kube play pod.yaml >/dev/null
            for i in $(seq 600); do podman exec pod-c /bin/cat /data/f 2>/dev/null && break; sleep 0.1; done
            podman --runtime \(host.machine.runtime) kube down pod.yaml >/dev/null 2>&1
            podman volume ls -q
            $RUN -v claim:/data $IMAGE cat /data/f
            berth volume inspect claim --json | grep -o '"size" : "[0-9]*"'
            """)
        #expect(text == "kube\nclaim\nkube\n\"size\" : \"10485760\"")
    }

    @Test("a plugin that was started again serves the volumes it finds, mounted or not")
    func restart() throws {
        let host = try PodmanHost()
        let text = try host.run(
            """
            podman volume create --driver berth data >/dev/null
            podman run -d --name one --runtime \(host.machine.runtime) --network none -v data:/data $IMAGE sleep 1000 >/dev/null
            podman exec one sh -c 'echo kept > /data/f'
            kill -9 $(berth status --json | grep '"plugin"' | head -1 | tr -dc 0-9); sleep 0.2
            podman volume ls >/dev/null 2>&1 || echo "podman says so"
            podman exec one cat /data/f
            berth serve --detach >/dev/null
            podman volume ls -q; $RUN -v data:/data $IMAGE cat /data/f
            podman rm -f -t 0 one >/dev/null; $RUN -v data:/data $IMAGE cat /data/f
            podman system migrate 2>/dev/null; $RUN -v data:/data $IMAGE cat /data/f
            """)
        #expect(text == "podman says so\nkept\ndata\nkept\nkept\nkept")
    }

    @Test("a server that dies is started again and mounted again for the next container")
    func serverKilled() throws {
        let host = try PodmanHost()
        let text = try host.run(
            """
            podman volume create --driver berth data >/dev/null
            podman run -d --name one --runtime \(host.machine.runtime) --network none -v data:/data $IMAGE sleep 1000 >/dev/null
            podman exec one sh -c 'echo kept > /data/f; sync /data/f; sync'
            sleep 0.3
            kill -9 $(berth status --json | grep -E '"(keeper|server)"' | head -2 | tr -dc '0-9\\n')
            podman exec one cat /data/f 2>&1 | grep -c 'not connected\\|abort' || true
            for i in $(seq 600); do $RUN -v data:/data $IMAGE cat /data/f 2>/dev/null && break; sleep 0.2; done
            podman rm -f -t 0 one >/dev/null
            """)
        #expect(text == "1\nkept")
    }
}
