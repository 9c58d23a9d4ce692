import LinuxSystem
import TestSupport
import Testing

/// Annotations that an image carries: podman before 4.5.1 gives them to the container as if the user had said them. Here the
/// image is somebody else's.
@Suite("what an image's annotations get", .serialized)
struct ImageAnnotationTests {
    /// `evil NAME KEY=VALUE...` makes an image with annotations in its manifest; `tried ...` runs a container and tells
    /// whether it saw the volume.
    private static let helpers =
        HookTests.helpers + """
            printf 'FROM %s\\n' $IMAGE > Containerfile
            evil() {
                name=$1; shift; words=; for word in "$@"; do words="$words --annotation $word"; done
                podman build -q $words -f Containerfile -t localhost/$name . >/dev/null
            }
            tried() {
                $RUN "$@" /bin/busybox sh -c 'for d in /data /in; do [ -e $d/secret ] && echo "SEEN at $d"; done; echo ran' >out 2>errors \
                    || echo "refused $?" >>out
                echo $(cat out); grep '^berth: ' errors || true
            }
            berth volume create data -o path=/data >/dev/null; berth volume create other >/dev/null
            $RUN --annotation berth.volume=data $IMAGE sh -c 'echo mine > /data/secret'

            """

    @Test(
        "a volume that an image asks for in its manifest is not given, by whichever key, with crun and runc",
        arguments: Machine.runtimes)
    func hostileImage(machine: Machine) throws {
        let host = try PodmanHost(machine, settings: HookTests.impatient)
        let text = try host.run(
            Self.helpers + """
                evil plain berth.volume=data
                evil below berth.volume.x=data:/in:rw
                evil leased berth.volume=data berth.lease=$R/leases/1-1
                evil forged berth.volume=data:token=00000000000000000000000000000000
                berth annotate data > /dev/null
                for image in plain below leased forged; do echo "$image: $(tried localhost/$image | tr -d '"' | xargs)"; done
                echo "create: $(podman --log-level=error create --name c --runtime \(machine.runtime) --network none localhost/plain sleep 100 >/dev/null && podman start c 2>errors || echo refused; grep -c '^berth: ' errors)" | xargs
                podman rm -f c > /dev/null
                nothing_left
                berth log --json -n 100 hook | grep -c 'it may not be you who asks for volume'
                """)
        let said =
            "refused 126 berth: annotation berth.volume: the image localhost/plain:latest carries it, so that it may not be you who asks for volume data; allow it with what `berth annotate data` prints, or ask for nothing: --annotation berth.volume="
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.count == 6, "\(text)")
        #expect(lines.first == "plain: \(said)", "\(text)")
        #expect(
            lines.dropFirst().first?.hasPrefix("below: refused 126 berth: annotation berth.volume.x: the image")
                == true, "\(text)")
        #expect(lines.dropFirst(2).first?.hasPrefix("leased: refused 126 berth: ") == true, "\(text)")
        #expect(
            lines.dropFirst(3).first
                == "forged: refused 126 berth: annotation berth.volume: its token is not that of volume data; take what `berth annotate data` prints",
            "\(text)")
        #expect(lines.dropFirst(4).first == "create: refused 1", "\(text)")
    }

    @Test(
        "the user's own words count: by flag, by kube YAML, over an image's by token, and an empty one asks for nothing"
    )
    func ownWords() throws {
        let host = try PodmanHost(settings: HookTests.impatient)
        let text = try host.run(
            Self.helpers + """
                evil plain berth.volume=data
                echo "flag: $(tried --annotation berth.volume=data $IMAGE)"
                echo "another key: $(tried --annotation berth.volume.mine=data:/in --annotation berth.volume= localhost/plain)"
                echo "empty: $(tried --annotation berth.volume= localhost/plain)"
                echo "the same key: $(tried --annotation berth.volume=data localhost/plain | head -1)"
                echo "token: $(tried --annotation "$(berth annotate data)" localhost/plain)"
                echo "token, elsewhere: $(tried --annotation "$(berth annotate data:/in:ro)" localhost/plain)"
                A=$(berth annotate data); berth annotate data --renew >/dev/null
                echo "old token: $(tried --annotation "$A" localhost/plain | head -1)"
                echo "another volume's: $(tried --annotation "berth.volume=data:token=$(berth annotate other | sed 's/.*token=//')" localhost/plain | head -1)"
                mkdir -p rootfs && tar -C rootfs -xf <(podman export $(podman create $IMAGE x)) 2>/dev/null
                podman rm -fa >/dev/null
                echo "rootfs: $(tried --annotation berth.volume=data --rootfs $PWD/rootfs)"
                stat -c %a $HOME/.local/share/berth/volumes/data/annotation-token
                """)
        let expected = """
            flag: SEEN at /data ran
            another key: SEEN at /in ran
            empty: ran
            the same key: refused 126
            token: SEEN at /data ran
            token, elsewhere: SEEN at /in ran
            old token: refused 126
            another volume's: refused 126
            rootfs: SEEN at /data ran
            600
            """
        #expect(text == expected)
    }

    @Test("a pod of Kubernetes' YAML has what the YAML says, and not what its image says")
    func kube() throws {
        let host = try PodmanHost(settings: HookTests.impatient)
        let text = try host.run(
            Self.helpers + """
                evil plain berth.volume=data
                pod() {
                    printf 'apiVersion: v1\\nkind: Pod\\nmetadata:\\n  name: p\\n  annotations:\\n    %s\\nspec:\\n  hostNetwork: true\\n  containers:\\n  - name: c\\n    image: %s\\n    command: [/bin/busybox, sh, -c, "ls /data > /tmp/seen; sleep 1000"]\\n' "$1" "$2" > pod.yaml
                    podman --runtime runc kube play pod.yaml >/dev/null 2>errors || true
                    for i in $(seq 50); do podman exec p-c /bin/busybox test -e /tmp/seen 2>/dev/null && break; sleep 0.1; done
                    podman exec p-c /bin/busybox cat /tmp/seen 2>/dev/null | xargs
                    podman kube down pod.yaml >/dev/null 2>&1 || podman pod rm -f p >/dev/null
                }
                echo "own: $(pod 'berth.volume: data' $IMAGE)"
                echo "image: $(pod 'x: y' localhost/plain)"
                echo "token: $(pod "$(berth annotate data | sed 's/=/: /')" localhost/plain)"
                """)
        #expect(text == "own: secret\nimage: \ntoken: secret")
    }

    @Test("annotation-tokens = always asks for a token of everybody, off of nobody")
    func settings() throws {
        let host = try PodmanHost(settings: HookTests.impatient)
        let text = try host.run(
            Self.helpers + """
                evil plain berth.volume=data
                printf 'annotation-tokens = always\\n' > $HOME/.config/berth/berth.conf
                echo "always: $(tried --annotation berth.volume=data $IMAGE | head -1)"
                echo "always, token: $(tried --annotation "$(berth annotate data)" $IMAGE)"
                printf 'annotation-tokens = off\\n' > $HOME/.config/berth/berth.conf
                echo "off: $(tried localhost/plain)"
                """)
        #expect(text == "always: refused 126\nalways, token: SEEN at /data ran\noff: SEEN at /data ran")
    }

    @Test("a lease that somebody made up ends nothing, and is logged")
    func madeUpLease() throws {
        let host = try PodmanHost(settings: HookTests.impatient)
        let text = try host.run(
            Self.helpers + """
                mkdir -m 0700 evil evil/leases bundle; echo '1 1 data' > evil/leases/1-1
                podman run -d --name one --runtime runc --network none --annotation berth.volume=data $IMAGE sleep 1000 >/dev/null
                stop() {
                    printf '{"ociVersion":"1","annotations":{"berth.volume":"data","berth.lease":"%s"}}' "$1" > bundle/config.json
                    printf '{"ociVersion":"1","id":"%s","bundle":"%s"}' $2 $PWD/bundle | podman unshare berth-hook poststop; echo "status $?"
                }
                stop $PWD/evil/leases/1-1 abc; stop $(ls -d $R/leases/*) abc; stop $R/leases/../leases/x abc; stop "" abc
                ls evil/leases; ls $R/leases | wc -l
                berth log -n 100 hook | grep -c 'warning.* a container ended with a lease that is none of its own'
                podman rm -f -t 0 one >/dev/null; ls $R/leases | wc -l; nothing_left
                """)
        #expect(text == "status 0\nstatus 0\nstatus 0\nstatus 0\n1-1\n1\n3\n0")
    }

    @Test(
        "status and log name the container that has a volume by annotation; its token is in no log and no configuration"
    )
    func named() throws {
        let host = try PodmanHost(settings: HookTests.impatient)
        let text = try host.run(
            Self.helpers + """
                A=$(berth annotate data); T=${A##*token=}
                podman run -d --name one --runtime runc --network none --annotation "$A" $IMAGE sleep 1000 >/dev/null
                wait_for 'berth status | grep -q "by annotation"'
                berth status | sed -n 's/^ *by annotation: container [0-9a-f]* /status: /p'
                berth status --json | grep -o '"name" : "one"'
                berth log -n 1 hook | grep -o 'container=[0-9a-f]* image=[^ ]*\\|name=[^ ]*' | sed 's/container=[0-9a-f]*/container=ID/'
                grep -rl "$T" $HOME/.local/share/berth/logs $R $HOME/.local/share/containers/storage/*-containers/*/userdata | wc -l
                podman rm -f -t 0 one >/dev/null; nothing_left; berth status | grep -c 'by annotation' || true
                """)
        let expected = """
            status: one of image localhost/berth-bb:latest
            "name" : "one"
            container=ID image=localhost/berth-bb:latest
            name=one
            0
            0
            """
        #expect(text == expected)
    }
}
