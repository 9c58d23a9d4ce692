import LinuxSystem
import TestSupport
import Testing

/// Where the volume cannot be had the container does not start, and podman's message says why. Never an empty
/// directory.
@Suite("never an empty volume", .serialized)
struct RefusalTests {
    /// Breaks something after a first good run, and expects the next run to fail with these words.
    private func expectRefusal(_ damage: String, says: String, sourceLocation: SourceLocation = #_sourceLocation) throws
    {
        let host = try PodmanHost()
        let outcome = try host.attempt(
            """
            podman volume create --driver berth data >/dev/null || exit 98
            $RUN -v data:/data $IMAGE sh -c 'echo x > /data/f' || exit 97
            berth stop --all --force >/dev/null; volume=$HOME/.local/share/berth/volumes/data
            \(damage)
            [ -n "${KEEP_STOPPED:-}" ] || berth serve --detach >/dev/null
            $RUN -v data:/data $IMAGE sh -c 'echo STARTED; ls /data'
            """)
        #expect(outcome.end != .exited(0), sourceLocation: sourceLocation)
        let broken = (95...99).map { ChildEnd.exited($0) }
        #expect(!broken.contains(outcome.end), "\(outcome)", sourceLocation: sourceLocation)
        #expect(!outcome.output.contains("STARTED"), "\(outcome)", sourceLocation: sourceLocation)
        #expect(outcome.errors.contains(says), "\(outcome.errors)", sourceLocation: sourceLocation)
    }

    @Test("the plugin is not running")
    func noPlugin() throws {
        try expectRefusal("KEEP_STOPPED=1", says: "plugin.sock")
    }

    @Test("the database is damaged")
    func damagedDatabase() throws {
        try expectRefusal(
            "head -c 50000 /dev/urandom > $volume/meta.db; rm -f $volume/meta.db-wal", says: "not a database")
    }

    @Test("the store's directory cannot be used")
    func noStore() throws {
        try expectRefusal("chmod 000 $volume/store", says: "store")
    }

    @Test("the volume is held by a server that cannot be reached")
    func otherServer() throws {
        try expectRefusal(
            "echo serving 1 > $volume/lock; (flock $volume/lock sleep 30 >/dev/null 2>&1 &); sleep 0.5",
            says: "is in use by another process")
    }

    @Test("something lies at the mount point")
    func fullMountpoint() throws {
        try expectRefusal(
            "mkdir -p $XDG_RUNTIME_DIR/berth/mnt/data; touch $XDG_RUNTIME_DIR/berth/mnt/data/x", says: "is not empty")
    }

    @Test("podman counts a user of the volume, and its namespaces with the mount are gone")
    func lostNamespaces() throws {
        try expectRefusal(
            """
            berth serve --detach >/dev/null
            podman run -d --name one --runtime runc --network none -v data:/data $IMAGE sleep 1000 >/dev/null || exit 96
            \(LifetimeTests.lostNamespaces)
            for i in $(seq 600); do berth status | grep -q /mnt/ || break; sleep 0.1; done
            berth stop --all --force >/dev/null; chmod 000 $volume/store; berth serve --detach >/dev/null
            \(LifetimeTests.newNamespaces)
            podman volume inspect data | grep -q '"MountCount": 1' || exit 95
            """, says: "berth/mnt/data/volume")
    }
}
