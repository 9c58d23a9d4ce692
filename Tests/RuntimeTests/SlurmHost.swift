import Glibc
import LinuxSystem
import TestSupport
import Testing

/// A real Slurm of one node, started once for all tests, and an account on it with Apptainer's images and a volume
/// `data` at /data.
final class SlurmHost: Sendable {
    let account: ApptainerHost
    private let preamble: String

    var site: UserSite { account.site }

    init() throws {
        let directory = try Self.cluster.get()
        account = try ApptainerHost()
        // What a job gets from whoever submits it; a batch job has no XDG_RUNTIME_DIR.
        preamble = "export SLURM_CONF=\(directory)/slurm.conf; unset XDG_RUNTIME_DIR\n"
        _ = try account.run(
            "install -d -m 0700 ~/.config ~/.config/berth; echo 'server-idle = 1s' > ~/.config/berth/berth.conf")
    }

    private static let cluster: Result<String, any Error> = Result {
        let directory = "/tmp/berth-slurm-\(getpid())"
        try Shell.root.run(
            """
            set -e; rm -rf '\(directory)'; mkdir -m 0755 '\(directory)'
            install -D -t '\(directory)/hooks' -m 0755 '\(Programs.packaging("../hooks/slurm"))'/*
            '\(Programs.packaging("start-slurm.sh"))' '\(directory)' '\(directory)/hooks'
            """)
        atexit {
            let directory = "/tmp/berth-slurm-\(getpid())"
            _ = try? Shell.root.attempt(
                "'\(Programs.packaging("start-slurm.sh"))' --stop '\(directory)'; rm -rf '\(directory)'")
        }
        return directory
    }

    /// Where the hooks are, as slurm.conf names them.
    static func hooks() throws -> String { "\(try cluster.get())/hooks" }

    func attempt(_ script: String) throws -> Outcome { try account.attempt(preamble + script) }
    func run(_ script: String) throws -> String { try account.run(preamble + script) }

    /// Submits a batch job and waits for its end. Returns what it printed.
    func batch(_ script: String, options: String = "--comment=berth:data") throws -> String {
        try run(
            """
            cat > job <<'END'
            #!/bin/bash
            \(script)
            END
            rm -f out; sbatch --quiet --wait --output=out \(options) job >/dev/null || true; cat out
            """)
    }

    /// Submits a batch job and returns its id once it has written the file `ready`.
    func start(_ script: String, options: String = "--comment=berth:data") throws -> String {
        let job = try run(
            """
            rm -f ready; printf '#!/bin/bash\\n%s\\n' '\(script)' > job
            sbatch --parsable --output=out-%j \(options) job
            """)
        try eventually("the job runs") { try attempt("test -e ready").succeeded }
        return job
    }

    /// After the last job: no mount, no server, no file of a job.
    func expectNothingLeft() throws {
        let directory = site.directory
        try eventually("the node is clean") {
            try run("cat /proc/mounts | grep -c '\(directory)' || true") == "0"
                && run(
                    "ls -d \(site.runtime)/slurm \(site.runtime)/host/* 2>/dev/null || true"
                )
                .isEmpty
        }
        try eventually("the server ends") { try site.server(of: "data") == nil }
        try eventually("no socket and no lease is left") {
            try run("find \(site.runtime) -type s; find \(site.runtime)/leases -type f").isEmpty
        }
    }
}
