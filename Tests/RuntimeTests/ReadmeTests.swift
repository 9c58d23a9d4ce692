import Glibc
import LinuxSystem
import TestSupport
import Testing

/// The README followed to the letter, as an ordinary user: each command works, in its order, on each kind of account.
@Suite("the README as a story", .serialized)
struct ReadmeTests {
    /// How the user's account lies on the machine.
    enum Account: CaseIterable, Sendable {
        /// With the runtime directory that a login makes.
        case login
        /// In a job or after `su`: without XDG_RUNTIME_DIR, with a home directory behind a link, data and cache behind others.
        case job
    }

    /// What other suites run, and lines that are no commands.
    private static let elsewhere: [String: [String]] = [
        // The demo is PackageTests'; the tests are these.
        "Two commands": ["make demo", "make test"],
        // PackageTests, PlantedTests and SystemdTests; the rest is an example of what is printed.
        "Install": [
            "tar -xzf berth-*-linux-*.tar.gz", "berth-*/install.sh", "systemctl --user daemon-reload",
            "systemctl --user enable --now berth.socket berth.service",
            "plugin   pid 4711  runs 0.1.0, this is 0.2.0; restart with: berth stop && berth serve --detach",
            "volume   data  pid 4712  runs 0.1.0, this is 0.2.0; restart with: berth restart data",
        ],
        // SlurmTests.
        "In Slurm jobs": ["#SBATCH --comment=berth:data", "apptainer exec IMAGE ls /data", "berth run -- ls /data"],
    ]

    private static let stories = [podman, apptainer, bucket, seeing, snapshots, trash]

    private static let podman = Story(
        section: "With podman", prologue: "\"$PACKAGING\"/make-image.sh localhost/berth-bb",
        words: [
            ("podman run", "podman run --runtime \"$OCI_RUNTIME\" --network none"), ("IMAGE", "localhost/berth-bb"),
        ],
        lines: [
            // Either this or the restoration.
            "berth volume rm --removed data":
                "podman volume create --driver berth old; podman volume rm old; berth volume rm --removed old"
        ],
        epilogue: ["! grep ' '\"$HOME\"/data' ' /proc/self/mountinfo"])

    private static let apptainer = Story(
        section: "With Apptainer, Singularity, Charliecloud",
        words: [("IMAGE CMD", "\"$SIF\" ls /data")],
        before: [
            ("eval \"$(berth env --unset)\"", "apptainer exec \"$SIF\" ls /data; test -n \"$APPTAINER_BIND\"")
        ],
        epilogue: ["test -z \"${APPTAINER_BIND:-}\""])

    private static let bucket = Story(
        section: "In a bucket",
        prologue: """
            berth setup
            put() { curl -sSf --aws-sigv4 aws:amz:us-east-1:s3 --user "$KEY:$SECRET" -T "$1" "$ENDPOINT/berth/$PLACE/$2"; }
            mkdir dataset; echo one > dataset/a; echo two > b; tar -cf archive.tar b; put b in/b; put archive.tar archive.tar
            """,
        words: [
            ("aws_access_key_id = …", "aws_access_key_id = \(S3Server.accessKey)"),
            ("aws_secret_access_key = …", "aws_secret_access_key = \(S3Server.secretKey)"),
            ("s3://bucket/prefix --endpoint", "s3://berth/$PLACE/in --endpoint"),
            ("s3://bucket/archive.tar", "s3://berth/$PLACE/archive.tar"), ("s3://bucket/prefix", "s3://berth/$PLACE"),
            ("https://s3.example.org", "$ENDPOINT"), ("eu-west-1", "us-east-1"), ("srun …", "true"),
            ("file:///lustre/dataset", "file://$(realpath dataset)"),
        ],
        before: [
            (
                "berth warm data:/receptors &&",
                "mkdir ~/data; berth mount data ~/data; mkdir ~/data/receptors ~/data/results; "
                    + "echo kept | tee ~/data/receptors/r > ~/data/results/r; berth sync data"
            ),
            // The machine is lost.
            ("berth volume recover", "berth volume rm --keep-data data"),
        ],
        epilogue: [
            "berth run --volume data:\"$PWD\"/seen -- cat seen/in/a seen/in/b seen/b | paste -sd+ | grep -x one+two+two",
            "test \"$(cat results/r)\" = kept",
        ])

    private static let seeing = Story(
        section: "Seeing what goes on",
        prologue:
            "berth setup; berth serve --detach; berth volume create data; mkdir m; berth mount data m; echo x > m/f",
        words: [
            ("--interval 10", "--interval 1 --count 1"),
            ("$XDG_RUNTIME_DIR/berth", "$(berth doctor | sed -n 's/^pass  runtime directory: //p')"),
        ], lines: ["berth stats data": "berth stats data --count 1"],
        epilogue: ["grep . stats.txt", "berth umount m"])

