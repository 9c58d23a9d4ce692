import Glibc
import LinuxSystem
import TestSupport

/// An account with Apptainer's images, made once for all tests, and a volume `data` at /data.
final class ApptainerHost: Sendable {
    let site: UserSite
    private let shell: Shell

    init() throws {
        let images = try Self.images.get()
        site = try UserSite()
        var shell = site.shell
        shell.environment["USER"] = try TestUser.shared().name
        shell.environment["SIF"] = "\(images)/image.sif"
        shell.environment["SANDBOX"] = "\(images)/sandbox"
        // What it says of programs that it could use and that are not installed is of no interest.
        shell.environment["APPTAINER_MESSAGELEVEL"] = "warn"
        self.shell = shell
        try shell.run("berth volume create data -o path=/data")
    }

    deinit { _ = try? shell.attempt("apptainer instance stop --all; berth env --unset") }

    static let images: Result<String, any Error> = Result {
        let directory = "/tmp/berth-images-\(getpid())"
        let owner = geteuid() == 0 ? "chown \(try TestUser.shared().name): '\(directory)'" : "true"
        try Shell.root.run(
            "rm -rf '\(directory)'; mkdir -m 0755 '\(directory)'; \(owner); install -m 0755 '\(Programs.packaging("make-apptainer-image.sh"))' /tmp/berth-make-image-\(getpid())"
        )
        let maker = try UserSite()
        try maker.shell.run("/tmp/berth-make-image-\(getpid()) '\(directory)'")
        atexit { _ = try? Shell.root.attempt("rm -rf /tmp/berth-images-\(getpid()) /tmp/berth-make-image-\(getpid())") }
        return directory
    }

    func attempt(_ script: String) throws -> Outcome { try shell.attempt(script) }
    func run(_ script: String) throws -> String { try shell.run("set -e\n" + script) }
}
