import TestSupport
import Testing

/// Real Environment Modules and real Lmod.
@Suite("modules", .serialized)
struct ModuleTests {
    enum System: String, CaseIterable {
        case environmentModules = "/usr/share/modules/init/bash"
        case lmod = "/usr/share/lmod/lmod/init/bash"

        var file: (source: String, name: String) {
            self == .lmod ? ("berth.lua", "berth/1.0.lua") : ("berth.tcl", "berth/1.0")
        }
    }

    /// A tree as a site has it: DIRECTORY/bin and DIRECTORY/modulefiles.
    private func host(_ system: System) throws -> ApptainerHost {
        let host = try ApptainerHost()
        let tree = "\(host.site.directory)/site"
        let (source, name) = system.file
        try Shell.root.run(
            """
            mkdir -p '\(tree)' && cp -r '\(try Programs.shared())' '\(tree)/bin'
            install -D -m 0644 '\(Programs.packaging("../hooks/modules/\(source)"))' '\(tree)/modulefiles/\(name)'
            chmod -R a+rX '\(tree)'
            """)
        return host
    }

    private func preamble(_ host: ApptainerHost, _ system: System) -> String {
        """
        export PATH=/usr/local/bin:/usr/bin:/bin; programs=\(host.site.directory)/site/bin
        . \(system.rawValue); module use \(host.site.directory)/site/modulefiles

        """
    }

    @Test("load puts berth in PATH, serves the plugin and sets the binds; unload undoes it", arguments: System.allCases)
    func load(system: System) throws {
        let host = try host(system)
        let outcome = try host.attempt(
            preamble(host, system)
                + """
                export APPTAINER_BIND=/usr:/usr2
                before=$(env | grep -E '^(PATH|APPTAINER_BIND|SINGULARITY_BIND|BERTH_[A-Z_]*)=' | sort)
                module load berth || exit 1
                [ "$(command -v berth)" = "$programs/berth" ] && echo path
                berth status | grep -c '^plugin   pid'
                apptainer exec $SIF sh -c 'echo module > /data/f; cat /data/f; ls -d /usr2/bin'
                module unload berth
                after=$(env | grep -E '^(PATH|APPTAINER_BIND|SINGULARITY_BIND|BERTH_[A-Z_]*)=' | sort)
                [ "$before" = "$after" ] && echo same || printf '%s\\n' "$before" "$after"
                grep -c '\(host.site.directory)' /proc/mounts
                """)
        #expect(outcome.output == "path\n1\nmodule\n/usr2/bin\nsame\n0\n", "\(outcome)")
    }

    @Test("a volume that cannot be had fails the load with its reason, and nothing is set", arguments: System.allCases)
    func refused(system: System) throws {
        let host = try host(system)
        let outcome = try host.attempt(
            preamble(host, system)
                + """
                export APPTAINER_BIND=/tmp:/data; before=$PATH
                module load berth 2>&1 | tr -s ' \\n' ' ' | grep -q 'binds /tmp:/data already' && echo named
                module load berth >/dev/null 2>&1; echo "$APPTAINER_BIND ${SINGULARITY_BIND-unset}"
                [ "$PATH" = "$before" ] && echo same; grep -c '\(host.site.directory)' /proc/mounts
                """)
        #expect(outcome.output == "named\n/tmp:/data unset\nsame\n0\n", "\(outcome)")
    }

    @Test("without a volume that has a path, load gives the commands alone", arguments: System.allCases)
    func noVolume(system: System) throws {
        let host = try host(system)
        _ = try host.run("berth volume rm data")
        let outcome = try host.attempt(
            preamble(host, system)
                + "module load berth && command -v berth >/dev/null && echo \"${APPTAINER_BIND-unset}\"")
        #expect(outcome.output == "unset\n", "\(outcome)")
    }
}
