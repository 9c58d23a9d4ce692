import LinuxSystem
import TestSupport
import Testing

/// What the packages give to shells and man.
@Suite("what comes with the programs")
struct ShellTests {
    @Test("bash completes commands, options and values; zsh and fish, where there are any, can read their files")
    func completions() throws {
        let host = try Installed.unpacked()
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
        let host = try Installed.unpacked()
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
}
