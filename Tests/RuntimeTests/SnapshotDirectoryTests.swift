import TestSupport
import Testing

@Suite("snapshots in Apptainer", .serialized)
struct SnapshotDirectoryTests {
    @Test(
        "Apptainer shows a volume's snapshots below .snapshots, and so does berth run", arguments: ["", "--fakeroot"])
    func apptainer(option: String) throws {
        let host = try ApptainerHost()
        let text = try host.run(
            """
            berth run -- apptainer exec \(option) $SIF sh -c 'echo one > /data/f'; berth snapshot create data@monday >/dev/null
            berth run -- apptainer exec \(option) $SIF sh -c 'echo two > /data/f; cat /data/.snapshots/monday/f; touch /data/.snapshots/monday/f 2>&1 | grep -o Read-only; ls -A /data'
            berth run -- cat /data/.snapshots/monday/f; eval "$(berth env)"
            apptainer exec \(option) $SANDBOX cat /data/.snapshots/monday/f /data/f; eval "$(berth env --unset)"
            """)
        #expect(text == "one\nRead-only\nf\none\none\ntwo", "\(text)")
    }
}