    private static let snapshots = Story(
        section: "Snapshots and clones",
        prologue:
            "berth volume create data; mkdir data monday; berth mount data data; mkdir data/results; echo old > data/results/r",
        words: [("ls /data/", "ls ~/data/")],
        before: [("berth snapshot restore", "echo new > data/results/r; rm -r data/results")],
        epilogue: [
            "grep -x old data/results/r monday/results/r",
            "berth run --volume trial:\"$PWD\"/seen -- grep -x old seen/results/r", "berth gc data",
            "berth umount monday; berth umount data",
        ])

    private static let trash = Story(
        section: "Deleted by mistake, and quotas",
        prologue: """
            berth volume create data; mkdir data; berth mount data data; mkdir data/results data/scratch
            echo old | tee data/results/r > data/a.txt; rm -r data/results data/a.txt
            """,
        words: [("--at 2h ", "")],
        before: [("berth trash restore data:/a.txt", "echo new > data/a.txt")],
        epilogue: ["grep -x old data/results/r", "grep -lx old data/a.txt?*", "berth umount data"])

    @Test("every line of the README's commands is run by a story, or by the suite that is named here")
    func complete() throws {
        let readme = try Readme()
        #expect(
            Set(readme.sections.keys) == Set(Self.stories.map(\.section)).union(Self.elsewhere.keys))
        for (section, lines) in Self.elsewhere { #expect(readme.sections[section] == lines) }
    }

    @Test("each section works from its first line to its last", arguments: stories, Account.allCases)
    func follow(_ story: Story, _ account: Account) throws {
        let site = try UserSite(as: Self.user.get())
        var shell = site.shell
        shell.environment["BERTH_RUNTIME_DIR"] = nil
        if account == .login { shell.environment["XDG_RUNTIME_DIR"] = "\(site.directory)/x" }
        if account == .job { shell.environment["HOME"] = "\(site.directory)/link" }
        shell.environment["USER"] = try Self.user.get()
        shell.environment["PACKAGING"] = "\(site.directory)/p"
        shell.environment["OCI_RUNTIME"] = try Shell.root.run("'\(Programs.packaging("podman-runtime.sh"))'")
        shell.environment["SIF"] = "\(try ApptainerHost.images.get())/image.sif"
        shell.environment["APPTAINER_MESSAGELEVEL"] = "warn"
        if story.section == Self.bucket.section {
            shell.environment["ENDPOINT"] = try S3Server.shared().endpoint
            shell.environment["PLACE"] = "readme-\(account)-\(getpid())"
            shell.environment["KEY"] = S3Server.accessKey
            shell.environment["SECRET"] = S3Server.secretKey
        }
        try site.shell.run("mkdir -m 0700 x; ln -s h link; mkdir p")
        if account == .job {
            try site.shell.run(
                "umask 077; mkdir -p scratch/share scratch/cache h/.local; ln -s ../../scratch/share h/.local/share; "
                    + "ln -s \"$PWD/scratch/cache\" h/.cache")
        }
        try Shell.root.run("install -m 0755 '\(Programs.packaging("make-image.sh"))' '\(site.directory)/p/'")
        // Mounts on "the host" last as long as the script does.
        shell.wrapper = ["unshare", "--mount", "--propagation", "private"]
        let engine = account == .login ? "\(site.directory)/x" : "/tmp/podman-run-\(try site.shell.run("id -u"))"
        defer {
            _ = try? shell.attempt("berth stop --all --force")
            Self.endPauseProcess(engine)
        }
        let script = try story.script(try Readme().sections[story.section] ?? [])
        let outcome = try shell.attempt("exec 2>&1; set -x\n\(script)", timeout: .seconds(300))
        #expect(outcome.succeeded, "\(outcome.end)\n\(outcome.output)")
    }

    /// A user without a login: nothing below /run/user.
    private static let user: Result<String, any Error> = Result {
        let name = "berth-story"
        try Shell.root.run("'\(Programs.packaging("test-user.sh"))' \(name); rm -rf /run/user/$(id -u \(name))")
        return name
    }

    /// The one that podman left, known by the file in the user's own directory.
    private static func endPauseProcess(_ runtime: String) {
        _ = try? Shell.root.attempt(
            "cd '\(runtime)' && for f in libpod/tmp/pause.pid libpod/pause.pid; do [ -f $f ] && kill -9 $(cat $f); done; true"
        )
    }
}
