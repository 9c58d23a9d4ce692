import Glibc
import LinuxSystem
import S3Storage
import Volumes

/// How a bucket is reached: options, else the user's environment and files.
struct BucketConnection {
    let location: S3Location
    let certificates: String?
    let finder: S3CredentialFinder

    static let surroundings = S3Surroundings(
        now: { time(nil) }, chance: { Double.random(in: 0..<1) }, sleep: { usleep(UInt32($0 * 1e6)) })

    /// `subject` says what the URL is of.
    init(_ url: String, _ options: BucketOptions, subject: String) throws(SystemFailure) {
        let environment = ProcessEnvironment.current()
        let site = SitePaths(environment: environment)
        finder = S3CredentialFinder(
            environment: environment, home: site.home, ownFile: site.credentials, profile: options.profile)
        let region = try finder.setting(options.region, ["AWS_REGION", "AWS_DEFAULT_REGION"], key: "region")
        let endpoint = try finder.setting(
            options.endpoint, ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"], key: "endpoint_url")
        certificates = try finder.setting(
            options.certificates, ["AWS_CA_BUNDLE", "SSL_CERT_FILE"], key: "ca_bundle")
        let location = S3Location(
            store: url, endpoint: endpoint.map { $0.hasSuffix("/") ? String($0.dropLast()) : $0 },
            region: region ?? "us-east-1", isPathStyle: options.isPathStyle)
        guard let location else {
            throw SystemFailure(
                "\(subject) \(url)", "cannot be asked at \(endpoint ?? "its endpoint")",
                fix: "correct the endpoint: an http:// or https:// URL of a host", status: .configuration)
        }
        self.location = location
    }
}
