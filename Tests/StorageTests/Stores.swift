import FileModel
import Glibc
import LinuxSystem
import ObjectStorage
import S3Storage
import TestSupport

/// The stores that the one suite of promises runs against.
enum StoreKind: String, CaseIterable, Sendable {
    case directory
    case bucket
    /// In the bucket itself, with the bucket's name in the path.
    case bucketRoot
}

/// A fresh store, taken away with this object.
final class FreshStore {
    let store: any ObjectStore
    private let directory = TemporaryDirectory()

    init(_ kind: StoreKind) throws {
        switch kind {
        case .directory: store = try DirectoryStore(root: "\(directory.path)/s")
        case .bucket: store = try Buckets.store(prefix: "tests/\(Buckets.unique())")
        case .bucketRoot:
            let bucket = "fresh-\(Buckets.unique())"
            try Buckets.make(bucket)
            store = try Buckets.store(bucket: bucket, prefix: "")
        }
    }
}

enum Buckets {
    static func unique() -> String { String(UInt64.random(in: .min ... .max), radix: 16) }

    static func make(_ bucket: String) throws {
        try Shell.root.run(
            "curl -sSf --aws-sigv4 aws:amz:us-east-1:s3 --user \(S3Server.accessKey):\(S3Server.secretKey) -X PUT \(try S3Server.shared().endpoint)/\(bucket)"
        )
    }

    /// `sleeps` collects the pauses instead of making them.
    static func store(
        bucket: String = S3Server.bucket, prefix: String, endpoint: String? = nil, isPathStyle: Bool? = nil,
        witness: ObjectName? = nil, limits: S3Limits = S3Limits(),
        keys: (access: String, secret: String) = (S3Server.accessKey, S3Server.secretKey),
        clockOffset: Int = 0, sleep: @escaping @Sendable (Double) -> Void = { usleep(UInt32($0 * 1e6)) }
    ) throws -> S3Store {
        let address = try endpoint ?? S3Server.shared().endpoint
        guard
            let location = S3Location(
                store: "s3://\(bucket)" + (prefix.isEmpty ? "" : "/\(prefix)"), endpoint: address, region: "us-east-1",
                isPathStyle: isPathStyle)
        else { throw TestFailure("s3://\(bucket)/\(prefix) at \(address) is no location") }
        return try S3Store(
            location, certificates: nil, witness: witness, limits: limits,
            surroundings: S3Surroundings(now: { time(nil) + clockOffset }, chance: { 0.5 }, sleep: sleep),
            credentials: { () throws(SystemFailure) in
                S3Credentials(accessKey: keys.access, secretKey: keys.secret, source: "the test")
            })
    }
}

extension ObjectStore {
    func put(_ name: ObjectName, _ bytes: [UInt8]) throws {
        if let error = bytes.withUnsafeBytes({ bytes -> ObjectStoreError? in
            do throws(ObjectStoreError) { try put(name, bytes) } catch { return error }
            return nil
        }) {
            throw error
        }
    }

    func get(_ name: ObjectName, _ offset: UInt64, _ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        if let error = bytes.withUnsafeMutableBytes({ buffer -> ObjectStoreError? in
            do throws(ObjectStoreError) { try get(name, at: offset, into: buffer) } catch { return error }
            return nil
        }) {
            throw error
        }
        return bytes
    }
}

/// The failure's words, or an empty text.
func words(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "no failure"
    } catch {
        if case .failed(_, let text) = error as? ObjectStoreError { return text }
        return "\(error)"
    }
}
