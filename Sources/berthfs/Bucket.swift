import FileModel
import Glibc
import LinuxSystem
import Logging
import MetadataCopies
import Metrics
import ObjectStorage
import S3Storage
import Sandbox
import VFS
import Volumes

/// A volume's place in a bucket: `s3://bucket/prefix/NAME`.
struct Bucket {
    /// The object that says whose place it is. Beside it are the packs.
    static let marker = ObjectName("volume.json")

    let store: S3Store
    private let subject: String
    /// The command that brings back the volume that is there.
    private let recovery: String

    /// Finds the keys; the store is asked nothing yet.
    init(_ record: VolumeRecord, meter: StoreMeter = StoreMeter()) throws(SystemFailure) {
        let options = record.options.bucket ?? BucketOptions()
        let paths = SitePaths(environment: ProcessEnvironment.current()).volume(record.name)
        subject = "volume \"\(record.name)\""
        recovery = record.recoveryCommand(paths)
        let connection = try BucketConnection(
            record.storeURL(paths), options, subject: "store",
            insecureBy: "berth volume set \(record.name) insecure=true")
        let finder = connection.finder
        store = try S3Store(
            connection.location, certificates: connection.certificates, witness: Self.marker,
            limits: S3Limits(
                upload: options.uploadLimit.map { Int(clamping: $0) },
                download: options.downloadLimit.map { Int(clamping: $0) }),
            surroundings: BucketConnection.surroundings, meter: meter,
            credentials: { () throws(SystemFailure) in try finder.credentials() })
    }

    /// For a server. A store that refuses us is an error; one that cannot be reached now is only noted: what is cached
    /// can be read meanwhile, and what is written waits in staging.
    func open(logger: Logger?) throws(SystemFailure) -> S3Store {
        guard let marker = Self.marker else { return store }
        do {
            try store.look(for: marker)
        } catch {
            switch error {
            case .failed(Errno(EHOSTUNREACH), let words):
                logger?.error("the store cannot be reached now", metadata: ["cause": "\(words)"])
            case .missing:
                throw SystemFailure(
                    "store \(store.url)", "does not hold this volume (\(marker) is missing)",
                    fix: "correct the endpoint, or bring the bucket's objects back", errno: .noEntry, status: .noInput)
            default: throw failure(error)
            }
        }
        return store
    }

    /// Makes sure that the bucket takes this volume and that no other has its place.
    func claim(_ record: [UInt8]) throws(SystemFailure) {
        do {
            guard try !store.probe() else { throw ObjectStoreError.exists }
            // Random bytes tell apart two that claim at the same moment.
            let identity = (0..<2).map { _ in String(UInt64.random(in: .min ... .max), radix: 16) }.joined()
            try put(mark: record + Array("{\"claim\": \"\(identity)\"}\n".utf8))
        } catch let error as ObjectStoreError {
            throw failure(error)
        } catch {
            throw SystemFailure(subject, "\(error)", status: .software)
        }
    }

    /// Whether packs or copies of metadata are there, without whose place it is.
    func holdsVolume() throws(SystemFailure) -> Bool {
        do {
            let objects = try store.list()
            return CopyReader.isCopy(among: objects) || !Salvage.packs(among: objects).isEmpty
        } catch {
            throw failure(error)
        }
    }

    /// Says whose place it is, where nothing says so.
    func mark(_ record: [UInt8]) throws(SystemFailure) {
        do {
            try put(mark: record)
        } catch {
            throw failure(error)
        }
    }

    private func put(mark bytes: [UInt8]) throws(ObjectStoreError) {
        // The error travels as a value: a typed throw through this closure does not compile in Swift 6.3.
        let refusal = bytes.withUnsafeBytes { bytes -> ObjectStoreError? in
            do throws(ObjectStoreError) {
                if let marker = Self.marker { try store.put(marker, bytes) }
                return nil
            } catch {
                return error
            }
        }
        if let refusal { throw refusal }
    }

    private static let markLimit = 64 << 10

    /// The record in the mark, without what tells two claims apart; nil where none can be had.
    func markedRecord() -> [UInt8]? {
        guard let marker = Self.marker, let tail = try? store.tail(marker, count: Self.markLimit),
            tail.size == UInt64(tail.bytes.count)
        else { return nil }
        let lines = String(decoding: tail.bytes, as: UTF8.self).parts(at: "\n")
        return Array(lines.filter { !$0.startsWithBytes(of: "{\"claim\"") }.joined(separator: "\n").utf8)
    }

    /// Removes every object of the volume, its marker last: a clearing that was cut short can be repeated.
    func clear() throws(SystemFailure) {
        do {
            for name in try store.list() where name != Self.marker { try store.delete(name) }
            if let marker = Self.marker { try store.delete(marker) }
        } catch {
            throw failure(error)
        }
    }

    private func failure(_ error: ObjectStoreError) -> SystemFailure {
        switch error {
        case .failed(let errno, let words):
            SystemFailure(
                passingOn: words, errno: errno, status: errno == .accessDenied ? .noPermission : .unavailable)
        case .exists:
            SystemFailure(
                "store \(store.url)", "holds a volume already",
                fix:
                    "bring that one back with `\(recovery)` (one that podman removed: `berth volume restore NAME`), or use another name or prefix",
                errno: .alreadyExists, status: .cannotCreate)
        case .missing, .short: SystemFailure("store \(store.url)", "has lost an object", status: .dataError)
        }
    }
}

extension VolumeRecord {
    /// What the volume's server must reach.
    func reach(_ paths: VolumePaths) -> SystemCallFilter.Reach {
        switch place(paths) {
        case .directory: reachesBuckets == true ? .network : .files
        case .bucket: .network
        }
    }
}
