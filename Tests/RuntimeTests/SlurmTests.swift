import Glibc
import LinuxSystem
import TestSupport
import Testing

/// Real jobs of an ordinary user on a real Slurm of one node, whose daemons need root.
@Suite("Slurm", .serialized, .enabled(if: geteuid() == 0))
struct SlurmTests {
    @Test("a job's output shows the volume at its path bare, in Apptainer and in podman, and nothing is left")
    func everywhere() throws {
        let host = try SlurmHost()
        try Shell.root.run(
            "install -m 0755 '\(Programs.packaging("make-image.sh"))' '\(host.site.directory)/make-image'")
        _ = try host.run("mkdir -m 0700 x; berth setup >/dev/null; XDG_RUNTIME_DIR=$PWD/x ./make-image localhost/bb")
        let text = try host.batch(
            """
            echo "${XDG_RUNTIME_DIR-none}"
            berth run -- sh -c 'echo bare > /data/f; cat /data/f'
            apptainer -q exec $SIF sh -c 'cat /data/f; echo apptainer > /data/f'; cat "${APPTAINER_BIND%%:*}/f"
            export XDG_RUNTIME_DIR=$PWD/x
            podman volume exists data || podman volume create --driver berth data >/dev/null
            podman --log-level=error run --rm --runtime runc --network none -v data:/data localhost/bb \\
                sh -c 'cat /data/f; echo podman > /data/f'
            berth run -- cat /data/f
            berth status | grep -c "host/data .* job $SLURM_JOB_ID"; berth log data -n 99 | grep -c "job=$SLURM_JOB_ID"
            """)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.dropLast() == ["none", "bare", "bare", "apptainer", "apptainer", "podman", "1"], "\(text)")
        #expect(lines.last.flatMap { Int($0) } ?? 0 > 0)
        // Podman's own process, which keeps its namespaces: Slurm's proctrack/cgroup ends it, linuxproc does not.
        _ = try Shell.root.attempt(
            "cd '\(host.site.directory)/x' && for f in libpod/tmp/pause.pid libpod/pause.pid; do [ -f $f ] && kill -9 $(cat $f); done"
        )
        try host.expectNothingLeft()
        #expect(try host.run("berth status | head -n 1").contains("not running"))
    }

    @Test("the prolog runs for the batch script and for each step, with one mount, which the last task ends")
    func steps() throws {
        let host = try SlurmHost()
        let text = try host.batch(
            """
            session() { getfattr --only-values -n berth.session "${APPTAINER_BIND%%:*}" 2>/dev/null; }
            first=$(session)
            srun sh -c 'echo step > "${APPTAINER_BIND%%:*}/f"; echo "$APPTAINER_BIND" | tr , "\\n" | grep -c :/data'
            cat "${APPTAINER_BIND%%:*}/f"; [ "$first" = "$(session)" ] && echo same
            srun --overlap sh -c 'touch in; while [ ! -e over ]; do sleep 0.1; done' & while [ ! -e in ]; do sleep 0.1; done
            srun --overlap sh -c 'find "$BERTH_RUNTIME_DIR/slurm/jobs" -type f | wc -l' >count
            touch over; wait; [ "$(cat count)" -ge 2 ] && echo counted
            for t in $(seq 600); do n=$(find "$BERTH_RUNTIME_DIR/slurm/jobs" -type f | wc -l); [ $n = 1 ] && break; sleep 0.1; done; echo $n
            "\(try SlurmHost.hooks())/TaskProlog" | grep -c "^export APPTAINER_BIND=$APPTAINER_BIND$"
            [ "$first" = "$(session)" ] && echo same
            """)
        #expect(text == "1\nstep\nsame\ncounted\n1\n1\nsame")
        try host.expectNothingLeft()
    }

    @Test("a volume that two jobs use stays until the second ends, and one that the user mounted stays")
    func together() throws {
        let host = try SlurmHost()
        let wait = #"touch ready; while [ ! -e end-$SLURM_JOB_ID ]; do sleep 0.1; done; cat "${APPTAINER_BIND%%:*}/f""#
        let one = try host.start("echo shared > \"${APPTAINER_BIND%%:*}/f\"; \(wait)")
        let two = try host.start(wait, options: "--comment='project 7 berth:data:/elsewhere:ro'")
        let over = "for i in $(seq 600); do squeue -h -j $job -o %T | grep -q . || break; sleep 0.1; done; cat out-$job"
        #expect(try host.run("touch end-\(one); job=\(one); \(over)") == "shared")
        #expect(try host.run("touch end-\(two); job=\(two); \(over)") == "shared")
        try host.expectNothingLeft()
        _ = try host.run("berth env")
        #expect(try host.batch("berth run -- cat /data/f", options: "--export=ALL,BERTH_VOLUMES=data") == "shared")
        #expect(try host.run("grep -c '\(host.site.directory)' /proc/mounts; berth env --unset >/dev/null") == "1")
        try host.expectNothingLeft()
    }

    @Test("a job that is cancelled, killed, or out of time leaves nothing, whatever it has open there")
    func ended() throws {
        // All at once: Slurm looks for jobs out of time twice a minute.
        var jobs: [(host: SlurmHost, id: String)] = []
        let ends = [
            "scontrol update JobId=$job EndTime=now", "scancel $job", "scancel --signal=KILL --full $job",
        ]
        for _ in ends {
            let host = try SlurmHost()
            let id = try host.start(
                #"trap "" TERM; cd "${APPTAINER_BIND%%:*}"; exec 5>open; setsid sleep 300 & touch "$OLDPWD/ready"; sleep 300; sleep 300"#
            )
            #expect(try host.run("grep -c '\(host.site.directory)' /proc/mounts") == "1")
            jobs.append((host, id))
        }
        for (job, end) in zip(jobs, ends) { _ = try job.host.run("job=\(job.id); \(end)") }
        for (host, id) in jobs {
            try eventually("job \(id) ends", within: .seconds(240)) {
                try host.run("squeue -h -j \(id) -o %T 2>/dev/null || true").isEmpty
            }
            try host.expectNothingLeft()
        }
        let states = try jobs.map { try $0.host.run("scontrol show job \($0.id) | grep -o 'JobState=[A-Z]*'") }
        #expect(states == ["JobState=TIMEOUT", "JobState=CANCELLED", "JobState=CANCELLED"])
    }

    @Test(
        "a volume that cannot be had keeps the task from starting, and the job's output names it and the way out",
        arguments: [
            ("--comment=berth:nosuch", "volume \"nosuch\": does not exist; make it with `berth volume create nosuch`"),
            ("--comment=berth:data,nosuch", "volume \"nosuch\": does not exist"),
            ("--comment=berth:homeless", "berth path set homeless /PATH"),
            ("--comment=berth:data:/x:/y", "data:/x:/y"),
            ("--comment=berth:data:/proc/x", "kernel's"),
            ("--comment=berth:../data:/x", "\"../data:/x\" names no volume"),
            ("--export=ALL,BERTH_VOLUMES=nosuch", "volume \"nosuch\": does not exist"),
            ("--export=ALL,APPTAINER_BIND=/tmp:/data --comment=berth:data", "APPTAINER_BIND: binds /tmp:/data already"),
        ])
    func refused(options: String, says: String) throws {
        let host = try SlurmHost()
        _ = try host.run("berth volume create homeless")
        let outcome = try host.attempt("srun --quiet \(options) touch started")
        let text = outcome.output
        #expect(outcome.end == .exited(1))
        #expect(text.contains(says) && text.contains("the task does not start"), "\(text)")
        #expect(try host.run("ls started 2>/dev/null || true").isEmpty)
        try host.expectNothingLeft()
    }

    @Test(
        "a batch script does not start either, and its output says why",
        arguments: [
            ("--comment=berth:nosuch", "berth volume create nosuch"),
            ("--export=ALL,PATH=/usr/bin:/bin --comment=berth:data", "program berth is not in PATH"),
        ])
    func refusedBatch(options: String, says: String) throws {
        let host = try SlurmHost()
        let text = try host.batch("touch started", options: options)
        #expect(text.contains(says) && text.contains("the task does not start"), "\(text)")
        #expect(try host.run("ls started 2>/dev/null || true").isEmpty)
    }

    @Test("a job that names no volume is left alone")
    func unnamed() throws {
        let host = try SlurmHost()
        let text = try host.batch(
            "env | grep -c _BIND; ls -d $BERTH_RUNTIME_DIR/slurm 2>/dev/null", options: "--comment=mine")
        #expect(text == "0")
    }

    @Test("what a job names is near before its tasks start; where it cannot be, the output says so or no task starts")
    func warmUp() throws {
        let host = try SlurmHost()
        // A volume that has no path and is not mounted, and one that is.
        _ = try host.run(
            """
            export BERTH_RUNTIME_DIR=\(host.site.runtime); mkdir w; berth volume create far -o path=/far >/dev/null
            berth mount far w >/dev/null; mkdir w/a w/b; for d in a b; do head -c 20000000 /dev/urandom > w/$d/f; done
            berth sync far --wait >/dev/null; berth umount w; berth evict far
            """)
        let near = "for d in a b; do berth warm far:/$d --check >/dev/null 2>>errors && echo $d; done"
        #expect(try host.batch(near, options: "--comment='berth:data berth-warm:far:/a' -n 2") == "a")
        let both = "srun --quiet -n 2 true; \(near); echo \"${APPTAINER_BIND-none}\""
        let text = try host.batch(both, options: "--export=ALL,BERTH_WARM=far:/b --comment=other -n 2")
        let said = try host.run("cat errors")
        #expect(text == "a\nb\nnone", "\(text): \(said)")
        let missing = try host.batch("echo started", options: "--comment='berth-warm:far:/none,far:/a'")
        #expect(missing.contains("far:/none is not all here") && missing.hasSuffix("started"), "\(missing)")
        for options in [
            "--comment='berth:data berth-warm:far:/none berth-warm-required'",
            "--export=ALL,BERTH_WARM=far:/none,BERTH_WARM_REQUIRED=1",
        ] {
            let refused = try host.batch("touch started", options: options)
            #expect(refused.contains("far:/none") && refused.contains("the task does not start"), "\(refused)")
            #expect(try host.run("ls started 2>/dev/null || true").isEmpty)
            // Slurm has no epilog for a task that never was; the next task of the user sweeps.
            _ = try host.batch("true")
        }
        try eventually("the server that brought it ends") { try host.site.server(of: "far") == nil }
        try host.expectNothingLeft()
    }

    @Test("without any runtime directory in the environment, root's Epilog ends what tasks without an epilog left")
    func epilog() throws {
        let host = try SlurmHost()
        let user = try TestUser.shared()
        let task = "SLURM_JOB_ID=77 SLURM_PROCID=0 BERTH_VOLUMES=left:/left \(try SlurmHost.hooks())/TaskProlog"
        let mounted = "grep -o '^berth:left [^ ]*' /proc/mounts | cut -d' ' -f2"
        // The shell that stands for the task ends, and nobody runs a TaskEpilog.
        let place = try host.run(
            "unset BERTH_RUNTIME_DIR; berth volume create left >/dev/null; bash -c '\(task); true' >/dev/null; \(mounted)"
        )
        #expect(place == "/run/user/\(user.userID)/berth/host/left")
        try Shell.root.run(
            "SLURM_JOB_UID=\(user.userID) SLURM_JOB_ID=77 BERTH_DIRECTORY='\(try Programs.shared())' '\(try SlurmHost.hooks())/Epilog'"
        )
        #expect(try host.run(mounted).isEmpty)
        #expect(try host.run("ls -d /run/user/\(user.userID)/berth/slurm '\(place)' 2>/dev/null || true").isEmpty)
    }

    @Test("a line break in a value or in a message is no line of its own for Slurm")
    func lineBreaks() throws {
        let host = try SlurmHost()
        let task = "SLURM_JOB_ID=78 SLURM_PROCID=0 BERTH_VOLUMES=left:/left"
        let text = try host.run(
            """
            berth volume create left >/dev/null
            \(task) APPTAINER_BIND=$'/x\nexport EVIL=\\'y' \(try SlurmHost.hooks())/TaskProlog > out
            grep -c 'EVIL=' out || true; grep -c 'APPTAINER_BIND holds a control character' out
            grep -vcE '^(export [A-Z_]+=|unset [A-Z_]+$|print )' out || true
            \(task) \(try SlurmHost.hooks())/TaskEpilog
            SLURM_JOB_ID=$'79\rx' BERTH_VOLUMES=$'no\nexport EVIL=1' \(try SlurmHost.hooks())/TaskProlog > out || true
            grep -c '^export EVIL=' out || true; grep -c '^print berth: job 79 x: ' out
            """)
        #expect(text == "0\n1\n0\n0\n1")
    }
}
