import LinuxSystem
import TestSupport
import Testing

/// `apptainer --fusemount`, in all its types.
@Suite("Apptainer --fusemount", .serialized)
struct FuseMountTests {
    private func program(_ host: ApptainerHost) throws -> String {
        "\(try Programs.shared())/berthfs --home \(host.site.home)"
    }

    @Test(
        "types host and host-daemon serve the volume through its one server, with and without --fakeroot",
        arguments: ["host", "host-daemon"], ["", "--fakeroot"])
    func onHost(type: String, option: String) throws {
        let host = try ApptainerHost()
        let owner = option.isEmpty ? try host.run("id -u") : "0"
        let run = "apptainer exec \(option) --fusemount '\(type):\(try program(host)) data /data'"
        let text = try host.run(
            """
            \(run) $SIF sh -c 'ls /data; echo x > /data/f; stat -c %u /data/f' 2>/dev/null
            berth run -- sh -c 'cat /data/f; stat -c %u /data/f'
            \(run) $SANDBOX sh -c 'cat /data/f' 2>/dev/null
            berth run -- sh -c 'touch ready; while [ ! -e /data/g ]; do sleep 0.1; done; cat /data/g' & waiting=$!
            while [ ! -e ready ]; do sleep 0.05; done
            \(run) $SIF sh -c 'ls /data/f >/dev/null; echo y > /data/g' 2>/dev/null; wait $waiting
            """)
        let user = try host.run("id -u")
        #expect(text == "\(owner)\nx\n\(user)\nx\ny", "\(text)")
        try eventually("sessions end") { try !host.run("berth status").contains("descriptor") }
    }

    @Test(
        "types container and container-daemon run berthfs from the image", arguments: ["container", "container-daemon"])
    func inContainer(type: String) throws {
        let host = try ApptainerHost()
        let text = try host.run(
            """
            cp -r $SANDBOX image; programs=$(dirname $(command -v berthfs)); cp $programs/berthfs image/bin/
            for library in $(ldd $programs/berthfs | grep -o '/[^ ]*'); do
                mkdir -p image$(dirname $library); cp -L $library image$library
            done
            log=$HOME/.local/share/berth/logs/data.log
            run() { apptainer exec --bind "$PWD" --fusemount "\(type):/bin/berthfs --home $HOME data /data" image "$@" 2>/dev/null; }
            run sh -c 'for i in $(seq 600); do grep -qs "would end with it" '$log' && break; sleep 0.1; done; cat /data/f' >/dev/null && exit 9; grep -c 'would end with it' $log
            eval "$(berth env)"; unset APPTAINER_BIND SINGULARITY_BIND
            run sh -c 'for i in $(seq 600); do grep -q " /data fuse" /proc/mounts && ls /data && break; sleep 0.1; done; echo x > /data/f; cat /data/f'
            berth run -- cat /data/f; berth env --unset >/dev/null
            """)
        #expect(text == "1\nx\nx")
    }

    @Test("what cannot be served says why in the volume's log; a daemon's container does not start")
    func refused() throws {
        let host = try ApptainerHost()
        let log = "$HOME/.local/share/berth/logs/nosuch.log"
        let program = try program(host)
        let late = try host.attempt("apptainer exec --fusemount 'host:\(program) nosuch /data' $SIF ls /data")
        #expect(late.end != .exited(0) && late.errors.contains("not connected"), "\(late)")
        #expect(try host.run("cat \(log)").contains("volume \"nosuch\": does not exist; make it with"))
        let early = try host.attempt(
            "apptainer exec --fusemount 'host-daemon:\(program) nosuch /data' $SIF touch /tmp/berth-started-$$")
        #expect(early.end == .exited(255) && early.errors.contains("exit status 66"), "\(early)")
        #expect(try host.run("grep -c 'does not exist' \(log)") == "2")
    }

    @Test("descriptors that are closed or no /dev/fuse are refused")
    func descriptors() throws {
        let host = try ApptainerHost()
        for words in ["/dev/fd/77", "/dev/fd/0 -f"] {
            let outcome = try host.attempt("berthfs data \(words) </dev/null")
            #expect(outcome.end == .exited(64) && outcome.errors.split(separator: "\n").count == 1, "\(outcome)")
        }
    }
}
