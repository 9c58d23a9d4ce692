import LinuxSystem
import TestSupport
import Testing

/// Real Apptainer, as an ordinary user.
@Suite("Apptainer", .serialized)
struct ApptainerTests {
    @Test(
        "berth run and berth env show the volume in SIF and sandbox images, with and without --fakeroot",
        arguments: ["$SIF", "$SANDBOX"], ["", "--fakeroot"])
    func exec(image: String, option: String) throws {
        let host = try ApptainerHost()
        let owner = option.isEmpty ? try host.run("echo $(id -u):$(id -g)") : "0:0"
        let text = try host.run(
            """
            berth run -- apptainer exec \(option) \(image) sh -c 'echo run > /data/f; stat -c %u:%g /data /data/f'
            eval "$(berth env)"
            apptainer exec \(option) \(image) cat /data/f; singularity exec \(option) \(image) sh -c 'echo env > /data/f'
            cat "${APPTAINER_BIND%%:*}/f"; stat -c %u "${APPTAINER_BIND%%:*}/f"
            eval "$(berth env --unset)"; echo "${APPTAINER_BIND-unset} ${SINGULARITY_BIND-unset} ${BERTH_CH_BIND-unset}"
            ls "$BERTH_RUNTIME_DIR/host"; grep -c "$BERTH_RUNTIME_DIR" /proc/mounts || true
            """)
        #expect(text == "\(owner)\n\(owner)\nrun\nenv\n\(try host.run("id -u"))\nunset unset unset\n0")
    }

    @Test("what the variables held stays, comes back, and a bind for the same path is refused with both names")
    func variables() throws {
        let host = try ApptainerHost()
        let text = try host.run(
            """
            mkdir 'o ne' two; touch 'o ne/1' two/2
            export SINGULARITY_BIND="$PWD/o ne:/one"
            eval "$(berth env)"; eval "$(berth env)"
            apptainer exec $SIF ls /one; apptainer exec --bind $PWD/two:/two $SIF ls /two; apptainer exec $SIF ls -d /data
            export APPTAINER_BIND="$APPTAINER_BIND,$PWD/two:/late"
            eval "$(berth env --unset)"; echo "$APPTAINER_BIND" | grep -c late; echo "$SINGULARITY_BIND" | grep -c "o ne:/one"
            """)
        #expect(text == "1\n2\n/data\n1\n1")
        for command in ["berth env", "berth run -- apptainer exec $SIF true", "berth run -- true"] {
            let outcome = try host.attempt("APPTAINER_BIND=/tmp:/data \(command)")
            #expect(outcome.end == .exited(78))
            #expect(outcome.errors.contains("APPTAINER_BIND: binds /tmp:/data already"), "\(outcome.errors)")
            #expect(outcome.output.isEmpty)
        }
        #expect(try host.run("ls \"$BERTH_RUNTIME_DIR/host\" 2>/dev/null | wc -l") == "0")
    }

    @Test("a read-only bind takes no changes, and an instance outlives its shell and berth env --unset")
    func instances() throws {
        let host = try ApptainerHost()
        let text = try host.run(
            """
            berth run -- apptainer exec $SIF sh -c 'echo x > /data/f'
            berth run --volume data:ro -- apptainer exec $SIF sh -c 'cat /data/f; touch /data/g 2>&1 | grep -o Read-only'
            (eval "$(berth env)"; apptainer instance start $SIF one >/dev/null 2>&1; eval "$(berth env --unset)")
            apptainer exec instance://one sh -c 'cat /data/f; echo y > /data/f'
            berth run -- apptainer exec $SANDBOX cat /data/f
            apptainer instance stop one >/dev/null 2>&1
            berth env --unset >/dev/null
            """)
        #expect(text == "x\nRead-only\nx\ny")
        try eventually("the sessions end") { try !host.run("berth status").contains("/host/data") }
    }

    @Test("inside berth run, Apptainer binds what the program sees")
    func nested() throws {
        let host = try ApptainerHost()
        let text = try host.run(
            "berth run -- sh -c 'echo x > /data/f; apptainer exec $SANDBOX cat /data/f 2>/dev/null'")
        #expect(text == "x")
    }

