import FileModel
import LinuxSystem
import Metrics
import ObjectStorage
import Packs
import S3Storage
import Sandbox
import Volumes

/// Reaches the stores that a volume has imported from.
struct ForeignStores: Sendable {
    static let fileScheme = "file://"

    let reach: SystemCallFilter.Reach
    let record: VolumeRecord
    var meter = StoreMeter()

    /// The bucket, or the directory, of a URL that the metadata keeps.
    func open(_ source: ForeignSource) throws(SystemFailure) -> any ForeignStore {
        if source.url.hasPrefix(Self.fileScheme) {
            return ForeignDirectory(root: String(source.url.dropFirst(Self.fileScheme.utf8.count)))
        }
        guard reach == .network else {
            throw SystemFailure(
                source.url, "the volume's server was started without the network", fix: "unmount it and mount it again",
                errno: .notPermitted, status: .unavailable)
        }
        guard var options = BucketOptions(encoded: source.options) else {
            throw SystemFailure(source.url, "its options are no options of a bucket", status: .dataError)
        }
        if record.options.bucket?.isInsecure == true { options.isInsecure = true }
        let connection = try BucketConnection(
            source.url, options, subject: "bucket", insecureBy: "berth volume set \(record.name) insecure=true")
        let finder = connection.finder
        return try S3ForeignStore(
            connection.location, certificates: connection.certificates, surroundings: BucketConnection.surroundings,
            meter: meter, credentials: { () throws(SystemFailure) in try finder.credentials() })
    }

    /// As `open`, for who reads data.
    var opener: ForeignOpener {
        { (source: ForeignSource) throws(ObjectStoreError) -> any ForeignStore in
            do throws(SystemFailure) {
                return try open(source)
            } catch {
                throw .failed(error.errno ?? .io, error.message)
            }
        }
    }
}
