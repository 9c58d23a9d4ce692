import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem
import ObjectStorage
import Volumes

/// A volume's record, wherever it lies.
struct VolumePlace {
    let record: VolumeRecord
    let path: String
    private let paths: VolumePaths

    var directory: String { String(path[..<(path.lastSlash ?? path.startIndex)]) }
    var database: String { "\(directory)/meta.db" }
    var snapshots: String { "\(directory)/snapshots" }
    var url: String { record.storeURL(paths) }

    init(_ path: String) throws(SystemFailure) {
        self.path = path
        guard let bytes = try AtomicFile.read(path) else {
            throw SystemFailure(path, "is not there", errno: .noEntry, status: .noInput)
        }
        record = try Self.decode(bytes, path)
        paths = SitePaths(environment: ProcessEnvironment.current()).volume(record.name)
    }

    private static func decode(_ bytes: [UInt8], _ path: String) throws(SystemFailure) -> VolumeRecord {
        do {
            return try JSONDecoder().decode(VolumeRecord.self, from: Data(bytes))
        } catch {
            throw SystemFailure(path, "is not a volume's record", status: .dataError)
        }
    }

    /// The store, which must be there: nothing is made.
    func store() throws(SystemFailure) -> any ObjectStore {
        if case .directory(let root) = record.place(paths), access(root, F_OK) != 0 {
            throw SystemFailure(
                "store file://\(root)", "cannot be examined", .current,
                fix: "correct the URL: the last part of it is the volume's name")
        }
        guard case .bucket = record.place(paths) else { return try OpenVolume.store(record, paths, logger: nil) }
        let bucket = try Bucket(record)
        do throws(SystemFailure) {
            return try bucket.open(logger: nil)
        } catch {
            // Its mark alone is gone: what the volume is made of is there, and is found by no server without it.
            guard error.errno == .noEntry, try bucket.holdsVolume() else { throw error }
            try bucket.mark(try AtomicFile.read(path) ?? [])
            return bucket.store
        }
    }

    /// The record that the volume was made with, as its place in a bucket has it; nil where none can be read.
    func markedRecord() -> [UInt8]? {
        guard case .bucket = record.place(paths), let bytes = try? Bucket(record).markedRecord(),
            (try? Self.decode(bytes, "the mark")) != nil
        else { return nil }
        return bytes
    }

    /// The last epoch whose packs are another volume's, by the record in the store.
    static func lastBaseEpoch(_ original: [UInt8]?) -> UInt32 {
        original.flatMap { try? decode($0, "the copy") }?.bases?.map(\.lastEpoch).max() ?? 0
    }

    /// Gives the record what the volume was made with, as far as a record that somebody else may have written can say it.
    /// Answers what was left out for being of no use.
    func adoptOptions(_ original: [UInt8], keepsBases: Bool = true) throws(SystemFailure) -> [String] {
        let found = try Self.decode(original, "the copy")
        var adopted = record
        let refused = adopted.options.adopt(found.options)
        if found.createdAt.utf8.count == record.createdAt.utf8.count, found.createdAt.utf8.allSatisfy(Self.isTime) {
            adopted.createdAt = found.createdAt
        }
        guard keepsBases else {
            try AtomicFile.replace(path, try VolumeRegistry.encode(adopted))
            return refused
        }
        adopted.bases = try found.bases?.map { base throws(SystemFailure) in
            // A clone's packs are in the store of its original, which is the one that was named.
            var options = VolumeOptions()
            options.store = record.options.store
            options.bucket = record.options.bucket
            return VolumeBase(
                volume: try VolumeName(base.volume).description, lastEpoch: base.lastEpoch, options: options)
        }
        try AtomicFile.replace(path, try VolumeRegistry.encode(adopted))
        return refused
    }

    /// A letter of RFC 3339 in UTC.
    private static func isTime(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || [0x2D, 0x3A, 0x54, 0x5A].contains(byte)
    }
}