    @Test("a server killed and restarted under a container that writes all the time is a pause")
    func replaced() throws {
        let host = try ApptainerHost()
        let text = try host.run(
            """
            eval "$(berth env)"
            apptainer exec $SIF sh -c 'i=0; while [ ! -e /data/stop ]; do i=$((i + 1)); echo $i >> /data/log || echo lost; done; seq $i | cmp - /data/log && echo whole' & container=$!
            for t in $(seq 600); do [ -s "${APPTAINER_BIND%%:*}/log" ] && break; sleep 0.1; done
            for i in 1 2 3 4; do
              for t in $(seq 600); do berth status --json | grep -q '"server"' && break; sleep 0.1; done
              if [ $((i % 2)) = 0 ]; then berth restart data >/dev/null || echo WRONG
              else kill -9 $(berth status --json | grep '"server"' | tr -dc '0-9\\n'); fi
              sleep 1.3
            done
            touch "${APPTAINER_BIND%%:*}/stop"; wait $container
            """)
        #expect(text == "whole")
    }

    @Test(
        "a container killed with -9 in the middle of its writes leaves a prefix of them",
        arguments: ["eval \"$(berth env)\";", "berth run --"])
    func killedWriting(way: String) throws {
        let host = try ApptainerHost()
        let text = try host.run(
            """
            echo 'i=0; while :; do i=$((i + 1)); echo $i >> /data/n; done' > write.sh
            cat > start.sh <<'END'
            \(way) apptainer exec --bind $PWD "$SIF" sh $PWD/write.sh
            END
            export SIF; setsid bash start.sh >/dev/null 2>&1 & container=$!
            for t in $(seq 600); do [ "$(berth run -- sh -c 'cat /data/n 2>/dev/null | wc -l')" -gt 200 ] && break; sleep 0.1; done
            kill -9 -- -$container; wait $container 2>/dev/null || true
            for t in $(seq 600); do pgrep -f "sh $PWD/write.sh" >/dev/null || break; sleep 0.1; done
            \(way) apptainer exec $SIF sh -c 'test $(wc -l < /data/n) -gt 200; seq $(wc -l < /data/n) | cmp - /data/n && echo prefix; echo more >> /data/n; tail -n 1 /data/n'
            """)
        #expect(text == "prefix\nmore")
    }

    @Test("a dead mount is made again, and a mount that is gone never shows an empty directory")
    func dead() throws {
        let host = try ApptainerHost()
        let text = try host.run(
            """
            eval "$(berth env)"; apptainer exec $SIF sh -c 'echo x > /data/f; sync /data/f'
            kill -9 $(berth status --json | grep -E '"(keeper|server)"' | tr -dc '0-9\\n'); sleep 0.2
            apptainer exec $SIF ls /data >/dev/null 2>&1 || echo refused
            eval "$(berth env)"; apptainer exec $SIF cat /data/f
            fusermount3 -u "${APPTAINER_BIND%%:*}"; apptainer exec $SIF ls /data >/dev/null 2>&1 || echo denied
            eval "$(berth env)"; apptainer exec $SIF cat /data/f
            bind=$APPTAINER_BIND; eval "$(berth env --unset)"
            APPTAINER_BIND=$bind apptainer exec $SIF ls /data >/dev/null 2>&1 || echo missing
            """)
        #expect(text == "refused\nx\ndenied\nx\nmissing")
    }

    @Test("the shell hook makes plain exec work, and other subcommands and machines without volumes run as they are")
    func hook() throws {
        let host = try ApptainerHost()
        let file = Programs.packaging("../hooks/shell/berth.sh")
        try Shell.root.run("install -m 0644 '\(file)' '\(host.site.directory)/hook.sh'")
        let text = try host.run(
            """
            . ./hook.sh
            singularity exec $SIF sh -c 'echo x > /data/f'; apptainer -q exec $SANDBOX cat /data/f
            apptainer --version | cut -d' ' -f1
            cp -r $SANDBOX image; mkdir image/data; ch-run image -- cat /data/f
            berth path rm --with-volume data >/dev/null; apptainer exec $SIF ls -d /data 2>/dev/null || echo none
            """)
        #expect(text == "x\napptainer\nx\nnone")
    }

    @Test("Charliecloud gets the volume from berth run and from berth env")
    func charliecloud() throws {
        let host = try ApptainerHost()
        // Without -w, ch-run wants the mount point in the image.
        let text = try host.run(
            """
            cp -r $SANDBOX image; mkdir -p image/data
            berth run -- ch-run image -- sh -c 'echo x > /data/f'
            eval "$(berth env)"; ch-run $BERTH_CH_BIND image -- sh -c 'cat /data/f; stat -c %u /data/f'
            """)
        #expect(text == "x\n\(try host.run("id -u"))")
    }
}
