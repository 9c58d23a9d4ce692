/// Who asked for a session, and where its mount is: for people, and for whoever must find the mount again.
public struct SessionOrigin: Codable, Sendable, Equatable {
    public enum Runtime: String, Codable, Sendable {
        /// `berth mount`, `berthfs`: a directory of the user's.
        case host
        /// Podman's volume plugin.
        case podman
        /// The OCI hook, for a container with an annotation.
        case hook
        /// `berth run`: a program in namespaces of its own.
        case run
        /// `apptainer --fusemount`: a descriptor that Apptainer mounted.
        case apptainer
    }

    public var runtime: Runtime
    /// The inode of the mount namespace, as in `/proc/PID/ns/mnt`.
    public var namespace: UInt64?
    /// The Slurm job that whoever asked belonged to.
    public var job: String?
    /// The mount's device as the kernel shows it to all namespaces, `major:minor`; nil where whoever asked could not see it.
    public var device: String?

    public init(runtime: Runtime, namespace: UInt64?, environment: [String: String], device: String? = nil) {
        self.runtime = runtime
        self.namespace = namespace
        self.device = device
        job = environment["SLURM_JOB_ID"].flatMap { Self.isJob($0) ? $0 : nil }
    }

    /// It goes into logs and tables: nothing but what Slurm makes.
    private static func isJob(_ text: String) -> Bool {
        (1...32).contains(text.utf8.count) && text.utf8.allSatisfy { (0x30...0x39).contains($0) || $0 == 0x5F }
    }
}
