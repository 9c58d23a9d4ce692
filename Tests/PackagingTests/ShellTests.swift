import LinuxSystem
import TestSupport
import Testing

/// What the packages give to shells, man and systemd.
@Suite("what comes with the programs")
struct ShellTests {
    private func unpacked() throws -> Installed {
        let host = try Installed(programs: "b/bin")
        try host.unpack(as: "b")
        return host
    }

    @Test("bash completes commands, options and values; zsh and fish, where there are any, can read their files")
    func completions() throws {
        let host = try unpacked()
        let text = try host.shell.run(
            """
            set -e
            . b/share/completions/berth.bash; . b/share/completions/berthfs.bash
            complete -p berth berthfs >/dev/null
            COMP_WORDS=(berth st); COMP_CWORD=1; COMP_LINE="berth st"; COMP_POINT=8; _berth berth st berth
            echo "${COMPREPLY[@]}"
            COMP_WORDS=(berth stop --f); COMP_CWORD=2; COMP_LINE="berth stop --f"; COMP_POINT=14; _berth berth --f stop
            echo "${COMPREPLY[@]}"
            COMP_WORDS=(berth mount v m -o r); COMP_CWORD=5; COMP_LINE="berth mount v m -o r"; COMP_POINT=20
            _berth berth r -o
            echo "${COMPREPLY[@]}"
            ! type zsh >/dev/null 2>&1 || for f in b/share/completions/_*; do zsh -n $f; done
            ! type fish >/dev/null 2>&1 || for f in b/share/completions/*.fish; do fish -n $f; done
            """)
        #expect(text.contains("status") && text.contains("stop"))
        #expect(text.contains("--force"))
        #expect(text.hasSuffix("ro rw"), "\(text)")
    }

    @Test("man pages render without a warning and name every command")
    func manuals() throws {
        let host = try unpacked()
        for page in ["berth.1", "berthfs.1"] {
            let outcome = try host.shell.attempt("groff -ww -b -z -man -Tutf8 b/share/man/man1/\(page)")
            #expect(outcome.succeeded && outcome.errors == "", "\(page): \(outcome.errors)")
        }
        let text = try host.shell.run("groff -man -Tascii -P-c -P-b -P-u -rLL=200n b/share/man/man1/berth.1")
        let commands = try host.shell.run(
            "berth --help | sed -n '/^SUBCOMMANDS/,/^$/s/^  \\([a-z]\\{1,\\}\\) .*/\\1/p'")
        #expect(commands.split(separator: "\n").count >= 12)
        for command in commands.split(separator: "\n") { #expect(text.contains("berth \(command)"), "\(command)") }
        #expect(text.contains("berth run") && text.contains("-- COMMAND..."))
    }

    @Test("systemd finds nothing wrong with the units, and they name the program and the socket podman is told of")
    func units() throws {
        let host = try Installed(programs: "p/bin")
        try host.unpack(as: "b")
        try host.shell.run("b/install.sh --prefix p")
        let units = "p/share/systemd/user"
        #expect(
            try host.shell.run("grep ^ExecStart '\(units)/berth.service'")
                == "ExecStart=\(host.site.directory)/p/bin/berth serve")
        #expect(try host.shell.run("grep ^ListenStream '\(units)/berth.socket'") == "ListenStream=%t/berth/plugin.sock")
        let outcome = try host.shell.attempt(
            "mkdir -m 0700 x; XDG_RUNTIME_DIR=$PWD/x systemd-analyze verify --user --man=no \(units)/berth.service \(units)/berth.socket 2>&1"
        )
        #expect(!outcome.output.contains("berth") && outcome.succeeded, "\(outcome.output)")
    }

    @Test("the plugin takes the socket that systemd listens on, and stop ends the plugin and nothing else")
    func activation() throws {
        let host = try unpacked()
        let text = try host.shell.run(
            """
            set -e
            mkdir -m 0700 r; umask 077
            systemd-socket-activate -E PATH -E HOME -E BERTH_RUNTIME_DIR -l "$PWD/r/plugin.sock" "$PWD/b/bin/berth" serve 2>log & pid=$!
            for i in $(seq 100); do [ -S r/plugin.sock ] && break; sleep 0.05; done
            berth status | head -1
            berth serve --detach | sed "s/pid $pid/pid PID/"
            berth status | head -1 | sed "s/pid $pid/pid PID/"
            curl -s --unix-socket r/plugin.sock -X POST http://plugin/Plugin.Activate; echo
            berth serve --detach | sed "s/pid $pid/pid PID/"
            berth stop | sed "s/pid $pid/pid PID/"
            wait $pid; [ -S r/plugin.sock ] && echo "the socket stays"
            """)
        let socket = "\(host.site.runtime)/plugin.sock"
        #expect(
            text == """
                plugin   not running; systemd starts it when it is asked
                the volume plugin answers at \(socket) (by systemd, pid PID)
                plugin   pid PID
                {"Implements":["VolumeDriver"]}
                the volume plugin is running already (pid PID)
                ended the volume plugin (pid PID)
                the socket stays
                """)
    }

    @Test("a socket at another place than podman is told of is refused with both paths")
    func wrongSocket() throws {
        let host = try unpacked()
        let text = try host.shell.run(
            """
            systemd-socket-activate -E PATH -E HOME -E BERTH_RUNTIME_DIR -l "$PWD/other.sock" "$PWD/b/bin/berth" serve 2>log & pid=$!
            for i in $(seq 100); do [ -S other.sock ] && break; sleep 0.05; done
            curl -s -m 5 --unix-socket other.sock http://plugin/ || true
            wait $pid; echo $?; grep ^berth: log
            """)
        #expect(text.hasPrefix("78\n"))
        #expect(
            text.contains("listens at \(host.site.directory)/other.sock, and podman is told of \(host.site.runtime)"))
    }
}
