import FileModel
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

    /// `subject` says what the URL is of, and `fix` what lets it be asked without encryption.
    init(_ url: String, _ options: BucketOptions, subject: String, insecureBy fix: String) throws(SystemFailure) {
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
        if options.isInsecure != true { try Self.refuseOpenProxy(location, environment) }
        // Wherever the endpoint comes from: an option, the environment, or a file of keys. The name asked is that with the bucket.
        guard options.isInsecure == true || !location.isOpen else {
            throw SystemFailure(
                "\(subject) \(url)",
                "is asked at \(location.endpoint), without encryption: who is on the way reads and changes what is stored",
                fix: "use https://, or run: \(fix)", errno: .notPermitted, status: .configuration)
        }
        self.location = location
    }
    /// What goes to this machine without encryption leaves it all the same where libcurl takes a proxy elsewhere.
    private static func refuseOpenProxy(
        _ location: S3Location, _ environment: [String: String]
    ) throws(SystemFailure) {
        guard location.endpoint.hasPrefix("http://"), !location.isOpen else { return }
        // As libcurl looks: HTTP_PROXY in capitals is not taken.
        let names = ["http_proxy", "all_proxy", "ALL_PROXY"]
        guard let name = names.first(where: { environment[$0]?.isEmpty == false }), let proxy = environment[name] else {
            return
        }
        let host = location.endpoint.dropFirst("http://".utf8.count)
        let bare = host.hasSuffix("]") ? host : host.split(separator: ":").first ?? host
        let exceptions = (environment["no_proxy"] ?? environment["NO_PROXY"] ?? "").split { ", ".contains($0) }
        if exceptions.contains("*") || exceptions.contains(bare) { return }
        let address = proxy.words(at: "/").dropFirst(
            proxy.contains("://") ? 1 : 0)
        let place = address.first?.split(separator: "@").last ?? ""
        guard !LoopbackAddress.isHere(host: place) else { return }
        throw SystemFailure(
            "store at \(location.endpoint)",
            "is asked without encryption through the proxy of $\(name), which is elsewhere",
            fix: "add \(bare) to $no_proxy", errno: .notPermitted, status: .configuration)
    }
}
