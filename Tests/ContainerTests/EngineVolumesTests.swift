import LinuxSystem
import TestSupport
import Testing

/// What `-v NAME:` means to podman, for every way of making and removing a volume.
@Suite("podman's list of volumes", .serialized)
struct EngineVolumesTests {
    @Test(
        "a volume made by create, clone, recover and load is the one that a container gets, and podman forgets one that is removed"
    )
    func everyWay() throws {
        let host = try PodmanHost()
        let text = try host.run(
            """
            write() { $RUN -v $1:/x $IMAGE sh -c "echo $1 > /x/f"; }
            mkdir -m 0700 s
            berth volume create made >/dev/null; write made
            berth clone made cloned >/dev/null; $RUN -v cloned:/x $IMAGE cat /x/f
            berth volume create stored -o store=file://$PWD/s >/dev/null; write stored
            berth stop --all >/dev/null 2>&1; berth volume dump stored -o dump >/dev/null
            berth volume rm --keep-data stored >/dev/null
            berth serve --detach >/dev/null
            berth volume recover file://$PWD/s/stored >/dev/null; $RUN -v stored:/x $IMAGE cat /x/f
            mkdir -m 0700 t; berth volume create loaded -o store=file://$PWD/t >/dev/null
            berth volume load loaded dump >/dev/null 2>&1; $RUN -v loaded:/x $IMAGE ls /x
            podman volume ls --format '{{.Driver}} {{.Name}}' | sort | xargs
            berth stop --all >/dev/null 2>&1; berth serve --detach >/dev/null
            berth volume rm cloned loaded | xargs
            berth stop >/dev/null; berth volume rm stored; berth serve --detach >/dev/null
            podman volume ls --format '{{.Driver}} {{.Name}}' | xargs
            """)
        #expect(
            text
                == "made\nstored\nf\nberth cloned berth loaded berth made berth stored\ncloned loaded\nstored\nberth made"
        )
    }

    @Test("a volume made while no plugin ran is podman's as soon as one is ready, and what podman lost comes back")
    func later() throws {
        let host = try PodmanHost()
        let text = try host.run(
            """
            berth stop >/dev/null
            berth volume create n 2>said; grep -o 'run `berth serve --detach`' said
            berth serve --detach >/dev/null
            $RUN -v n:/x $IMAGE sh -c 'echo there > /x/f'
            berth stop >/dev/null; podman volume reload >/dev/null 2>&1 || true
            berth serve --detach >/dev/null; $RUN -v n:/x $IMAGE cat /x/f
            """)
        #expect(text == "n\nrun `berth serve --detach`\nthere")
    }

    @Test(
        "a volume of podman's own with the same name is named by create, status and doctor, and the cure works as it stands"
    )
    func conflict() throws {
        let host = try PodmanHost()
        let text = try host.run(
            #"""
            $RUN -v n:/x $IMAGE sh -c 'echo own > /x/f'
            berth volume create n 2>said
            for look in "cat said" "berth status" "berth status --json" "berth doctor"; do
                $look | grep -c 'has a volume .*n.* of its own'
            done
            # The cure, word by word: what stands between backquotes.
            berth status | grep 'of its own' | grep -o '`[^`]*`' | tr -d '`' | grep '^podman \|^berth ' >cure; wc -l <cure
            bash -e cure >/dev/null
            berth status | grep -c 'of its own' || true
            $RUN -v n:/x $IMAGE sh -c 'cat /x/f; grep -c " /x fuse.berth " /proc/mounts'
            podman volume create m >/dev/null; berth stop >/dev/null; berth volume create m 2>/dev/null
            berth status | grep 'of its own' | grep -o '`[^`]*`' | tr -d '`' | grep '^podman \|^berth ' >cure
            bash -e cure >/dev/null
            podman volume inspect m --format '{{.Driver}}'
            """#)
        #expect(text == "n\n1\n1\n1\n1\n3\n0\nown\n1\nm\nberth")
    }

    @Test("a podman that is absent, broken or hangs keeps no volume from being made or removed")
    func broken() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            berth setup >/dev/null 2>&1; berth serve --detach >/dev/null
            mkdir bin; export PATH=$PWD/bin:$PATH
            for script in 'exec sleep 1000' 'exit 1' 'echo nonsense' 'kill -9 $$'; do
                printf '#!/bin/bash\\n%s\\n' "$script" >bin/podman; chmod 755 bin/podman
                timeout 60 berth volume create n 2>/dev/null; timeout 60 berth volume rm n 2>/dev/null; echo $?
            done
            berth stop >/dev/null
            """)
        #expect(text == Array(repeating: "n\nn\n0", count: 4).joined(separator: "\n"))
    }

    @Test("what `podman system prune --volumes` removes comes back, and a store that was named is not touched")
    func pruned() throws {
        let host = try PodmanHost()
        let text = try host.run(
            #"""
            mkdir -m 0700 s
            podman volume create --driver berth a >/dev/null; podman volume create --driver berth -o store=file://$PWD/s b >/dev/null
            podman volume create --driver berth used >/dev/null
            for v in a b; do $RUN -v $v:/x $IMAGE sh -c "echo $v > /x/f"; done
            podman create --name keeper --runtime runc -v used:/x $IMAGE true >/dev/null
            podman run -d --name busy --runtime runc --network none -v used:/x $IMAGE sleep 1000 >/dev/null
            yes | podman system prune --volumes 2>/dev/null | grep -x '[ab]' | sort | xargs
            podman volume ls -q; berth volume ls --removed --json | grep -c '"name"'
            berth volume restore a; berth volume restore b
            for v in a b; do $RUN -v $v:/x $IMAGE cat /x/f; done
            podman volume rm a >/dev/null; podman volume create --driver berth a >/dev/null; $RUN -v a:/x $IMAGE ls /x | wc -l
            podman rm -f -t 0 busy >/dev/null; podman volume prune -f | sort | xargs
            berth volume ls; ls s
            berth volume rm --removed a b used | sort | uniq -c | xargs; ls s | wc -l
            """#)
        #expect(
            text
                == "a b\nused\n2\na\nb\na\nb\n0\na b used\nno volumes; make one with: berth volume create NAME\nb\n2 a 1 b 1 used\n0"
        )
    }

    @Test(
        "a mount on the host that podman's namespace has a copy of is unmounted, and one that a container binds stays in it"
    )
    func copiedByPodman() throws {
        let host = try PodmanHost()
        let text = try host.run(
            #"""
            berth volume create v >/dev/null; podman system migrate 2>/dev/null
            berth mount v m >/dev/null; echo x >m/f; podman volume ls >/dev/null
            pause=$(cat $XDG_RUNTIME_DIR/libpod/tmp/pause.pid); grep -c " $PWD/m .* fuse.berth " /proc/$pause/mountinfo
            berth umount m; berth status | grep -c "$PWD/m" || true
            berth mount v m >/dev/null; podman system migrate 2>/dev/null
            podman run -d --name c --runtime runc --network none -v $PWD/m:/x $IMAGE sleep 1000 >/dev/null
            berth umount m 2>said; grep -c 'has the volume still' said; podman exec c cat /x/f
            berth status | grep -c 'unmounted; kept by process'
            berth volume rm v 2>said || grep -o 'berth umount --force [^`]*' said | sed "s,$PWD,,"
            podman rm -f -t 0 c >/dev/null; berth umount m 2>/dev/null || true; berth status | grep -c "$PWD/m" || true
            berth volume rm v
            """#)
        #expect(text == "1\n0\n1\nx\n1\nberth umount --force /m\n0\nv", "\(text)")
    }
}
