import LinuxSystem
import TestSupport
import Testing

/// `berth path` as an ordinary user.
@Suite("path map")
struct PathCommandTests {
    @Test("a path is kept with the volume, the user's goes before it, and taking that away brings the first back")
    func override() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            berth volume create a -o path=/data/ >/dev/null; berth path ls
            berth path set a /scratch/x//; berth path ls
            stat -c %a "$HOME/.config/berth/paths.json"
            berth path rm a; berth path rm a 2>&1 || echo $?
            berth path set --with-volume a /kept; berth path ls --json | tr -d ' \\n'; echo
            berth path rm --with-volume a; berth path ls
            """)
        let expected = """
            PATH   VOLUME  FROM
            /data  a       the volume
            a belongs at /scratch/x
            PATH        VOLUME  FROM
            /scratch/x  a       your configuration
            600
            a belongs at /data again
            berth: volume "a": has its path /data from the volume itself; take it from there with `berth path rm --with-volume a`
            66
            a belongs at /kept
            [{"path":"/kept","source":"volume","volume":"a"}]
            a has no path
            no volume has a path; give it one with: berth path set NAME /PATH
            """
        #expect(text == expected)
    }

    @Test("two volumes at one path, or one inside the other, are refused with both names")
    func conflicts() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create a -o path=/data; berth volume create b; berth volume create c")
        for path in ["/data", "/data/", "/data/in"] {
            let outcome = try site.shell.attempt("berth path set b \(path)")
            #expect(outcome.end == .exited(78))
            #expect(outcome.errors.contains("volumes \"b\" and \"a\""), "\(outcome.errors)")
        }
        // Made elsewhere with the same path: found when both are to be shown.
        try site.shell.run("berth volume create d -o path=/data")
        for command in ["berth path ls", "berth run -- true", "berth env", "berth run --volume a --volume d -- true"] {
            let outcome = try site.shell.attempt(command)
            #expect(outcome.end == .exited(78))
            #expect(outcome.errors.contains("volumes \"a\" and \"d\": have the same path /data"), "\(outcome.errors)")
            #expect(outcome.errors.split(separator: "\n").count == 1)
        }
        #expect(try site.shell.run("berth run --volume a -- echo fine") == "fine")
    }

    @Test("bad paths and unknown volumes are refused, and leave no file")
    func badInput() throws {
        let site = try UserSite()
        try site.shell.run("berth volume create a")
        for path in ["data", "/", "/a/../b", "/a:b", "$'/a\\nb'", "''"] {
            let outcome = try site.shell.attempt("berth path set a \(path)")
            #expect(outcome.end == .exited(64), "\(path): \(outcome.errors)")
            #expect(outcome.errors.split(separator: "\n").count == 1)
        }
        let unknown = try site.shell.attempt("berth path set b /data")
        #expect(unknown.end == .exited(66) && unknown.errors.contains("berth volume create b"))
        #expect(try site.shell.attempt("test -e \"$HOME/.config/berth/paths.json\"").end == .exited(1))
        try site.shell.run("mkdir -p $HOME/.config/berth; echo '{' > $HOME/.config/berth/paths.json")
        let damaged = try site.shell.attempt("berth path ls")
        #expect(damaged.end == .exited(78) && damaged.errors.contains("paths.json"))
    }

    @Test("a removed volume leaves no path for a later one of its name")
    func forgotten() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            "berth volume create a; berth path set a /x; berth volume rm a; berth volume create a; berth path ls")
        #expect(text.hasSuffix("berth path set NAME /PATH"))
    }

    @Test("a quote with a letter that combines with it ends no value in a shell")
    func quoting() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            berth volume create a -o path=/data >/dev/null
            export APPTAINER_BIND=$'/x:/y\\'\\u0301; touch PWNED; \\''; before=$APPTAINER_BIND
            eval "$(berth env)"; [ "${APPTAINER_BIND%,*}" = "$before" ] && echo same
            ls PWNED 2>/dev/null || echo none; berth env --unset >/dev/null
            """)
        #expect(text == "same\nnone")
    }

    @Test("names of files, logs and errors cannot steer a terminal or forge a line")
    func terminal() throws {
        let site = try UserSite()
        let text = try site.shell.run(
            """
            berth volume create a >/dev/null; berth mount a m >/dev/null
            f=$'m/\\e]0;x\\a\\nfake\\u202e\\xff'; echo x > "$f"; rm "$f"
            berth trash ls a > out; berth trash ls a --json > json; berth umount m >/dev/null
            echo "$(grep -c $'\\e' out) $(grep -c '^fake' out) $(grep -cF '\\x1b]0;x\\x07\\nfake\\u202e\\xff' out) $(grep -c $'\\e' json)"
            printf '2026-01-01T00:00:00Z info x: [x] \\e[2J\\u009b31m\\n' > "$HOME/.local/share/berth/logs/serve.log"
            berth log serve | grep -cF '\\x1b[2J\\u009b31m'; berth log serve --json | grep -c $'\\e' || true
            berth volume create $'b\\e[31m\\nx' 2>&1 | grep -cF 'volume name "b\\x1b[31m\\nx"'
            """)
        #expect(text == "0 0 1 0\n1\n0\n1")
    }
}
