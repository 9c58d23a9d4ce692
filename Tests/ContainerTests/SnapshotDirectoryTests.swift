import TestSupport
import Testing

@Suite("snapshots in podman", .serialized)
struct SnapshotDirectoryTests {
    @Test("a container has its volume's snapshots below .snapshots, also those made while it runs, with its own ids")
    func container() throws {
        let host = try PodmanHost()
        let text = try host.run(
            """
            podman volume create --driver berth data >/dev/null
            $RUN -v data:/data $IMAGE sh -c 'mkdir -m 1777 /data/d; echo one > /data/d/f; echo gone > /data/g'
            berth snapshot create data@monday >/dev/null
            podman run -d --name long --runtime \(host.machine.runtime) --network none -v data:/data $IMAGE sleep 1000 >/dev/null
            podman exec long sh -c 'rm /data/g; echo two > /data/d/f; ls -A /data; cat /data/.snapshots/monday/d/f /data/.snapshots/monday/g'
            podman exec long sh -c 'cp /data/.snapshots/monday/g /data/g; stat -c %u:%g /data/.snapshots/monday/g; rm /data/.snapshots/monday/g 2>&1 | grep -o Read-only'
            podman exec --user 1000 long sh -c 'cat /data/.snapshots/monday/d/f; echo u > /data/d/u'
            berth snapshot create data@tuesday >/dev/null; podman exec long sh -c 'for i in $(seq 600); do [ -e /data/.snapshots/tuesday ] && break; sleep 0.1; done; ls /data/.snapshots; stat -c %u /data/.snapshots/tuesday/d/u'
            berth snapshot rm data@monday >/dev/null; for i in $(seq 600); do [ "$(podman exec long ls /data/.snapshots)" = tuesday ] && break; sleep 0.1; done; podman exec long ls /data/.snapshots
            podman rm -f -t 0 long >/dev/null; podman volume rm data >/dev/null
            """)
        #expect(
            text == "d\none\ngone\n0:0\nRead-only\none\nmonday\ntuesday\n1000\ntuesday", "\(text)")
    }
}
