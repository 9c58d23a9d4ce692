import ArgumentParser
import FileModel
import FoundationEssentials
import Glibc
import LinuxSystem
import MetadataCopies
import ObjectStorage
import Packs
import SQLiteMetadata
import VFS
import Volumes

/// What `berth volume recover` needs of a store: brings the metadata of a volume back, beside its record.
struct RecoverCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "recover", abstract: "Bring a volume's metadata back from its store.", shouldDisplay: false)

    private static let listedPaths = 10

    @Argument(help: "The path of the volume's record, in the directory that gets the database.")
    var record: String

    func run() throws {
        try berthfs.run { () throws(SystemFailure) in
            let place = try VolumePlace(record)
            let recovery = try recover(place)
            do {
                print(String(decoding: try JSONEncoder().encode(recovery), as: UTF8.self))
            } catch {
                throw SystemFailure("the report", "cannot be written as JSON: \(error)", status: .software)
            }
        }
    }

    private func recover(_ place: VolumePlace) throws(SystemFailure) -> Recovery {
        let store = try place.store()
        let reader = CopyReader(store: store)
        let database = place.database
        var recovery = Recovery()
        let found: FoundCopy
        do throws(CopyFailure) {
            found = try reader.restore(to: database) { recovery.skippedCopies.append($0) }
        } catch {
            throw SystemFailure(
                place.url, "cannot be recovered: \(error)",
                fix: error == .none ? "a volume without copies comes back with `berth volume check --repair`" : nil,
                status: .dataError)
        }
        let report = try Self.checked(database)
        recovery.copyTime = found.time.seconds
        recovery.inodes = report.inodes
        recovery.bytes = report.bytes
        recovery.problems = report.problems.lines
        let identity = Array("\(UInt64.random(in: .min ... .max))\n".utf8)
        let generation: UInt32
        do throws(CopyFailure) {
            generation = try reader.claim(after: found.generation, identity: identity)
        } catch {
            throw SystemFailure(
                place.url, "is being recovered by another machine, or cannot be written: \(error)",
                fix: "let one machine recover it", status: .temporaryFailure)
        }
        try settle(place, store, generation, &recovery)
        recovery.closedSources = SourceTrust(place.record).closed(of: try VolumeRecord.sources(in: database))
        recovery.problems += try place.adoptOptions(found.record)
        return recovery
    }

    private static func checked(_ database: String) throws(SystemFailure) -> MetadataReport {
        do {
            return try MetadataChecker.check(path: database)
        } catch {
            throw SystemFailure(database, error.description, status: .dataError)
        }
    }

    /// Makes the metadata fit what the store holds: packs that were staged on the lost machine, and packs that are newer
    /// than the copy.
    private func settle(
        _ place: VolumePlace, _ store: any ObjectStore, _ generation: UInt32, _ recovery: inout Recovery
    ) throws(SystemFailure) {
        let database = place.database
        let metadata: SQLiteMetadataStore
        do {
            metadata = try SQLiteMetadataStore(path: database)
        } catch {
            throw SystemFailure(database, error.description, status: .dataError)
        }
        var lost: Set<PackID> = []
        do {
            let salvage = Salvage(metadata: metadata, store: store, staging: nil, now: .now())
            let newer = try salvage.unknownPacks()
            lost = try Self.settleStaged(metadata, store)
            let outcome = try salvage.restore(newer)
            recovery.salvagedFiles = outcome.files
            recovery.salvagedBytes = outcome.bytes
            recovery.newerPacks = newer.count
            recovery.problems += outcome.failures
            try metadata.commit(prepare: {})
            try metadata.close()
        } catch {
            throw SystemFailure(database, "cannot be settled: \(error)", status: .inputOutputError)
        }
        recovery.lostSnapshots = try OpenVolume.passOver(
            database, snapshots: place.snapshots, generation: generation)
        recovery.lostPacks = lost.count
        do {
            let data = try LostData(in: database, packs: lost, limit: Self.listedPaths)
            recovery.lostFiles = data.files
            recovery.lostPaths = data.paths
        } catch {
            throw SystemFailure(database, error.description, status: .dataError)
        }
    }

    /// Records as stored what reached the store after the copy. Answers packs that did not.
    private static func settleStaged(
        _ metadata: SQLiteMetadataStore, _ store: any ObjectStore
    ) throws -> Set<PackID> {
        var lost: Set<PackID> = []
        let packs = try metadata.transaction { transaction throws(Errno) in try transaction.packs() }
        for pack in packs where pack.state == .staged {
            do throws(PackReadFailure) {
                let (index, size) = try PackIndex.stored(pack.id, in: store)
                do throws(Errno) {
                    try metadata.transaction { transaction throws(Errno) in
                        try transaction.putPack(
                            PackRecord(
                                id: pack.id, state: .stored, rawLength: UInt64(index.rawLength), storedLength: size))
                    }
                } catch {
                    throw PackReadFailure.cache(error)
                }
            } catch {
                guard error == .store(.missing) else { throw error }
                if pack.liveBytes > 0 { lost.insert(pack.id) }
            }
        }
        return lost
    }
}

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
        return try OpenVolume.store(record, paths, logger: nil)
    }

    /// Gives the record what the volume was made with, as far as a record that somebody else may have written can say it.
    /// Answers what was left out for being of no use.
    func adoptOptions(_ original: [UInt8]) throws(SystemFailure) -> [String] {
        let found = try Self.decode(original, "the copy")
        var adopted = record
        let refused = adopted.options.adopt(found.options)
        if found.createdAt.utf8.count == record.createdAt.utf8.count, found.createdAt.utf8.allSatisfy(Self.isTime) {
            adopted.createdAt = found.createdAt
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
